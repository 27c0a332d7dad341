"""What a double DQN, its environment and the moments of a rule are made of."""

from __future__ import annotations

from dataclasses import dataclass

from dashtheory._check import choice, fail, integer, real

ENVIRONMENTS = ("lake", "acrobot")
"""Environments by name (`dashtheory.rl.lake`, `dashtheory.rl.acrobot`)."""


@dataclass(frozen=True, kw_only=True)
class DQNConfig:
    """A double DQN (van Hasselt, Guez, Silver, AAAI 2016) with a replay buffer that keeps all transitions.

    Raises:
        ValueError: if a value is out of range.

    Attributes:
        environment: "lake" or "acrobot".
        hidden: widths of the hidden layers, ReLU behind each.
        num_steps: actions in the environment, each one transition.
        replay_ratio: updates after every action.
        epsilon: share of actions that are random.
        learning_rate: of Adam.
        batch_size: transitions of an update, drawn with replacement.
        discount: of the next value.
        target_every: updates after which the target network becomes the network.
        rule_every: actions between two moments of the rule; 0: none after priming.
        num_chunks: parts of the buffer, oldest first, that a rule such as DASH is given as its chunks.
        explore_steps: actions after every moment that are random under the rule `explore`.
        prime_steps: random actions before the first update; 0: no priming.
        prime_updates: updates on these alone, before the first moment and all else.
    """

    environment: str = "lake"
    hidden: tuple[int, ...] = (64, 64)
    num_steps: int = 1000
    replay_ratio: int = 4
    epsilon: float = 0.1
    learning_rate: float = 0.01
    batch_size: int = 32
    discount: float = 0.9
    target_every: int = 100
    rule_every: int = 100
    num_chunks: int = 10
    explore_steps: int = 10
    prime_steps: int = 0
    prime_updates: int = 0

    def __post_init__(self) -> None:
        choice("environment", self.environment, ENVIRONMENTS)
        if not isinstance(self.hidden, tuple) or not self.hidden:
            fail("hidden", "must be a tuple of widths, one or more", repr(self.hidden), "Say hidden=(64, 64).")
        for width in self.hidden:
            integer("hidden", width, minimum=1, fix="It is the width of a layer.")
        for name in ("num_steps", "replay_ratio", "batch_size", "target_every", "num_chunks"):
            integer(name, getattr(self, name), minimum=1, fix="It is a number of things.")
        for name in ("rule_every", "explore_steps", "prime_steps", "prime_updates"):
            integer(name, getattr(self, name), minimum=0, fix="0 switches it off.")
        if self.prime_updates and not self.prime_steps:
            fail("prime_updates", "must be 0 without prime_steps", str(self.prime_updates), "Say prime_steps=500.")
        real("epsilon", self.epsilon, low=0, high=1, fix="It is a share of actions.")
        real("discount", self.discount, low=0, high=1, fix="It weighs the next value.")
        real("learning_rate", self.learning_rate, low=0, open_low=True, fix="It is Adam's step size.")
