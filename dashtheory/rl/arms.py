"""Arms: what is compared in a run, one rule each, all seeds of all arms in one stack.

A rule is one of the package's that acts between stages, applied to every replica by itself at every moment, with
the replay buffer as its chunks, oldest first. Two more belong to this room:

    explore       nothing but random actions after each moment: what a reset brings besides new weights
    redo          units that hardly fire begin again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

from dashtheory._check import fail
from dashtheory.rl.agents import Agents, td_loss
from dashtheory.rl.replay import Replay
from dashtheory.rules.rule import Context, Learner, Rule, RuleState
from dashtheory.rules.spec import WARMUP, Registry, RuleSpec, parse_spec
from dashtheory.seeds import torch_stream


@dataclass(frozen=True, kw_only=True)
class Explore(Rule):
    """Leave the agent as it is; the run makes the actions after each moment random (`explore_steps`)."""

    name: ClassVar[str] = "explore"
    acts: ClassVar[tuple[str, ...]] = ()

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        """Return the learner as it is."""
        return learner, None


RL_RULES: Mapping[str, type[Any]] = Registry(
    {
        "warm": "dashtheory.rules.warm:Warm",
        "explore": "dashtheory.rl.arms:Explore",
        "warm_rm": "dashtheory.rules.warm:WarmRenewed",
        "cold": "dashtheory.rules.cold:Cold",
        "reset_full": "dashtheory.rules.reset_layers:ResetFull",
        "reset_last": "dashtheory.rules.reset_layers:ResetLast",
        "redo": "dashtheory.rl.redo:ReDo",
        "sp": "dashtheory.rules.shrink_and_perturb:ShrinkPerturb",
        "sp_ash_adams": "dashtheory.rules.shrink_and_perturb:ShrinkFresh",
        "sp_init": "dashtheory.rules.sp_init:ShrinkInit",
        "fire": "dashtheory.rules.fire:Fire",
        "perturb": "dashtheory.rules.controls:Perturb",
        "dash": "dashtheory.rules.dash:Dash",
        "permuted": "dashtheory.rules.controls:Permuted",
        "scattered": "dashtheory.rules.controls:Scattered",
        "norm_matched": "dashtheory.rules.matched:NormMatched",
        "uniform": "dashtheory.rules.controls:Uniform",
        "threshold": "dashtheory.rules.controls:Threshold",
    }
)
"""Rules of this room by name; `warm` does nothing, `cold` is a full reset with new first weights."""


def parse_arm(text: str) -> RuleSpec:
    """A rule of an agent as written; `weight_decay` is the one option of its training that it may have.

    Raises:
        ValueError: in one line as `parse_spec`, or if it sets another learning rate, or a warm-up.
    """
    spec = parse_spec(text, RL_RULES, own=False)
    if WARMUP in spec.training:
        fail("rules", "must leave the step size as it is", repr(text), f"Drop {WARMUP}.")
    if "learning_rate" in {*spec.training, spec.tuned}:
        fail("rules", "must leave the learning rate as it is", repr(text), "Change lake_rate= or acrobot_rate=.")
    return spec


@dataclass(frozen=True, kw_only=True, eq=False)
class Arms:
    """Rules and seeds of a stack: replica (a, s) is row a * len(seeds) + s.

    Attributes:
        rules: as written, with every value given.
        seeds: root seeds; those of all arms share first weights, environment and draws.

    Raises:
        ValueError: if there is no rule or no seed, or a rule is none or to be tuned.
    """

    rules: tuple[str, ...]
    seeds: tuple[int, ...]
    specs: tuple[RuleSpec, ...] = field(init=False)

    def __post_init__(self) -> None:
        for name, values in (("rules", self.rules), ("seeds", self.seeds)):
            if not values:
                fail(name, "must hold at least one", "none", "Say rules=['warm'] and seeds=[0], for example.")
        object.__setattr__(self, "specs", tuple(parse_arm(rule) for rule in self.rules))
        for spec in self.specs:
            if spec.tuned:
                fail("rules", "must have values that are given", spec.text, "Tune it first.")

    @property
    def seed_of(self) -> torch.Tensor:
        """Place of each replica's seed, int64 (R,)."""
        return torch.arange(len(self.seeds)).repeat(len(self.rules))

    @property
    def weight_decay(self) -> torch.Tensor:
        """Of each replica, (R,)."""
        return self._each([spec.training.get("weight_decay", 0.0) for spec in self.specs])

    @property
    def explores(self) -> torch.Tensor:
        """Whether a replica's rule is `explore`, bool (R,)."""
        return self._each([spec.name == "explore" for spec in self.specs])

    def _each(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(values).repeat_interleave(len(self.seeds))


class Moments:
    """Applies each replica's rule, and keeps what the rules remember.

    Attributes:
        passed: moments so far.
    """

    def __init__(self, arms: Arms, agents: Agents) -> None:
        """Let every rule see the first weights.

        Args:
            arms: of the stack.
            agents: as they begin.
        """
        self.arms, self.passed = arms, 0
        self.rules: list[Rule] = [spec.make() for spec in arms.specs for _ in arms.seeds]
        self._states: list[RuleState] = [rule.start(agents.learner(row)) for row, rule in enumerate(self.rules)]

    def apply(self, agents: Agents, replay: Replay) -> None:
        """One moment: every rule changes its own replica and no other.

        Args:
            agents: changed in place.
            replay: what the rules learn from.
        """
        self.passed += 1
        for row, rule in enumerate(self.rules):
            if rule.acts:
                context = self._context(agents, replay, row)
                agents.take(row, rule.apply(agents.learner(row), context)[0])

    def _context(self, agents: Agents, replay: Replay, row: int) -> Context:
        seed = self.arms.seeds[row % len(self.arms.seeds)]

        def draw(generator: torch.Generator) -> nn.Module:
            return agents.shape.module(agents.shape.draw(generator).to(agents.weights.dtype))

        def renew(model: nn.Module) -> torch.optim.Optimizer:
            return torch.optim.Adam(model.parameters(), lr=agents.config.learning_rate)

        def fresh() -> Learner:
            model = draw(torch_stream(seed, "init", self.passed))
            return Learner(model, renew(model))

        return Context(
            chunks=partial(agents.chunks, row, replay.all_of(row)),
            loss_fn=td_loss,
            fresh=fresh,
            generator=torch_stream(seed, "perturbation", self.passed),
            renew=renew,
            state=self._states[row],
            steps_per_epoch=max(1, replay.size // agents.config.batch_size),
            draw=draw,
        )
