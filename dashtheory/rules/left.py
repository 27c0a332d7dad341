"""What rules leave alone of a model, and why: a rule that shrinks a tenth of the weights must say so."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dashtheory.rules.groups import Target
from dashtheory.rules.layers import layout_of

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_WHY: tuple[tuple[tuple[type, ...], str], ...] = (
    (_NORMS, "normalization"),
    ((nn.Embedding, nn.EmbeddingBag), "embedding"),
    ((nn.RNNBase, nn.RNNCellBase), "recurrent layer"),
)


class PartlyShrunk(UserWarning):
    """A rule leaves more than one half of a model's weights alone."""


@dataclass(frozen=True)
class LeftAlone:
    """A parameter that is not shrunk.

    Attributes:
        name: its full name in the model.
        why: "frozen", "normalization", "embedding", "recurrent layer", "left alone by choice", or that its class
            is not known.
        num_entries: of the parameter.
    """

    name: str
    why: str
    num_entries: int


def left_alone(model: nn.Module, shrunk: Sequence[Target]) -> tuple[LeftAlone, ...]:
    """All parameters of a model but those that are shrunk.

    Args:
        model: any.
        shrunk: its targets.
    """
    inside = {id(one) for target in shrunk for one in (target.parameter, *target.shared.values())}
    chosen = {
        id(value)
        for module in model.modules()
        if layout_of(module) is None
        for value in module._parameters.values()
    }
    found = []
    for name, value in model.named_parameters():
        if id(value) in inside:
            continue
        module = model.get_submodule(name.rpartition(".")[0])
        if not value.requires_grad:
            why = "frozen"
        elif id(value) in chosen:
            why = "left alone by choice"
        else:
            unknown = f"{type(module).__name__} is not known"
            why = next((words for kinds, words in _WHY if isinstance(module, kinds)), unknown)
        found.append(LeftAlone(name, why, value.numel()))
    return tuple(found)


def tell_if_partly(shrunk: Sequence[Target], left: Sequence[LeftAlone]) -> None:
    """Warn if less than one half of the entries is shrunk, with the share and the reasons."""
    inside, outside = sum(one.parameter.numel() for one in shrunk), sum(one.num_entries for one in left)
    if outside <= inside:
        return
    entries: dict[str, int] = {}
    for one in left:
        entries[one.why] = entries.get(one.why, 0) + one.num_entries
    whole = inside + outside
    reasons = [f"{why} ({number / whole:.0%})" for why, number in sorted(entries.items(), key=lambda e: -e[1])]
    warnings.warn(
        f"only {inside / whole:.0%} of the model's weights is shrunk; left alone: {', '.join(reasons)}. "
        "dashtheory.rules.register_layers makes classes of layers known.",
        PartlyShrunk,
        stacklevel=3,
    )
