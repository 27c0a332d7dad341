"""Activations of hidden units, looked at while a network trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.evaluate import evaluating
from dashtheory.rules.rule import Context
from dashtheory.rules.unit_signal import units_of
from dashtheory.rules.unit_weights import Units

Look = Callable[[Units, Tensor], Any]
"""What is noted of the activations (batch, units, places) of a layer, float32 or wider, without a graph."""


class Watch:
    """Hooks that look at the activations of layers in the next forward pass, when they are asked to.

    A step's first pass counts, in whatever mode the network is; passes without gradients (evaluation) and those
    of copies of the network do not.

    Args:
        model: whose layers these are.
        layers: that are watched.
        look: what is noted of each.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Units], look: Look) -> None:
        self.look, self.model, self.layers = look, model, tuple(layers)
        self.armed = False
        self.asked: dict[str, list[Tensor]] | None = None
        self.seen: dict[str, Any] = {}
        self.handles = [self._hook(model.get_submodule(one.layer.watched), one) for one in layers]

    def _hook(self, home: nn.Module, units: Units) -> Any:
        """Watch a layer. A copy of the network keeps these very functions, which know that they are elsewhere."""

        def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if module is home and inputs:
                self.note(units, inputs[0])

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            if module is home:
                self.note(units, output)

        if units.layer.watched_input:
            return home.register_forward_pre_hook(before)
        return home.register_forward_hook(after)

    def note(self, units: Units, values: Tensor) -> None:
        """Look at a signal, if it is time."""
        wanted = self.armed and torch.is_grad_enabled() and units.name not in self.seen
        if self.asked is None and not wanted:
            return
        found = units_of(values.detach(), units.layer.watched_form, units.layer.num_units)
        if found is None:
            got = f"{tuple(values.shape)} at {units.layer.watched}"
            rule = f"must have {units.layer.num_units} units where they are recorded"
            fail("activations", rule, got, "Leave this layer out with units=.")
        found = found.to(torch.promote_types(found.dtype, torch.float32))
        if self.asked is not None:
            self.asked.setdefault(units.name, []).append(found)
            return
        with torch.no_grad():
            self.seen[units.name] = self.look(units, found)

    def take(self, *, again: bool) -> dict[str, Any]:
        """What was noted, by layer; and whether to look at the next pass again."""
        seen, self.seen, self.armed = self.seen, {}, again
        return seen

    @torch.no_grad()
    def ask(self, inputs: Tensor) -> dict[str, Any]:
        """What is noted of these inputs, in evaluation mode; the network, which may take them in parts, stays."""
        parts: dict[str, list[Tensor]] = {}
        self.asked = parts
        try:
            with evaluating(self.model):
                self.model(inputs)
        finally:
            self.asked = None
        by_name = {one.name: one for one in self.layers}
        return {name: self.look(by_name[name], torch.cat(found)) for name, found in parts.items()}

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()


def some_examples(context: Context, number: int, generator: torch.Generator) -> Tensor:
    """Inputs of `number` examples (or of all) drawn from the chunks so far, each example at most once.

    Args:
        context: of the stage.
        number: of examples.
        generator: CPU stream.
    """
    chunks: list[Any] = [inputs for inputs, _ in context.chunks()]
    which = torch.randperm(sum(map(len, chunks)), generator=generator)[:number].sort().values
    found, first = [], 0
    for inputs in chunks:
        here = which[(which >= first) & (which < first + len(inputs))] - first
        found.append(inputs[here.to(inputs.device)])
        first += len(inputs)
    return torch.cat(found)
