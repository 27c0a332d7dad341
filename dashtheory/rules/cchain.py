"""C-CHAIN: what the network says of other examples is not to churn from one update to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashtheory._check import choice, fail, integer, real
from dashtheory.evaluate import evaluating
from dashtheory.rules.importance import prefixed
from dashtheory.rules.lwf import divergence
from dashtheory.rules.rule import (
    AfterStep,
    BatchPenalty,
    Context,
    Learner,
    RuleState,
    WhileTraining,
    ablation,
    remembered,
    trainable,
)

DISTANCES = ("kl", "mse")


@dataclass(frozen=True, kw_only=True)
class ChurnReduction(WhileTraining):
    """C-CHAIN: train with a pull to what the network said one update ago, on a second batch.

    The second batch is as large as the step's, drawn with replacement from the chunks so far by a stream of the
    rule; both networks are in evaluation mode, with the running statistics of the moment, so that the penalty is
    zero before the first update of a run.

    Formula: loss + strength x mean over the second batch of KL(softmax before || softmax now), or of the squares
    of (before - now), "before" being the weights of one update ago. With `ratio`, once `warmup` updates are done,

        strength <- ratio x mean |loss| / mean of that distance

    Published: ratio=0.01 after 10,000 updates, strength 50 until then, the mean square for DQN and the divergence
    for PPO. Means are over windows of 50,000 updates there, and running averages over as many here.

    Cost: two forward passes and a backward pass of a second batch a step, and two copies of the weights; on CUDA
    steps are not recorded.

    Source: Tang et al. (ICML 2025, arXiv:2506.00592) and facts of the code, from which nothing is taken over.

    Attributes:
        strength: >= 0; 50 until the ratio rules, as published.
        ratio: of the penalty to the loss, >= 0; 0.01 as published, 0: the strength stays.
        warmup: updates before the ratio rules.
        window: updates that the running averages reach back.
        distance: "kl" or "mse".
    """

    strength: float = ablation(50.0)
    ratio: float = ablation(0.01)
    warmup: int = ablation(10_000)
    window: int = ablation(50_000)
    distance: str = ablation("kl")
    name: ClassVar[str] = "cchain"
    acts: ClassVar[tuple[str, ...]] = ("loss", "steps")
    inert: ClassVar[Mapping[str, Any]] = {"strength": 0}

    def __post_init__(self) -> None:
        real("strength", self.strength, low=0, fix="It multiplies the penalty.")
        real("ratio", self.ratio, low=0, fix="It is the share of the loss; 0 keeps the strength.")
        integer("warmup", self.warmup, minimum=1, fix="It counts updates.")
        integer("window", self.window, minimum=1, fix="It counts updates.")
        choice("distance", self.distance, DISTANCES)

    def start(self, learner: Learner) -> RuleState:
        """The weights of now and of one update ago, which are the same, and what the strength is found by."""
        values = trainable(learner.model)
        like = next(iter(values.values()))
        counts = {name: torch.zeros((), dtype=torch.int64, device=like.device) for name in ("updates", "draw")}
        sizes = {name: torch.zeros((), dtype=torch.float64, device=like.device) for name in ("loss", "churn")}
        return {**prefixed("now", values), **prefixed("before", values), **counts, **sizes}

    def batch_penalty(self, model: nn.Module, context: Context) -> BatchPenalty | None:
        """The distance to what the network said one update ago.

        Raises:
            ValueError: if no chunk has a tensor of inputs to draw the second batch from.
        """
        if not self.strength:
            return None
        state, pool = context.state, [inputs for inputs, _ in context.chunks() if isinstance(inputs, Tensor)]
        if not pool:
            fix = "The second batch is drawn from them: give pairs of tensors."
            fail("chunks", "must have inputs that are tensors", "none", fix)
        before = {name: remembered(state, f"before.{name}", value) for name, value in trainable(model).items()}
        examples, followed = torch.cat(pool), [-1]

        def penalty(inputs: Tensor, targets: Tensor, logits: Tensor) -> Tensor:
            stream = torch.Generator().manual_seed(int(state["draw"]))
            places = torch.randint(len(examples), (len(inputs),), generator=stream).to(examples.device)
            with evaluating(model):
                with torch.no_grad():
                    old: Tensor = torch.func.functional_call(model, before, (examples[places],))
                new = model(examples[places])
            found = divergence(new, old) if self.distance == "kl" else (new - old).square().mean()
            strength = self._strength(state)
            if followed[0] != int(state["updates"]):  # an optimizer may look twice
                followed[0] = int(state["updates"])
                self._follow_(state, context.loss_fn(logits.detach(), targets), found.detach())
            return found * strength

        return penalty

    def _strength(self, state: RuleState) -> float:
        ruled = self.ratio and int(state["updates"]) >= self.warmup and float(state["churn"]) > 0
        return self.ratio * float(state["loss"]) / float(state["churn"]) if ruled else self.strength

    def _follow_(self, state: RuleState, loss: Tensor, churn: Tensor) -> None:
        """Running averages, which are plain means until the window is full."""
        share = 1 / min(int(state["updates"]) + 1, self.window)
        for name, value in (("loss", loss.abs()), ("churn", churn)):
            state[name].lerp_(value.to(state[name]), share)

    def after_step(self, learner: Learner, context: Context) -> AfterStep | None:
        """Note the weights, and draw the next second batch."""
        if not self.strength:
            return None
        state = context.state
        values = [
            (value, remembered(state, f"now.{name}", value), remembered(state, f"before.{name}", value))
            for name, value in trainable(learner.model).items()
        ]

        @torch.no_grad()
        def call(step: int) -> None:
            for value, now, before in values:
                before.copy_(now)
                now.copy_(value)
            state["updates"].add_(1)
            state["draw"].fill_(int(torch.randint(2**62, (), generator=context.generator)))

        return AfterStep(call=call, recordable=False)
