"""Pretrain for t epochs on half of the data, then train on all of it: when does warm-starting begin to hurt?

One network is pretrained once; after each number of epochs asked for, a copy of it and of its optimizer goes
through a rule and is trained on everything to the criterion. At t = 0 nothing was pretrained: that network is
trained from scratch, from the very initialisation that all others started from, so that curves are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pandas as pd

from dashtheory._check import fail, integer
from dashtheory.deep.config import TEXT
from dashtheory.deep.presets import ComparisonConfig
from dashtheory.deep.task import make_source, make_task
from dashtheory.evaluate import Scores, evaluate
from dashtheory.experiments.second_stage import copy_of, second_stage
from dashtheory.parallel import Report
from dashtheory.protocol import Task, find_device, train_stage
from dashtheory.record import make_table, stage_rows
from dashtheory.rules import Learner, Rule, from_the_start
from dashtheory.rules.spec import parse_rule
from dashtheory.seeds import torch_stream, torch_streams
from dashtheory.stream import Stream, join


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig(ComparisonConfig):
    """Two chunks, each half of the data, and the numbers of epochs after which pretraining is cut.

    Raises:
        ValueError: as `ComparisonConfig`, or if the epochs do not rise from 0.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"data": TEXT, "rules": ("warm", "dash"), "num_chunks": 2}

    epochs: tuple[int, ...] = field(
        default=(0, 2, 5, 10, 20, 40, 80), metadata={"help": "of pretraining, rising from 0"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in self.epochs:
            integer("epochs", count, minimum=0, fix="They are counts of epochs.")
        if list(self.epochs) != sorted(set(self.epochs)) or self.epochs[:1] != (0,):
            fail("epochs", "must rise from 0", str(self.epochs), "0 is the network that was not pretrained.")
        if self.data.length != 2:
            fail("num_chunks", "must be 2", str(self.data.length), "The first half is pretrained on.")
        for spec in self.rules:
            if from_the_start(parse_rule(spec)):
                rule = "must take up the one network that was pretrained"
                fail("rules", rule, spec, "Leave out rules with a network or an optimizer of their own.")


def run_pretraining(config: PretrainingConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Pretrain one network, and finish a copy of it after each number of epochs, under every rule.

    Args:
        config: the setting.
        seed: root seed.
        experiment: name for the table.
        report: told of progress.

    Returns:
        tidy table with a coordinate epochs, the number of epochs of pretraining.
        Of the training on everything: test_accuracy, test_loss, steps, converged; of pretraining: half_accuracy
        and half_loss (means over its last epoch; none at t = 0) and half_test_accuracy. At t = 0 all rules have
        the numbers of the one network that was not pretrained.

    Raises:
        ValueError: as the protocol.
    """
    source = make_source(config, seed)
    task = make_task(config, source, device=find_device(config.device.name))
    stream = source.stream.to(task.device)
    found: dict[tuple[int, str], dict[str, float]] = {}
    for epochs, learner, metrics in _pretrained(stream, task, config, seed):
        for rule in config.rules if epochs else config.rules[:1]:
            report(len(found) / (len(config.epochs) * len(config.rules)), f"{epochs} epochs on half, then {rule}")
            finished = _finished(learner, parse_rule(rule if epochs else "warm"), stream, task, config, seed)
            found[epochs, rule] = {**finished, **metrics}
    return make_table(
        row
        for rule in config.rules
        for epochs in config.epochs
        for row in stage_rows(
            level="deep",
            experiment=experiment,
            rule=rule,
            seed=seed,
            stage=2,
            metrics=found[epochs, rule if epochs else config.rules[0]],
            coordinates={"epochs": epochs},
        )
    )


def _pretrained(
    stream: Stream, task: Task, config: PretrainingConfig, seed: int
) -> Iterator[tuple[int, Learner, dict[str, float]]]:
    """The network after each number of epochs on the first chunk, and its scores."""
    learner = task.fresh(torch_stream(seed, "init", 1))
    kept: dict[int, tuple[Learner, dict[str, float]]] = {0: (copy_of(learner), {})}

    def on_epoch(epoch: int, scores: Scores) -> None:
        if epoch in config.epochs:
            kept[epoch] = copy_of(learner), {"half_accuracy": scores.accuracy, "half_loss": scores.loss}

    if config.epochs[-1]:
        whole = replace(config.training, criterion="loss", threshold=0.0, max_epochs=config.epochs[-1])
        train_stage(learner, stream.chunks[0], task, whole, torch_streams(seed, 1), on_epoch=on_epoch)
    for epochs, (copied, metrics) in kept.items():
        test = evaluate(copied.model, stream.test, loss_fn=task.loss_fn, score=task.score)
        yield epochs, copied, {**metrics, "half_test_accuracy": test.accuracy}


def _finished(
    learner: Learner, rule: Rule, stream: Stream, task: Task, config: PretrainingConfig, seed: int
) -> dict[str, float]:
    """Scores of a copy of the learner after the rule and training on all chunks."""
    mine, training, state = second_stage(
        learner, rule, stream.chunks, join(stream.chunks), task, config.training, seed
    )
    scores = evaluate(rule.evaluated(mine.model, state), stream.test, loss_fn=task.loss_fn, score=task.score)
    return {
        "test_accuracy": scores.accuracy,
        "test_loss": scores.loss,
        "steps": float(training.steps),
        "converged": float(training.status == "converged"),
    }
