"""One run of all arms and seeds: prime, act, learn, and apply the rules at their moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory.parallel import Report
from dashtheory.rl.acrobot import Acrobot
from dashtheory.rl.agents import Agents, first_weights, shape_of
from dashtheory.rl.arms import Arms, Moments
from dashtheory.rl.config import DQNConfig
from dashtheory.rl.environment import Environment
from dashtheory.rl.lake import Lake
from dashtheory.rl.replay import Draws, Replay

SWITCH = 0.2
"""Share of the moves on the lake after which its hole moves."""


@dataclass(frozen=True, eq=False)
class Record:
    """What happened, action by action, without priming.

    Attributes:
        rewards: (steps, R).
        ended: bool (steps, R): the action ended an episode.
        random: bool (steps, R): the action was drawn.
    """

    rewards: Tensor
    ended: Tensor
    random: Tensor

    def returns(self) -> Tensor:
        """Sum of rewards of the episode at the action that ends it, NaN elsewhere; (steps, R)."""
        total = torch.zeros(self.rewards.shape[1])
        found = torch.full_like(self.rewards, torch.nan)
        for step, (reward, ended) in enumerate(zip(self.rewards, self.ended, strict=True)):
            total = total + reward
            found[step, ended] = total[ended]
            total = total.masked_fill(ended, 0)
        return found


class Run:
    """A run in progress: environments, agents, buffer and streams of R replicas.

    Attributes:
        agents: networks and optimizers.
        replay: the buffer.
        environment: of all replicas.
        moments: the rules.
    """

    def __init__(self, config: DQNConfig, arms: Arms) -> None:
        """Begin, and prime if the configuration says so.

        Args:
            config: of all arms.
            arms: rules and seeds.

        Raises:
            ValueError: if the environment needs a package that is not installed.
        """
        self.config, self.arms, self._seed_of = config, arms, arms.seed_of
        seeds = arms.seeds
        self._acts = Draws(seeds, "actions", (2,))
        self._batches = Draws(seeds, "replay", (config.batch_size,))
        # What differs between arms while priming is the weight decay alone: equal ones are primed once.
        decays, decay_of = torch.unique(arms.weight_decay, return_inverse=True)
        seed_of = torch.arange(len(seeds)).repeat(len(decays))
        rows = decay_of * len(seeds) + self._seed_of
        self._starts = Draws(seeds, "starts", (_kind(config).num_draws,))
        self.environment = self._begin(config, seed_of)
        first = first_weights(shape_of(config, self.environment), seeds)
        weights, decay = first[seed_of], decays.repeat_interleave(len(seeds))
        self.agents = Agents(config, self.environment, weights, weight_decay=decay)
        self.replay = Replay(self.environment.observed, config.prime_steps + config.num_steps)
        self._prime(seed_of)
        self.environment = self._begin(config, self._seed_of)
        begun = Agents(config, self.environment, first[self._seed_of], weight_decay=arms.weight_decay)
        self.moments = Moments(arms, begun)
        self.agents = self.agents.of(rows, arms.weight_decay)
        self.replay = (
            self.replay.of(rows) if config.prime_steps else Replay(self.environment.observed, config.num_steps)
        )

    def _begin(self, config: DQNConfig, seed_of: Tensor) -> Environment:
        if config.environment == "lake":
            return Lake(len(seed_of), switch=round(SWITCH * config.num_steps))
        return Acrobot(self._starts.next()[seed_of])

    def _prime(self, seed_of: Tensor) -> None:
        """Random actions first, then updates on these alone."""
        for _ in range(self.config.prime_steps):
            _, action = self._acts.next()[seed_of].unbind(1)
            self._act(self._random(action), seed_of)
        batches = Draws(self.arms.seeds, "prime replay", (self.config.batch_size,))
        for _ in range(self.config.prime_updates):
            self.agents.update(self.replay.drawn(batches.next()[seed_of]))
        self.agents.updates = 0

    def _random(self, draws: Tensor) -> Tensor:
        return (draws * self.environment.num_actions).long()

    def _act(self, actions: Tensor, seed_of: Tensor) -> tuple[Tensor, Tensor]:
        """Act, keep the transition; rewards and ends."""
        observed = self.environment.observed
        outcome = self.environment.step(actions, self._starts.next()[seed_of])
        self.replay.add(observed, actions, outcome)
        return outcome.reward, outcome.ended

    def go(self, report: Report | None = None) -> Record:
        """Act and learn to the end.

        Args:
            report: told of progress.

        Returns:
            Record: of all actions after priming.
        """
        config = self.config
        rewards, ends, drawn = list[Tensor](), list[Tensor](), list[Tensor]()
        random_until = torch.zeros(len(self._seed_of), dtype=torch.int64)
        if config.prime_steps:
            self._moment(0, random_until)
        for step in range(config.num_steps):
            coin, action = self._acts.next()[self._seed_of].unbind(1)
            random = (coin < config.epsilon) | (step < random_until)
            actions = torch.where(random, self._random(action), self.agents.greedy(self.environment.observed))
            reward, ended = self._act(actions, self._seed_of)
            for found, value in zip((rewards, ends, drawn), (reward, ended, random), strict=True):
                found.append(value)
            for _ in range(config.replay_ratio):
                self.agents.update(self.replay.drawn(self._batches.next()[self._seed_of]))
            if config.rule_every and (step + 1) % config.rule_every == 0 and step + 1 < config.num_steps:
                self._moment(step + 1, random_until)
            if report is not None and (step + 1) % 20 == 0:
                report((step + 1) / config.num_steps, f"action {step + 1}")
        return Record(torch.stack(rewards), torch.stack(ends), torch.stack(drawn))

    def _moment(self, step: int, random_until: Tensor) -> None:
        self.moments.apply(self.agents, self.replay)
        random_until[self.arms.explores] = step + self.config.explore_steps


def run_arms(
    config: DQNConfig, rules: Sequence[str], seeds: Sequence[int], report: Report | None = None
) -> Record:
    """Run rules on seeds, all at once.

    Args:
        config: of all.
        rules: as `parse_arm` reads them.
        seeds: root seeds.
        report: told of progress.

    Returns:
        Record: replica (a, s) is column a * len(seeds) + s.

    Raises:
        ValueError: in one line for a rule that there is not, or an environment that is not installed.
    """
    return Run(config, Arms(rules=tuple(rules), seeds=tuple(seeds))).go(report)


def _kind(config: DQNConfig) -> type[Environment]:
    return Lake if config.environment == "lake" else Acrobot
