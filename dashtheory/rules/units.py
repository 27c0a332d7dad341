"""The layers of hidden units of a network, and where their outputs go: for rules that act on units.

A unit is an output of a linear layer or a channel of a convolution. Its *incoming* weights are its row or kernel,
its *outgoing* weights the columns of the layers that take it. Both are found along the traced graph
(`dashtheory.rules.traced`), through normalization, activation, pooling, dropout and flattening. Nothing is
guessed: a layer whose units reach an addition (the end of a residual branch), a concatenation, attention, a layer
that is used twice, or anything else that is not known, is left out, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from dashtheory._check import choice, fail
from dashtheory.rules.traced import NORMS, WEIGHTED, Traced, traced
from dashtheory.rules.unit_signal import Signal, by_function, by_layer, is_activation, is_shape

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FIX = "Say units='conv1>conv2,fc1>fc2', or take a rule for any network."


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """A layer whose input the units are.

    Attributes:
        name: full name of the layer.
        form: how the units lie in its input (`dashtheory.rules.unit_signal`).
        num_inputs: input channels, or input numbers, of the layer.
        num_units: of the layer before.
    """

    name: str
    form: str
    num_inputs: int
    num_units: int

    def columns(self, unit: int) -> range:
        """Which of the inputs belong to a unit: of a channel that was flattened, one for each of its places."""
        if self.form == "inner":
            return range(unit, self.num_inputs, self.num_units)
        block = self.num_inputs // self.num_units
        return range(unit * block, (unit + 1) * block)


@dataclass(frozen=True, kw_only=True)
class UnitLayer:
    """A layer of hidden units.

    Attributes:
        name: full name of the linear layer or convolution that makes them.
        num_units: of them.
        norm: full name of the normalization between it and the activation, or empty.
        activation: full name of that layer, or the name of the function; empty if there is none.
        consumers: the layers that take the units.
        watched: full name of the layer at which activations are recorded: at the output of the activation, or, if
            that is a function or a layer that is used elsewhere too, at the input of the first consumer.
        watched_input: whether it is its input.
        watched_form: how the units lie there.
    """

    name: str
    num_units: int
    norm: str = ""
    activation: str = ""
    consumers: tuple[Consumer, ...]
    watched: str
    watched_input: bool
    watched_form: str


@dataclass(frozen=True, kw_only=True)
class UnitGraph:
    """The layers of hidden units of a network.

    Attributes:
        layers: in the order of the signal.
        left_out: why each other linear layer and convolution is none, by its full name.
    """

    layers: tuple[UnitLayer, ...]
    left_out: Mapping[str, str]

    def __iter__(self) -> Iterator[UnitLayer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


def unit_graph(
    model: nn.Module, units: Mapping[str, str | Sequence[str]] | Sequence[str] | str | None = None
) -> UnitGraph:
    """Find the layers of hidden units.

    Args:
        model: traced, unless `units` says all; not changed.
        units: None: all that are found. Names ("conv1,fc1", or a sequence): these alone. A mapping from layers to
            the layers that take their units ({"conv1": "conv2"}, or "conv1>conv2,fc1>fc2"; of several takers each
            has its pair): these alone, and nothing is traced; a flattened map is then taken to be PyTorch's,
            channel by channel, and activations are recorded at the input of the first taker.

    Raises:
        ValueError: in one line if there is none, one that was named is none, the model cannot be traced, or sizes
            do not fit.
    """
    wanted = _said(units)
    if isinstance(wanted, dict):
        modules = dict(model.named_modules())
        return UnitGraph(layers=tuple(_said_layer(model, modules, *pair) for pair in wanted.items()), left_out={})
    graph = _Find(model, traced(model, fix=_FIX)).graph()
    by_name = {layer.name: layer for layer in graph.layers}
    for name in wanted or ():
        choice("units", name, [one for one, module in model.named_modules() if isinstance(module, WEIGHTED)])
        if name not in by_name:
            got = f"{name} ({graph.left_out[name]})"
            fail("units", "must name layers of hidden units", got, "Leave it out, or say who takes them: a>b.")
    if not by_name:
        why = "; ".join(f"{name}: {reason}" for name, reason in graph.left_out.items())
        fail("model", "must have a layer of hidden units", f"none ({why or 'no layers'})", _FIX)
    layers = tuple(layer for layer in graph.layers if wanted is None or layer.name in wanted)
    return UnitGraph(layers=layers, left_out=graph.left_out)


def _said(units: Any) -> dict[str, tuple[str, ...]] | tuple[str, ...] | None:
    """What the user says: takers by layer, or names, or nothing."""
    if units is None or units == "":
        return None
    fix = "Write units='conv1>conv2,fc1>fc2', or units='conv1,fc1'."
    if isinstance(units, Mapping):
        pairs = [(name, takers) for name, given in units.items() for takers in _each(given)]
    elif isinstance(units, str):
        parts = [part.strip() for part in units.split(",") if part.strip()]
        pairs = [(one.strip(), to.strip()) for one, sign, to in (part.partition(">") for part in parts) if sign]
        if not pairs and parts:
            return tuple(parts)
        if len(pairs) < len(parts):
            fail("units", "must name takers of all layers or of none", repr(units), fix)
    elif isinstance(units, Sequence) and units and all(isinstance(one, str) for one in units):
        return tuple(units)
    else:
        fail("units", "must be text, names or a mapping", repr(units), fix)
    found: dict[str, tuple[str, ...]] = {}
    for name, to in pairs:
        found[name] = (*found.get(name, ()), to)
    if not found or not all(
        isinstance(one, str) and one for name, takers in found.items() for one in (name, *takers)
    ):
        fail("units", "must name layers and their takers", repr(units), fix)
    return found


def _each(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _said_layer(
    model: nn.Module, modules: Mapping[str, nn.Module], name: str, takers: tuple[str, ...]
) -> UnitLayer:
    """A layer that the user says."""
    for one in (name, *takers):
        choice("units", one, [key for key, module in modules.items() if isinstance(module, WEIGHTED)])
        if reason := _unfit(model, modules[one]):
            fail("units", f"must name layers whose weights are their own, {reason}", one, "Leave it out.")
    num_units, places = _outputs(modules[name])
    consumers = []
    for taker in takers:
        signal = Signal(num_units=num_units, form="maps" if places else "last", places=places)
        found = _taken(signal, modules[taker], taker)
        if found is None and isinstance(modules[taker], nn.Linear):
            flattened = signal.flattened()
            found = None if flattened is None else _taken(flattened, modules[taker], taker)
        if found is None or taker == name:
            got = f"{name}>{taker}, of {num_units} units and {_inputs(modules[taker])} inputs"
            fail("units", "must name a taker whose inputs are a multiple of the units", got, "See unit_graph.")
        consumers.append(found)
    first = consumers[0]
    return UnitLayer(
        name=name,
        num_units=num_units,
        consumers=tuple(consumers),
        watched=first.name,
        watched_input=True,
        watched_form=first.form,
    )


def _outputs(module: Any) -> tuple[int, int]:
    """Units of a layer, and axes of their maps (0 for a linear layer)."""
    if isinstance(module, nn.Linear):
        return module.out_features, 0
    return module.out_channels, len(module.kernel_size)


def _inputs(module: Any) -> int:
    return int(module.in_features if isinstance(module, nn.Linear) else module.in_channels)


def _taken(signal: Signal, module: nn.Module, name: str) -> Consumer | None:
    """A layer as taker of a signal; None if it takes it otherwise than unit by unit."""
    size = _inputs(module)
    if isinstance(module, nn.Linear):
        fits = signal.form in ("outer", "inner") and size % signal.num_units == 0
        fits = fits or (signal.form == "last" and size == signal.num_units)
    else:
        fits = signal.form == "maps" and size == signal.num_units and _outputs(module)[1] == signal.places
    made = Consumer(name=name, form=signal.form, num_inputs=size, num_units=signal.num_units)
    return made if fits else None


def _unfit(model: nn.Module, module: nn.Module) -> str:
    """Why the weight of a layer cannot be acted on; empty if it can."""
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is computed"
    if set(module._parameters) - {"weight", "bias"} or module._modules:
        return "it has more than a weight and a bias"
    owners = Counter(id(value) for part in model.modules() for value in part._parameters.values())
    return "it shares its weight with another layer" if owners[id(weight)] > 1 else ""


class _LeftOutError(Exception):
    """Why a layer is none of units."""


class _Find:
    """Follows the outputs of every layer through a graph.

    Args:
        model: whose names count.
        found: its graph.
    """

    def __init__(self, model: nn.Module, found: Traced) -> None:
        self.model, self.found = model, found
        self.calls = Counter(id(found.module(node)) for node in found.graph.nodes if node.op == "call_module")

    def graph(self) -> UnitGraph:
        """All layers, in the order of the signal."""
        layers, left_out = [], {}
        for node in self.found.graph.nodes:
            module = self._module(node)
            if isinstance(module, WEIGHTED):
                try:
                    layers.append(self._layer(node, module))
                except _LeftOutError as reason:
                    left_out[self._name(node)] = str(reason)
        known = {*left_out, *(layer.name for layer in layers)}
        for name, module in self.model.named_modules():
            if isinstance(module, WEIGHTED) and name not in known:
                left_out[name] = "the traced graph has no call of it"
        return UnitGraph(layers=tuple(layers), left_out=left_out)

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self.found.module(node) if node.op == "call_module" else None

    def _name(self, node: fx.Node) -> str:
        return self.found.names.get(str(node.target), str(node.target))

    def _own(self, module: nn.Module, what: str) -> None:
        """Refuse what is used twice, or has a weight that is not its own."""
        if self.calls[id(module)] > 1:
            raise _LeftOutError(f"{what} is used twice")
        if isinstance(module, WEIGHTED) and (reason := _unfit(self.model, module)):
            raise _LeftOutError(reason if what == "it" else f"{what}: {reason}")

    def _layer(self, node: fx.Node, module: nn.Module) -> UnitLayer:
        self._own(module, "it")
        num_units, places = _outputs(module)
        start = Signal(num_units=num_units, form="maps" if places else "last", places=places)
        ends = list(self._behind(node, start))
        first, signal = ends[0]
        if any((one.norm, one.activation) != (signal.norm, signal.activation) for _, one in ends):
            raise _LeftOutError("its units go different ways before their activation")
        at_output = signal.watched is not None and self.calls[id(signal.watched)] == 1
        return UnitLayer(
            name=self._name(node),
            num_units=num_units,
            norm=signal.norm,
            activation=signal.activation,
            consumers=tuple(consumer for consumer, _ in ends),
            watched=signal.activation if at_output else first.name,
            watched_input=not at_output,
            watched_form=signal.watched_form if at_output else first.form,
        )

    def _behind(self, node: fx.Node, signal: Signal) -> Iterator[tuple[Consumer, Signal]]:
        """The layers that take a signal, and what it is there."""
        users = [user for user in node.users if not is_shape(user)]
        if not users:
            raise _LeftOutError("its units reach nothing")
        for user in users:
            yield from self._through(user, signal)

    def _through(self, node: fx.Node, signal: Signal) -> Iterator[tuple[Consumer, Signal]]:
        """On through a node."""
        if node.op == "output":
            raise _LeftOutError("its units are the output")
        module, what = self._module(node), self._what(node)
        if len([one for one in node.all_input_nodes if not is_shape(one)]) > 1:
            raise _LeftOutError(f"its units reach {what}")
        if isinstance(module, WEIGHTED):
            self._own(module, what)
            consumer = _taken(signal, module, self._name(node))
            if consumer is None:
                raise _LeftOutError(f"its units reach {what} otherwise than one by one")
            yield consumer, signal
            return
        after = self._changed(node, module, signal, what)
        if after is None:
            raise _LeftOutError(f"its units reach {what}")
        yield from self._behind(node, after)

    def _changed(self, node: fx.Node, module: nn.Module | None, signal: Signal, what: str) -> Signal | None:
        """The signal behind a node without a matrix; None if that is not known."""
        if isinstance(module, NORMS):
            self._own(module, what)
            if signal.norm or signal.activation:
                raise _LeftOutError(f"{what} comes after {signal.activation or signal.norm}")
            return signal.normalized(module, self._name(node))
        if is_activation(node, module):
            if signal.activation:
                raise _LeftOutError(f"{what} is a second activation")
            name = self._name(node) if module is not None else self._what(node).partition(" ")[2]
            return Signal(
                num_units=signal.num_units,
                form=signal.form,
                places=signal.places,
                norm=signal.norm,
                activation=name,
                watched=module,
                watched_form=signal.form,
            )
        return by_layer(signal, module) if module is not None else by_function(signal, node)

    def _what(self, node: fx.Node) -> str:
        """What errors call a node."""
        if node.op == "call_module":
            return f"{type(self.found.module(node)).__name__} {self._name(node)}"
        name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
        return f"{node.op.removeprefix('call_')} {name}"
