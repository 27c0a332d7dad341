"""What the rules that act on hidden units have in common: their layers, new weights, and the reset of a unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail
from dashtheory.rules.reset_layers import MOMENTA
from dashtheory.rules.rule import Context, Learner, RuleState, WhileTraining, ablation, flag, remembered
from dashtheory.rules.unit_weights import (
    Units,
    clear_entries_,
    correct_biases_,
    reset_norm_,
    units_in,
    write_rows_,
)
from dashtheory.rules.units import unit_graph
from dashtheory.seeds import torch_stream

DRAWS = ("model", "kaiming", "torch", "mixed")
"""Where new incoming weights come from.

    model    a new initialization of the whole network, of which the units' weights are taken
    kaiming  uniform on +- sqrt(6 / inputs), He's for ReLU
    torch    uniform on +- sqrt(1 / inputs), PyTorch's own
    mixed    "kaiming" for linear layers, "torch" for convolutions, as the code of continual backpropagation has it
"""
BIASES = ("zero", "draw")
NORM_FATES = ("kept", "reset")
Resets = Mapping[str, Tensor]
"""Which units are reset: bool (units,), by layer."""


@dataclass(frozen=True, kw_only=True)
class UnitRule(WhileTraining):
    """A rule for hidden units.

    Attributes:
        units: which layers, as text of `unit_graph`; empty: all that are found.
        draw: where new incoming weights come from, of `DRAWS`.
    """

    units: str = ablation("")
    draw: str = ablation("model")

    def __post_init__(self) -> None:
        if not isinstance(self.units, str):
            fix = "Names that look like numbers need a comma: units=0,"
            fail("units", "must be text such as conv1>conv2,fc1>fc2", repr(self.units), fix)
        choice("draw", self.draw, DRAWS)

    def start(self, learner: Learner) -> RuleState:
        """Nothing has happened yet.

        Raises:
            ValueError: if the network has no layers of units (`unit_graph`).
        """
        found = no_steps()
        for layer in unit_graph(learner.model, self.units):
            units = units_in(learner.model, layer)
            for name, value in self.remembers(units.num_units, units.dtype).items():
                found[f"{name} {units.name}"] = value.to(units.device)
        return found

    def remembers(self, num_units: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """What is remembered of a layer, as it begins: `resets`, how often each unit was reset, for all."""
        return {"resets": torch.zeros(num_units, dtype=torch.int64)}

    def layers(self, model: nn.Module) -> list[Units]:
        """The layers that the rule acts on; those that are frozen, or whose consumers are, stay as they are."""
        found = (units_in(model, layer) for layer in unit_graph(model, self.units))
        return [units for units in found if units.is_trained]

    def memory(self, context: Context, layers: Sequence[Units]) -> dict[str, dict[str, Tensor]]:
        """What is remembered of each layer, to be changed in place."""
        return {
            units.name: {
                name: remembered(context.state, f"{name} {units.name}", value.to(units.device))
                for name, value in self.remembers(units.num_units, units.dtype).items()
            }
            for units in layers
        }

    def fresh(self, context: Context) -> Callable[[int], FreshWeights]:
        """What draws at a step; the draws of a step depend on the step and on what is drawn, on nothing before."""
        root = int(torch.randint(2**62, (), generator=context.generator))
        return lambda step: FreshWeights(self.draw, torch_stream(root, "units", step), context.draw)


def no_steps() -> dict[str, Tensor]:
    """The count of a run's steps as it begins."""
    return {"steps": torch.zeros((), dtype=torch.int64)}


def counted(context: Context) -> Callable[[int], int]:
    """What turns steps of a stage into steps of the run, and notes them: a stage may be shorter than a period."""
    count = context.state.get("steps")
    if count is None:
        fail("state", "must hold steps", "none", "Give what this rule's start() returned for this model.")
    before = int(count)

    def total(step: int) -> int:
        count.fill_(before + step)
        return before + step

    return total


class FreshWeights:
    """Draws new weights of units, at one step.

    Args:
        kind: of `DRAWS`.
        generator: CPU stream of the step.
        draw: makes a model from a stream.
    """

    def __init__(
        self, kind: str, generator: torch.Generator, draw: Callable[[torch.Generator], nn.Module]
    ) -> None:
        self.kind, self.generator, self.draw = kind, generator, draw
        self._drawn: nn.Module | None = None

    def weights(self, units: Units, which: Tensor) -> Tensor:
        """(number of these, entries) of new incoming weights; asked for before `biases`."""
        block = units.incoming
        if self.kind == "model":
            value = self._model().get_parameter(f"{units.name}.weight").detach()
            return block.rows(value.to(block.parameter))[which]
        return self._uniform(units, which, block.rows(block.parameter).shape[1], gain=self._gain(units))

    def biases(self, units: Units, which: Tensor) -> Tensor:
        """(number of these,) of new biases; of a uniform kind they are PyTorch's own."""
        assert units.bias is not None
        if self.kind == "model":
            return self._model().get_parameter(f"{units.name}.bias").detach().to(units.bias)[which]
        inputs = units.incoming.rows(units.incoming.parameter).shape[1]
        return self._uniform(units, which, 1, gain=1.0, inputs=inputs).flatten()

    def _model(self) -> nn.Module:
        if self._drawn is None:
            self._drawn = self.draw(self.generator)
        return self._drawn

    def _gain(self, units: Units) -> float:
        linear = units.incoming.parameter.ndim == 2
        return 6.0 if self.kind == "kaiming" or (self.kind == "mixed" and linear) else 1.0

    def _uniform(self, units: Units, which: Tensor, entries: int, *, gain: float, inputs: int = 0) -> Tensor:
        parameter = units.incoming.parameter
        bound = math.sqrt(gain / (inputs or entries))
        wide = torch.promote_types(parameter.dtype, torch.float32)
        drawn = torch.rand(int(which.sum()), entries, generator=self.generator, dtype=wide)
        return (drawn * (2 * bound) - bound).to(parameter)


@dataclass(frozen=True, kw_only=True)
class ResetRule(UnitRule):
    """A rule that resets whole units: new incoming weights, outgoing weights zero.

    Attributes:
        bias: what the unit's bias becomes: "zero", or "draw" with the incoming weights.
        norm: whether the unit's part of a normalization before its activation is "kept", or "reset" (scale 1,
            shift 0, running mean 0, running variance 1).
        moments: whether the optimizer's averages for all these weights are "cleared" or "kept".
        counters: whether its step counters go to zero with them (one for all units of a layer, in PyTorch).
    """

    bias: str = ablation("zero")
    norm: str = ablation("kept")
    moments: str = ablation("cleared")
    counters: bool = ablation(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("bias", self.bias, BIASES)
        choice("norm", self.norm, NORM_FATES)
        choice("moments", self.moments, MOMENTA)
        flag("counters", self.counters)

    def reset_(
        self,
        optimizer: torch.optim.Optimizer,
        layers: Sequence[Units],
        resets: Resets,
        fresh: FreshWeights,
        *,
        means: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Reset units, in place.

        All incoming weights are drawn before any outgoing weight vanishes, so that a weight between two units that
        are reset together is zero.

        Args:
            optimizer: that trains them.
            layers: of the network.
            resets: which units of these.
            fresh: what draws.
            means: mean activations, by layer, that biases of the consumers take over; None: they do not.
        """
        chosen = [(units, resets[units.name]) for units in layers if bool(resets[units.name].any())]
        entries: list[tuple[nn.Parameter, Tensor]] = []
        if means is not None:
            for units, which in chosen:
                correct_biases_(units, which, means[units.name])
        for units, which in chosen:
            write_rows_(units.incoming, which, fresh.weights(units, which))
            entries.append((units.incoming.parameter, units.incoming.spread(which[:, None])))
            if units.bias is not None and units.bias.requires_grad:
                self._renew_bias_(units, which, fresh)
                entries.append((units.bias, which))
            if self.norm == "reset":
                entries += reset_norm_(units, which)
        for units, which in chosen:
            for block in units.outgoing:
                write_rows_(block, which, 0.0)
                entries.append((block.parameter, block.spread(which[:, None])))
        if self.moments == "cleared":
            clear_entries_(optimizer, entries, counters=self.counters)

    @torch.no_grad()
    def _renew_bias_(self, units: Units, which: Tensor, fresh: FreshWeights) -> None:
        assert units.bias is not None
        units.bias[which] = fresh.biases(units, which) if self.bias == "draw" else 0.0


def share_of_layer(values: Tensor) -> Tensor:
    """(units,) each divided by the mean of its layer."""
    return values / (values.mean() + 1e-9)


def mean_gradient(units: Units) -> Tensor | None:
    """(units,) mean of the absolute gradient of each unit's incoming weights; None if there is no gradient."""
    gradient = units.incoming.parameter.grad
    if gradient is None:
        return None
    return units.incoming.rows(gradient.detach().abs()).mean(dim=1, dtype=units.dtype)
