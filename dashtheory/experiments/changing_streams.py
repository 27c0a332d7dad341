"""Streams that change, and plasticity task by task: the experiment of `simulations/changing_streams.py`.

All rules and a few seeds of a stream train in one batched call (`dashtheory.streams`), with a fresh twin beside
every task. Pictures are scikit-learn's digits, 64 grey levels with mean 0 and standard deviation 1 over the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from dashtheory._check import fail
from dashtheory.deep.data import digits
from dashtheory.deep.data.images import ImageSet
from dashtheory.parallel import Job, Report
from dashtheory.stream import Examples
from dashtheory.streams import Base, Member, StreamConfig, StreamTraining, read_stream, run_stream

STREAMS = (
    "input_permuted:num_tasks=40",
    "random_labels:num_tasks=30:task_size=320:epochs=20",
    "regression:num_tasks=40:task_size=4000:batch_size=8:widths=5:learning_rate=0.01",
)
RULES = (
    *("warm", "sp", "sp_init", "dash", "fire"),
    *("l2_init:l2=0.001:form=textbook", "warm:weight_decay=0.001"),
)
"""Rules by default; a network that begins anew at every task is the twin itself."""
SEEDS_PER_JOB = 5
KEPT = ("online_accuracy", "online_error", "dormant_share", "effective_rank")
"""Metrics of rules and twins that the table holds, to six digits."""
_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class ChangingStreamsConfig:
    """Streams, rules, and how tasks are trained where a stream does not say otherwise.

    Raises:
        ValueError: if a stream or a rule is none, or a value does not fit.
    """

    streams: tuple[str, ...] = field(
        default=STREAMS, metadata={"help": "kinds of change, with options: kind:option=value:..."}
    )
    rules: tuple[str, ...] = field(default=RULES, metadata={"help": "rules between tasks, and l2_init"})
    widths: tuple[int, ...] = field(default=(100, 100), metadata={"help": "of the hidden layers"})
    optimizer: str = field(default="adam", metadata={"help": "adam or sgd"})
    learning_rate: float = field(default=0.003, metadata={"help": "step size"})
    batch_size: int = field(default=16, metadata={"help": "examples per step"})
    task_optimizer: str = field(default="kept", metadata={"help": "between tasks: kept or renewed"})
    probe: int = field(default=100, metadata={"help": "examples on which units and ranks are measured"})
    probe_every: int = field(default=3, metadata={"help": "tasks between two such measurements"})

    def __post_init__(self) -> None:
        for name, values in (("streams", self.streams), ("rules", self.rules)):
            if not values or len(set(values)) < len(values):
                fail(name, "must name at least one, each once", str(values), "Drop what comes twice.")
        for text in self.rules:
            Member(text)
        for text in self.streams:
            self.stream(text)

    def stream(self, text: str) -> tuple[StreamConfig, StreamTraining]:
        """A stream and its training.

        Args:
            text: of `streams`.
        """
        usual = StreamTraining(
            widths=self.widths,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            task_optimizer=self.task_optimizer,
            probe=self.probe,
            probe_every=self.probe_every,
        )
        return read_stream(text, usual)

    def name_of(self, text: str) -> str:
        """What a stream is called in the table: its kind, or its text where several are of one kind."""
        kinds = [other.partition(":")[0] for other in self.streams]
        kind = text.partition(":")[0]
        return kind if kinds.count(kind) == 1 else text


def digits_base() -> Base:
    """The digits as rows of 64 numbers, mean 0 and standard deviation 1 over all of the training set."""
    data = digits()
    grey = data.train.images.float()
    mean, spread = grey.mean(), grey.std()

    def rows(part: ImageSet) -> Examples:
        return Examples((part.images.flatten(1).float() - mean) / spread, part.labels)

    return Base(rows(data.train), rows(data.test), len(data.classes))


def stream_jobs(config: ChangingStreamsConfig, seeds: Sequence[int], experiment: str) -> list[Job]:
    """A job per stream and group of seeds: all rules of a group train at once.

    Args:
        config: the setting.
        seeds: root seeds.
        experiment: name for the tables.
    """
    groups = [list(seeds[start : start + SEEDS_PER_JOB]) for start in range(0, len(seeds), SEEDS_PER_JOB)]
    return [
        Job(
            name=f"{text.replace(':', '-')}-seeds{group[0]}-{group[-1]}",
            function=run_group,
            arguments={"config": config, "text": text, "seeds": group, "experiment": experiment},
        )
        for text in config.streams
        for group in groups
    ]


def run_group(
    config: ChangingStreamsConfig, text: str, seeds: list[int], experiment: str, report: Report
) -> pd.DataFrame:
    """All rules and some seeds of a stream.

    Args:
        config: the setting.
        text: the stream.
        seeds: root seeds.
        experiment: name for the table.
        report: told of progress.

    Returns:
        the metrics `KEPT` of the table of `dashtheory.streams.run_stream`, with a coordinate `stream`.
    """
    stream, training = config.stream(text)
    base = None if stream.is_regression else digits_base()
    found = run_stream(
        stream,
        training,
        config.rules,
        seeds,
        base=base,
        experiment=experiment,
        coordinates={"stream": config.name_of(text)},
        report=report,
    )
    kept = found[found["metric"].isin([*KEPT, *(f"fresh_{name}" for name in KEPT)])]
    return kept.assign(value=kept["value"].map(lambda value: float(f"{value:.{_DIGITS}g}"))).reset_index(drop=True)
