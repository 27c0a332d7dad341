"""What all adapters share: a rule with its data, and how it is applied once at the start of a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer
from dashtheory._door import door
from dashtheory.adapters.acting import refuse_elsewhere
from dashtheory.adapters.data import as_chunk, still
from dashtheory.adapters.optimizers import cleared, touched_cleared
from dashtheory.adapters.undisturbed import seed_, undisturbed
from dashtheory.batchnorm import has_statistics
from dashtheory.rules import Context, InPlace, Learner, Reestimate, Rule, ShrinkReport, anchored, parse_rule
from dashtheory.rules.passes import Count, Forward, Pair, device_of, passing, same_on_all_ranks_
from dashtheory.rules.rule import LossFunction
from dashtheory.rules.wrappers import group_of, unwrapped
from dashtheory.seeds import torch_stream

FATES = ("kept", "renewed", "touched")
"""What can happen to the optimizer: its state stays, is cleared, or is cleared for what the rule changed."""
STATISTICS = ("kept", "reestimated")
"""What can happen to the running statistics of batch normalization."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StageReport:
    """What happened at the start of a stage.

    Attributes:
        stage: 2, 3, ...
        shrink: what the rule says of itself, if anything.
        chunks: which data it looked at, in words.
        optimizer: what happened to the optimizer, of `FATES`.
    """

    stage: int
    shrink: ShrinkReport | None
    chunks: str
    optimizer: str


@dataclass(frozen=True, kw_only=True, eq=False)
class StageRule:
    """A rule between stages, and what it needs in a training loop that is not ours.

    Attributes:
        rule: as text ("dash:lam=0.05", "python:mine.py:Mine") or made. It must change the model or
            the optimizer's state in place, between stages: what acts in the loss, after steps, or by an optimizer
            or a network of its own is refused (`dashtheory.adapters.acting`).
        loss_fn: `loss_fn(output, target)`, the mean loss. Needed by rules that look at data.
        chunks: all data seen so far, chunk by chunk, oldest first: pairs, loaders, data sets, or a function that
            gives these. None: the data of the training loop, without shuffling, are one chunk.
        pair: `pair(batch)`, (inputs, target) of a batch; by itself its first two entries.
        forward: `forward(model, inputs)`; by itself `model(inputs)`.
        count: `count(output, target)`, what a batch weighs; by itself the targets in it that count.
        optimizer: "kept", "renewed" (its state is cleared) or "touched" (cleared for the tensors that changed);
            None leaves it to the rule.
        averages: EMA or SWA copies of the weights, which start anew from the changed ones.
        fresh: makes a new network, for rules that draw initial weights.
        start: the network that stage 1 began with, for rules that go back to it.
        batch_norm: "kept", or "reestimated" over the chunks after the rule.
        seed: of what the rule draws.
        group: processes that share the model; by itself all of `torch.distributed` where that runs.

    Raises:
        ValueError: in one line if the rule does not act between stages in place, or an option is none.
    """

    rule: str | Rule = "dash"
    loss_fn: LossFunction | None = None
    chunks: Sequence[Any] | Callable[[], Iterable[Any]] | None = None
    pair: Pair | None = None
    forward: Forward | None = None
    count: Count | None = None
    optimizer: str | None = None
    averages: Sequence[object] = ()
    fresh: Callable[[], nn.Module] | None = None
    start: nn.Module | None = None
    batch_norm: str = "kept"
    seed: int = 0
    group: Any = None

    def __post_init__(self) -> None:
        self.made()
        choice("batch_norm", self.batch_norm, STATISTICS)
        integer("seed", self.seed, minimum=0, fix="Seeds are 0, 1, 2, ...")

    def made(self) -> Rule:
        """The rule, with the optimizer's fate."""
        rule = parse_rule(self.rule) if isinstance(self.rule, str) else self.rule
        if not isinstance(rule, Rule):
            fail("rule", "must be a rule or its text", type(rule).__name__, "Say 'dash', for instance.")
        refuse_elsewhere(rule)
        if self.optimizer is None:
            return rule
        choice("optimizer", self.optimizer, FATES)
        if not isinstance(rule, InPlace):
            name = rule.name or type(rule).__name__
            fail("optimizer", "must be left to this rule", f"{self.optimizer!r} for {name}", "Leave it out.")
        return replace(rule, optimizer="renewed" if self.optimizer == "renewed" else "kept")

    @door()
    def apply(
        self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], *, stage: int, loader: Any = None
    ) -> StageReport:
        """Apply the rule; nothing else moves: streams, modes, gradients, the loop's loader.

        Args:
            model: changed in place, wrapped or not.
            optimizers: of the loop; their objects stay, since schedules and scalers hold them.
            stage: that begins, from 2.
            loader: of the loop, for where no chunks were given.

        Returns:
            what happened.

        Raises:
            ValueError: if the rule cannot have what it needs, before any weight is touched.
        """
        if not optimizers:
            fail("optimizers", "must hold at least one", "none", "Give those that train the model.")
        integer("stage", stage, minimum=2, fix="The first stage needs no rule.")
        group = self.group or group_of(model) or _everyone()
        model, rule = unwrapped(model), self.made()
        given, words = self._given(loader, group)
        reestimated = self.batch_norm == "reestimated" and has_statistics(model)
        chunks = [self._chunk(one, loader, group) for one in given]
        seed = torch_stream(self.seed, "adapter", stage).initial_seed()
        if reestimated:
            with undisturbed(model, [loader, *given], seed):
                self._refuse_statistics(chunks)
        fate: str = self.optimizer or str(getattr(rule, "optimizer", "kept"))
        context = self._context(model, optimizers, stage, chunks)
        with ExitStack() as stack:
            if fate == "touched":
                stack.enter_context(touched_cleared(model, optimizers))
            stack.enter_context(undisturbed(model, [loader, *given], seed))
            stack.enter_context(passing(forward=self.forward, count=self.count, group=group))
            keepers = self.averages if fate == "renewed" else [*optimizers[1:], *self.averages]
            stack.enter_context(anchored(*keepers, model=model))
            after, shrink = rule.apply(Learner(model, optimizers[0]), context)
            if after.model is not model:
                fail("rule", "must change the model in place", type(rule).__name__, "Return the same learner.")
            if reestimated:
                Reestimate().apply(Learner(model, optimizers[0]), context)
            if group is not None:
                same_on_all_ranks_(model, group)
        return StageReport(stage=stage, shrink=shrink, chunks=words, optimizer=fate)

    def _context(
        self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], stage: int, chunks: list[Any]
    ) -> Context:
        """What the rule may use."""
        first = optimizers[0]
        return Context(
            chunks=lambda: iter(chunks),
            loss_fn=self.loss_fn or _no_loss,
            fresh=lambda: Learner(self._drawn(model, stage).to(device_of(model)), first),
            generator=torch_stream(self.seed, "perturbation", stage),
            renew=lambda _: cleared(optimizers),
            state={} if self.start is None else self.made().start(Learner(self.start, first)),
        )

    def _given(self, loader: Any, group: Any) -> tuple[list[Any], str]:
        """What the chunks are made of, oldest first, and which these are in words."""
        if self.chunks is not None:
            found = list(self.chunks() if callable(self.chunks) else self.chunks)
            return found, f"{len(found)} chunks that were given"
        if loader is None:
            return [], "none"
        return [still(loader, group)], "the data of the training loop, as one chunk"

    def _chunk(self, given: Any, loader: Any, group: Any) -> Any:
        return as_chunk(given, self.pair, group, getattr(loader, "collate_fn", None))

    def _drawn(self, model: nn.Module, stage: int) -> nn.Module:
        """A new network, drawn from the stage's own stream."""
        if self.fresh is None:
            fail("fresh", "must be given for this rule, which draws initial weights", "none", "Say fresh=MyModel.")
        seed_(model, torch_stream(self.seed, "init", stage).initial_seed())
        return self.fresh()

    def _refuse_statistics(self, chunks: list[Any]) -> None:
        if self.forward is not None:
            fail("batch_norm", "must be kept with forward=", self.batch_norm, "Re-estimate in your own loop.")
        if not chunks:
            fail("batch_norm", "must be kept without data", self.batch_norm, "Give chunks, or the loop's loader.")
        fix = "Re-estimate in your own loop."
        for one in chunks:
            first = one if isinstance(one, tuple) else next(iter(one), None)
            if first is not None and not isinstance(first[0], Tensor):
                got = type(first[0]).__name__
                fail("batch_norm", "must be kept where inputs are no tensors", got, fix)


def _everyone() -> Any:
    running = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return dist.group.WORLD if running else None


def _no_loss(*_: object) -> Tensor:
    fail("loss_fn", "must be given for this rule, which looks at the data", "none", "Say loss_fn=cross_entropy.")
