"""Language in two phases: learn one kind of text, also far too long, then a mix with another kind.

First phase: Python's help texts. Second phase: the same again, and as much source code of Python's library. Both
come with every CPython. The network that starts the second phase is

    best       the one with the least held-out loss of the first phase
    late       the one at the end of the first phase, long after that
    decayed    the same from a first phase with more weight decay

and goes through a rule first; `cold` starts anew. Held-out loss is of the mix, and of either part.
"""

from __future__ import annotations

import argparse as source_code
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pandas as pd

from dashtheory._check import fail, integer, real
from dashtheory.deep.config import TEXT
from dashtheory.deep.data.text import encode, python_topics, text_stream
from dashtheory.deep.presets import ComparisonConfig
from dashtheory.deep.source import Source
from dashtheory.deep.task import make_task
from dashtheory.evaluate import Scores, evaluate
from dashtheory.experiments.second_stage import copy_of, second_stage
from dashtheory.parallel import Report
from dashtheory.protocol import Task, find_device, train_stage
from dashtheory.record import make_table, stage_rows
from dashtheory.rules import Learner
from dashtheory.rules.spec import parse_rule
from dashtheory.seeds import numpy_stream, torch_stream, torch_streams
from dashtheory.stream import Examples, Stream, join

STARTS = ("best", "late", "decayed")
PARTS = ("mix", "old", "new")


@dataclass(frozen=True, kw_only=True)
class TwoPhaseConfig(ComparisonConfig):
    """Two phases on text.

    Raises:
        ValueError: as `ComparisonConfig`, or if a number of this experiment does not fit.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        **{"data": TEXT, "num_chunks": 1, "chunk_size": 256, "num_test": 200, "batch_size": 32},
        **{"criterion": "epochs", "max_epochs": 60, "optimizer": "adamw"},
        "rules": ("cold", "warm", "sp", "dash", "norm_matched", "fire"),
    }

    second_epochs: int = field(default=24, metadata={"help": "epochs of the second phase"})
    at: tuple[int, ...] = field(
        default=(0, 1, 2, 4, 8, 16, 24), metadata={"help": "epochs of the second phase that are scored, from 0"}
    )
    first_decay: float = field(default=0.3, metadata={"help": "weight decay of the first phase, for `decayed`"})

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("second_epochs", self.second_epochs, minimum=1, fix="It counts epochs.")
        real("first_decay", self.first_decay, low=0, fix="It is a weight decay.")
        for epoch in self.at:
            integer("at", epoch, minimum=0, fix="They are epochs of the second phase.")
        if list(self.at) != sorted({0, *self.at, self.second_epochs}):
            fail("at", f"must rise from 0 to {self.second_epochs}", str(self.at), "0 is right after the rule.")
        if self.data.name != TEXT or self.training.criterion != "epochs":
            got = f"{self.data.name} and {self.training.criterion}"
            fail("data and criterion", "must be text and epochs", got, "This experiment has texts of its own.")
        if self.data.length != 1 or self.data.held_out:
            fail("num_chunks and held_out", "must be 1 and off", "others", "Phases take the place of chunks.")
        for spec in self.rules:
            parse_rule(spec)


def texts() -> tuple[str, str]:
    """The two kinds of text."""
    corpus = python_topics()
    old = "".join(corpus.symbols[code] for code in corpus.codes.tolist())
    return old, inspect.getsource(source_code)


@dataclass(frozen=True, kw_only=True, eq=False)
class Phases:
    """The data of both phases.

    Attributes:
        old: windows of the first phase.
        mix: those of the second phase: the same again, and as many new ones.
        held_out: by part.
        num_symbols: of both texts together.
        facts: about the texts.
    """

    old: Examples
    mix: Examples
    held_out: Mapping[str, Examples]
    num_symbols: int
    facts: Mapping[str, object]


def make_phases(config: TwoPhaseConfig, seed: int) -> Phases:
    """Windows of both texts; no character is trained on and tested.

    Args:
        config: the setting: chunk_size windows of the first phase, and as many of either text in the second.
        seed: root seed; its stream "data".
    """
    whole, parts = encode("".join(texts())), texts()
    generator, data = numpy_stream(seed, "data"), config.data
    streams = []
    for start, text in zip((0, len(parts[0])), parts, strict=True):
        corpus = replace(whole, codes=whole.codes[start : start + len(text)])
        streams.append(
            text_stream(
                corpus,
                context=data.size,
                chunk_size=data.chunk_size,
                num_chunks=1,
                num_test=data.num_test,
                generator=generator,
            )
        )
    old, new = (stream.chunks[0] for stream in streams)
    held_out = {"old": streams[0].test, "new": streams[1].test}
    return Phases(
        old=old,
        mix=join([old, new]),
        held_out={"mix": join(list(held_out.values())), **held_out},
        num_symbols=len(whole.symbols),
        facts=text_facts(),
    )


def text_facts() -> dict[str, object]:
    """What to record about the texts."""
    kinds = ("pydoc_data.topics of CPython", f"source of {source_code.__name__} of CPython")
    return {
        f"phase {phase}": {"source": kind, "characters": len(text), "sha256": encode(text).sha256}
        for phase, (kind, text) in enumerate(zip(kinds, texts(), strict=True), 1)
    }


def run_two_phases(config: TwoPhaseConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Both phases for every start and rule.

    Args:
        config: the setting.
        seed: root seed.
        experiment: name for the table.
        report: told of progress.

    Returns:
        tidy table with coordinates start and characters (of the second phase): loss_mix, loss_old, loss_new, held
        out; stage 1 has those of the start itself, with first_epochs. `cold` has one start, "cold".

    Raises:
        ValueError: as the protocol.
    """
    phases = make_phases(config, seed)
    device = find_device(config.device.name)
    source = Source(stream=Stream((phases.old,), phases.held_out["old"]), num_classes=phases.num_symbols)
    task = make_task(config, source, device=device)
    decayed = make_task(config, source, device=device, weight_decay=config.first_decay)
    starts = dict(_starts(phases, config, task, decayed, seed))
    runs = [(start, rule) for start in starts for rule in config.rules if not parse_rule(rule).anew]
    runs += [("cold", rule) for rule in config.rules if parse_rule(rule).anew]
    rows: list[dict[str, object]] = []
    for done, (start, rule) in enumerate(runs):
        report(done / len(runs), f"{rule} from {start}")
        learner, epochs = starts.get(start, (task.fresh(torch_stream(seed, "init", 1)), 0))
        where = {"level": "deep", "experiment": experiment, "rule": rule, "seed": seed}
        first = {"first_epochs": float(epochs), **_losses(learner, phases, task)}
        rows += stage_rows(**where, stage=1, metrics=first, coordinates={"start": start, "characters": 0.0})  # type: ignore[arg-type]
        for characters, losses in _second_phase(learner, rule, phases, config, task, seed):
            point = {"start": start, "characters": float(characters)}
            rows += stage_rows(**where, stage=2, metrics=losses, coordinates=point)  # type: ignore[arg-type]
    return make_table(rows)


def _starts(
    phases: Phases, config: TwoPhaseConfig, task: Task, decayed: Task, seed: int
) -> Iterator[tuple[str, tuple[Learner, int]]]:
    """Learners that start the second phase, and the epochs that they have behind them."""
    for name, one in (("late", task), ("decayed", decayed)):
        learner = one.fresh(torch_stream(seed, "init", 1))
        best: list[tuple[float, Learner, int]] = []

        def on_epoch(
            epoch: int, scores: Scores, learner: Learner = learner, best: list[tuple[float, Learner, int]] = best
        ) -> None:
            loss = _loss(learner, phases.held_out["old"], task)
            if not best or loss < best[0][0]:
                best[:] = [(loss, copy_of(learner), epoch)]

        old = phases.old.to(task.device)
        train_stage(learner, old, one, config.training, torch_streams(seed, 1), on_epoch=on_epoch)
        for group in learner.optimizer.param_groups:
            group["weight_decay"] = config.training.weight_decay
        if name == "late":
            yield "best", (best[0][1], best[0][2])
        yield name, (learner, config.training.max_epochs)


def _loss(learner: Learner, examples: Examples, task: Task) -> float:
    """Held-out loss in nats per character."""
    return evaluate(learner.model, examples.to(task.device), loss_fn=task.loss_fn, score=task.score).loss


def _losses(learner: Learner, phases: Phases, task: Task) -> dict[str, float]:
    return {f"loss_{part}": _loss(learner, phases.held_out[part], task) for part in PARTS}


def _second_phase(
    learner: Learner, text: str, phases: Phases, config: TwoPhaseConfig, task: Task, seed: int
) -> list[tuple[int, dict[str, float]]]:
    """Held-out losses by characters of the second phase; 0: right after the rule."""
    chunks = (phases.old.to(task.device), phases.mix.to(task.device))
    found: list[tuple[int, dict[str, float]]] = []

    def note(mine: Learner, epoch: int = 0) -> None:
        if epoch in config.at:
            found.append((epoch * phases.mix.targets.numel(), _losses(mine, phases, task)))

    whole = replace(config.training, max_epochs=config.second_epochs)
    second_stage(learner, parse_rule(text), chunks, chunks[1], task, whole, seed, after_rule=note, on_epoch=note)
    return found
