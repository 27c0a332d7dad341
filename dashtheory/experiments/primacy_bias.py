"""Primacy bias: does an agent that learned too much too early learn on, and does a rule between help it?

Two tasks, double DQN agents, every rule beside its controls:

    lake       the answer becomes the opposite after a fifth of the moves; a rule every `rule_every` moves;
               by replay ratio, with and without exploration
    acrobot    heavy priming (Nikishin et al., ICML 2022): some transitions, thousands of updates on these, the
               rule once, then usual training

What a reset brings besides new weights is random behavior: `explore` brings that alone, and so does epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pandas as pd
import torch
from torch import Tensor

from dashtheory._check import again, fail, integer, real
from dashtheory.parallel import Job, Report
from dashtheory.record import group_name, make_table, stage_rows
from dashtheory.rl.acrobot import gymnasium_acrobot
from dashtheory.rl.arms import parse_arm
from dashtheory.rl.config import DQNConfig
from dashtheory.rl.run import SWITCH, Record, run_arms

RULES = (
    *("warm", "explore", "warm_rm", "cold", "reset_last", "redo", "warm:weight_decay=tuned"),
    *("sp", "dash", "permuted", "norm_matched"),
)
"""Rules that are compared by default; `warm` is nothing, `cold` a full reset."""
UNPRIMED = "reset_full"
"""Back to the first weights right after priming: exactly a run whose network was never primed."""
AFTER_SWITCH, RETURN = "success_after_switch", "episode_return"
FIFTHS, QUARTERS = 5, 4
TUNING_SEED = 1_000_000
"""The seeds that a weight decay is chosen on begin here."""


@dataclass(frozen=True, kw_only=True)
class PrimacyConfig:
    """Both tasks, and the rules.

    Raises:
        ValueError: if a value is out of range, or no rule is `warm`.
    """

    rules: tuple[str, ...] = field(default=RULES, metadata={"help": "rules; warm does nothing"})
    replay_ratios: tuple[int, ...] = field(default=(1, 4, 16), metadata={"help": "lake: updates per move"})
    epsilons: tuple[float, ...] = field(default=(0.0, 0.1), metadata={"help": "lake: shares of random moves"})
    moves: int = field(default=600, metadata={"help": "lake: moves; the hole moves after a fifth of them"})
    rule_every: int = field(default=100, metadata={"help": "lake: moves between two moments of the rules"})
    lake_rate: float = field(default=0.01, metadata={"help": "lake: Adam's step size"})
    lake_hidden: tuple[int, ...] = field(default=(32, 32), metadata={"help": "lake: widths of hidden layers"})
    lake_explore: int = field(default=20, metadata={"help": "lake: random moves after a moment under explore"})
    acrobot_steps: int = field(default=8000, metadata={"help": "Acrobot: actions after priming; 0: leave it out"})
    prime_steps: int = field(default=500, metadata={"help": "Acrobot: transitions that the agent is primed on"})
    prime_updates: int = field(default=20_000, metadata={"help": "Acrobot: updates on these alone"})
    acrobot_rate: float = field(default=0.001, metadata={"help": "Acrobot: Adam's step size"})
    acrobot_hidden: tuple[int, ...] = field(
        default=(64, 64), metadata={"help": "Acrobot: widths of hidden layers"}
    )
    acrobot_explore: int = field(default=500, metadata={"help": "Acrobot: random actions under explore"})
    decays: tuple[float, ...] = field(
        default=(0.001, 0.01, 0.1), metadata={"help": "weight decays that tuned chooses from"}
    )
    tuning_seeds: int = field(
        default=5, metadata={"help": "seeds, others than those shown, that tuned chooses on"}
    )

    def __post_init__(self) -> None:
        specs = [parse_arm(rule) for rule in self.rules]
        if "warm" not in self.rules or len(set(self.rules)) < len(self.rules):
            fail("rules", "must name warm and others, each once", ",".join(self.rules), "Add warm.")
        if UNPRIMED in {spec.name for spec in specs}:
            fail("rules", f"must not name {UNPRIMED}", UNPRIMED, "Acrobot has it; cold is a full reset too.")
        for name, values in (("replay_ratios", self.replay_ratios), ("epsilons", self.epsilons)):
            if not values or len(set(values)) < len(values):
                fix = "Say replay_ratios=4 and epsilons=0.1, for example."
                fail(name, "must hold at least one value, each once", str(values), fix)
        integer("moves", self.moves, minimum=FIFTHS * 2, fix="Two moves are a crossing, and there are fifths.")
        integer("acrobot_steps", self.acrobot_steps, minimum=0, fix="0 leaves Acrobot out.")
        if 0 < self.acrobot_steps < 2000:
            fix = "An episode may take 500, and every quarter needs the end of one."
            fail("acrobot_steps", "must be 0 or at least 2000", str(self.acrobot_steps), fix)
        integer("prime_steps", self.prime_steps, minimum=1, fix="The agent is primed on so many transitions.")
        integer("tuning_seeds", self.tuning_seeds, minimum=1, fix="It counts seeds.")
        for decay in self.decays or (None,):
            real("decays", decay, low=0, fix="They are weight decays.")
        for ratio in self.replay_ratios:
            for epsilon in self.epsilons:
                self.lake(ratio, epsilon)
        _ = self.acrobot

    def lake(self, replay_ratio: int, epsilon: float) -> DQNConfig:
        """The agent on the lake.

        Args:
            replay_ratio: updates per move.
            epsilon: share of random moves.
        """
        return DQNConfig(
            environment="lake",
            hidden=self.lake_hidden,
            num_steps=self.moves,
            replay_ratio=replay_ratio,
            epsilon=epsilon,
            learning_rate=self.lake_rate,
            discount=0.9,
            target_every=100,
            rule_every=self.rule_every,
            explore_steps=self.lake_explore,
        )

    @property
    def acrobot(self) -> DQNConfig:
        """The agent on Acrobot."""
        return DQNConfig(
            environment="acrobot",
            hidden=self.acrobot_hidden,
            num_steps=max(self.acrobot_steps, 1),
            replay_ratio=1,
            epsilon=0.1,
            learning_rate=self.acrobot_rate,
            discount=0.99,
            target_every=200,
            rule_every=0,
            explore_steps=self.acrobot_explore,
            prime_steps=self.prime_steps,
            prime_updates=self.prime_updates,
        )


def primacy_jobs(config: PrimacyConfig, seeds: Sequence[int], experiment: str) -> list[Job]:
    """A job per replay ratio and epsilon of the lake, and one of Acrobot; all rules and seeds of a job at once.

    Args:
        config: both tasks.
        seeds: root seeds.
        experiment: name for the tables.

    Raises:
        ValueError: if Acrobot is wanted and gymnasium is not installed.
    """
    agents = [config.lake(ratio, epsilon) for ratio in config.replay_ratios for epsilon in config.epsilons]
    if config.acrobot_steps:
        try:
            gymnasium_acrobot()
        except ValueError as error:
            again(error, fix="Run pip install 'dashtheory[rl]', or leave Acrobot out: acrobot_steps=0.")
        agents = [config.acrobot, *agents]
    return [
        Job(
            name=f"{agent.environment}-{agent.replay_ratio}-{agent.epsilon:g}-{group_name(seeds)}",
            function=run_primacy,
            arguments={
                "agent": agent,
                "rules": (*config.rules, UNPRIMED) if agent.prime_steps else config.rules,
                "decays": config.decays,
                "tuning_seeds": config.tuning_seeds,
                "seeds": list(seeds),
                "experiment": experiment,
            },
        )
        for agent in agents
    ]


def run_primacy(
    agent: DQNConfig,
    rules: Sequence[str],
    decays: Sequence[float],
    tuning_seeds: int,
    seeds: Sequence[int],
    experiment: str,
    report: Report,
) -> pd.DataFrame:
    """Run all rules on all seeds of one task, and tune a weight decay where a rule asks for it.

    Args:
        agent: task and agent.
        rules: that are compared.
        decays: that are tried out.
        tuning_seeds: how many seeds the choice is made on; none of them is shown.
        seeds: root seeds.
        experiment: name for the table.
        report: told of progress.

    Returns:
        pd.DataFrame: tidy table with coordinates environment, replay_ratio and epsilon. Lake: by fifth of the
        moves success_share (of the crossings that ended in it), and at the last success_after_switch (of all that
        ended after the hole moved). Acrobot: by quarter episode_return (mean over episodes that ended in it).
        chosen_weight_decay at the last stage of a tuned rule.
    """
    given, chosen = [], {}
    for rule in rules:
        if parse_arm(rule).tuned:
            chosen[rule] = tuned_decay(agent, rule, decays, range(TUNING_SEED, TUNING_SEED + tuning_seeds))
            given.append(rule.replace("weight_decay=tuned", f"weight_decay={chosen[rule]}"))
        else:
            given.append(rule)
    record = run_arms(agent, given, seeds, report)
    scores = stage_scores(agent, record)
    rows: list[dict[str, object]] = []
    for arm, rule in enumerate(rules):
        for place, seed in enumerate(seeds):
            column = arm * len(seeds) + place
            for stage, metrics in enumerate(scores, start=1):
                found = {name: float(values[column]) for name, values in metrics.items()}
                if rule in chosen and stage == len(scores):
                    found["chosen_weight_decay"] = chosen[rule]
                rows += stage_rows(
                    level="deep",
                    experiment=experiment,
                    rule=rule,
                    seed=seed,
                    stage=stage,
                    metrics=found,
                    coordinates={
                        "environment": agent.environment,
                        "replay_ratio": float(agent.replay_ratio),
                        "epsilon": agent.epsilon,
                    },
                )
    return make_table(rows)


def stage_scores(agent: DQNConfig, record: Record) -> list[dict[str, Tensor]]:
    """Metrics of each stage by name, each (R,).

    Args:
        agent: whose record it is.
        record: of the run.
    """
    steps = len(record.rewards)
    number = FIFTHS if agent.environment == "lake" else QUARTERS
    edges = [round(part * steps / number) for part in range(number + 1)]
    returns = record.returns()
    name = "success_share" if agent.environment == "lake" else RETURN
    scores = [{name: returns[low:high].nanmean(0)} for low, high in pairwise(edges)]
    if agent.environment == "lake":
        scores[-1][AFTER_SWITCH] = returns[round(SWITCH * steps) :].nanmean(0)
    return scores


def tuned_decay(agent: DQNConfig, rule: str, decays: Sequence[float], seeds: Sequence[int]) -> float:
    """The weight decay with the best mean score at the end: after the switch, or in the last quarter.

    Args:
        agent: task and agent.
        rule: with weight_decay=tuned.
        decays: that are tried out.
        seeds: of the choice.
    """
    texts = [rule.replace("weight_decay=tuned", f"weight_decay={decay}") for decay in decays]
    last = stage_scores(agent, run_arms(agent, texts, seeds))[-1]
    values = last[AFTER_SWITCH if agent.environment == "lake" else RETURN]
    best = torch.argmax(values.unflatten(0, (len(decays), len(seeds))).mean(dim=1))
    return float(decays[int(best)])
