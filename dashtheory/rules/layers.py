"""Which parameters of which classes of layers rules shrink, and how the entries of each are laid out.

    layout      weight of                        one group for each
    kernel      convolution (out, in, ...)       kernel
    transposed  transposed convolution           kernel
    row         linear (out, in)                 output
    column      linear stored (in, out)          output
    vector      bias                             vector
    tensor      anything                         tensor

torch's convolutions, linear layers and attention are known, and what is made from these by subclassing; so is the
`Conv1D` of GPT-2 in transformers. Any other class is made known with `register_layers`, or `layers=` for a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

from dashtheory._check import choice, fail

LAYOUTS = ("kernel", "transposed", "row", "column", "vector", "tensor")
"""How a weight groups, by name."""

Layers = Mapping[type[nn.Module], str | Mapping[str, str] | None]
"""{class: layout of its "weight" (its "bias" is a vector), or {name: layout}, or None, which leaves it alone}."""

Layout = Mapping[str, str]

_CONVOLUTION: Layout = {"weight": "kernel", "bias": "vector"}
_TRANSPOSED: Layout = {"weight": "transposed", "bias": "vector"}
_LINEAR: Layout = {"weight": "row", "bias": "vector"}
_BUILT_IN: dict[type, Layout] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _CONVOLUTION),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _TRANSPOSED),
    nn.Linear: _LINEAR,
    nn.MultiheadAttention: {
        **dict.fromkeys(("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"), "row"),
        "in_proj_bias": "vector",
    },
}
_COLUMNS: Layout = {"weight": "column", "bias": "vector"}
_BY_NAME: dict[str, Layout] = {
    "transformers.pytorch_utils.Conv1D": _COLUMNS,
    "transformers.modeling_utils.Conv1D": _COLUMNS,
}
_FOR_GOOD: dict[type, Layout | None] = {}
_FOR_NOW: ContextVar[Mapping[type, Layout | None]] = ContextVar("layers", default={})  # noqa: B039 - never changed


def register_layers(layers: Layers) -> None:
    """Make classes of layers known to every rule and measure, for the rest of the program.

        register_layers({MyLinear: "row", MyConv: {"kernels": "kernel", "shift": "vector"}, nn.Embedding: None})

    A class counts with its subclasses; the nearest class that is known decides. None leaves the parameters of a
    class alone, also where another layer has them too: with `nn.Embedding: None` an output layer that is tied to
    the embedding is left alone, without it both shrink as a linear layer does.

    Args:
        layers: {class: how its weight groups}.

    Raises:
        ValueError: if that is no class of modules, or no name of `LAYOUTS`.
    """
    _FOR_GOOD.update(_checked(layers))


@contextmanager
def known_layers(layers: Layers | None) -> Iterator[None]:
    """Make classes of layers known inside, as `register_layers` does for good."""
    token = _FOR_NOW.set({**_FOR_NOW.get(), **_checked(layers or {})})
    try:
        yield
    finally:
        _FOR_NOW.reset(token)


def layout_of(module: nn.Module) -> Layout | None:
    """Layout of the parameters of a module that rules shrink, by name; None if it is to be left alone.

    An empty layout says that the class is not known.
    """
    for kind in type(module).__mro__:
        for known in (_FOR_NOW.get(), _FOR_GOOD, _BUILT_IN):
            if kind in known:
                return known[kind]
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in _BY_NAME:
            return _BY_NAME[name]
    return {}


def is_registered(module: nn.Module) -> bool:
    """Whether it is the user who said how the parameters of this module group."""
    return any(kind in known for kind in type(module).__mro__ for known in (_FOR_NOW.get(), _FOR_GOOD))


def _checked(layers: Layers) -> dict[type, Layout | None]:
    found: dict[type, Layout | None] = {}
    for kind, how in layers.items():
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            fail("layers", "must have classes of modules as keys", repr(kind), "Write {MyLayer: 'row'}.")
        layout = {"weight": how, "bias": "vector"} if isinstance(how, str) else how
        for each in (layout or {}).values():
            choice("layers", each, LAYOUTS)
        found[kind] = None if layout is None else dict(layout)
    return found
