"""Run presets within a budget of time: every stage is kept, and the same call goes on after the last one."""

from __future__ import annotations

import dataclasses
import gc
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch

from dashtheory._check import fail
from dashtheory.deep.paper_config import PaperConfig
from dashtheory.deep.source import Source
from dashtheory.evaluate import Scores
from dashtheory.parallel import Lasting, Report
from dashtheory.protocol import (
    Checkpoints,
    Task,
    Work,
    describe_device,
    exact_or_fast,
    fitting_batch,
    memory_ran_out,
    run_resumable,
    take_step,
)
from dashtheory.protocol.tuning import tune
from dashtheory.record import stage_rows
from dashtheory.record.results import Run
from dashtheory.record.table import COLUMNS
from dashtheory.rules.spec import parse_spec
from dashtheory.seeds import torch_stream
from dashtheory.user_code import fingerprint

LEVEL = "deep"
PROBLEM = "problem"
"""Where the table of a run says, in its `attrs`, why the run did not go on."""
_DIVERGED = ("loss must stay finite", "loss must be finite")


class OutOfTime(Exception):  # noqa: N818
    """The budget is used up; finished stages are kept."""


def run_paper(
    config: PaperConfig,
    run: Run,
    experiment: str,
    *,
    device: str,
    deadline: float | None,
    folder: Path,
    report: Report,
    num_stages: int | None = None,
) -> pd.DataFrame:
    """Run one rule on one seed's stream, from its last finished stage, until its end or the deadline.

    Args:
        config: the setting. run: which rule and seed. experiment: name for the table.
        device: "cpu" or a CUDA device. deadline: in seconds of `time.monotonic`, or None. A stage is given up at
            the deadline, and already after its first epoch if, judging by the stage before, it would end later.
        folder: of its checkpoints. report: told of progress after every epoch, and of every stage.
        num_stages: stop after so many stages; None: all.
    Returns: tidy table of the finished stages: all of them, or fewer if time ran out or the loss was no longer
        finite (then `attrs` has a `PROBLEM`: one rule that diverges must not end the others); it may have no row.
    Raises: ValueError as `dashtheory.protocol.run_stages`, or, naming a batch that fits, if memory runs out;
        OSError if a checkpoint cannot be written (finished stages are intact).
    """
    problem = ""
    checkpoints = Checkpoints(folder, _identity(config, run, device))
    last = config.num_chunks if num_stages is None else min(num_stages, config.num_chunks)
    watch = _Watch(last, deadline, report)
    with exact_or_fast(config.precision):
        try:
            watch.check()
            source, spec = config.source(run.seed), parse_spec(run.rule)
            with _memory_named(config, source, device):
                chosen = _tuned(config, run, source, device, watch)
                run_resumable(
                    source.stream,
                    spec.rule,
                    config.task_on(device, source, **spec.training, **chosen),
                    config.training(),
                    seed=run.seed,
                    checkpoints=checkpoints,
                    measures=config.measures_of(source),
                    on_epoch=watch.on_epoch,
                    on_problem=lambda problem: report(0.0, Lasting(problem)),
                    on_stage=watch.on_stage,
                    num_stages=last,
                )
        except OutOfTime:
            report(watch.share, "out of time")
        except ValueError as error:
            if not str(error).startswith(_DIVERGED):
                raise
            problem = " ".join(str(error).split())
    table = finished_stages(checkpoints, run, experiment)
    if problem:
        table.attrs[PROBLEM] = problem
    return table


def finished_stages(checkpoints: Checkpoints, run: Run, experiment: str) -> pd.DataFrame:
    """Tidy table of the stages that a run has finished; it may have no row."""
    found, _ = checkpoints.latest()
    rows = [
        row
        for stage, metrics in enumerate(() if found is None else found.finished, 1)
        for row in stage_rows(
            level=LEVEL, experiment=experiment, rule=run.rule, seed=run.seed, stage=stage, metrics=metrics
        )
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _identity(config: PaperConfig, run: Run, device: str) -> dict[str, object]:
    """What a checkpoint must be of; the rules beside it do not matter."""
    alone = dataclasses.replace(config, rules=(run.rule,))
    own = fingerprint(config.data, config.model, run.rule)
    code = {"user_code": own} if own else {}
    return {"config": alone, "seed": run.seed, "device": describe_device(device), **code}


def _tuned(config: PaperConfig, run: Run, source: Source, device: str, watch: _Watch) -> dict[str, float]:
    """The tuned training option and its value; {} if the rule has none."""
    spec = parse_spec(run.rule)
    if not spec.tuned:
        return {}

    def on_candidate(candidate: float, score: float) -> None:
        watch.report(0.0, f"{spec.tuned} {candidate:g}: {100 * score:.1f}%")
        watch.check()

    value = tune(
        source.stream,
        lambda candidate: config.task_on(device, source, **{**spec.training, spec.tuned: candidate}),
        config.training(),
        config.decays if spec.tuned == "weight_decay" else config.rates,
        seed=run.seed,
        on_candidate=on_candidate,
    )
    return {spec.tuned: value}


class _Watch:
    """Watches the time of a run, and tells of its progress.

    Args: num_stages: of the run. deadline: as in `run_paper`. report: told after every epoch.
        clock: gives the time.
    """

    def __init__(
        self, num_stages: int, deadline: float | None, report: Report, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.num_stages, self.deadline, self.report, self.clock = num_stages, deadline, report, clock
        self.stage, self.began, self.last, self.share = 0, clock(), 0.0, 0.0

    def check(self, needed: float = 0.0) -> None:
        """Raise `OutOfTime` if there are not so many seconds left."""
        if self.deadline is not None and self.clock() + needed >= self.deadline:
            raise OutOfTime

    def on_stage(self, stage: int, metrics: Mapping[str, float]) -> None:
        """Called after every stage: a line for the log; the expected end is that of stages that grow evenly."""
        done = stage * (stage + 1) / (self.num_stages * (self.num_stages + 1))
        left = (self.clock() - self.began) / stage * sum(range(stage + 1, self.num_stages + 1))
        until = time.strftime("%a %H:%M", time.localtime(time.time() + left))
        test, steps = metrics["test_accuracy"], metrics["steps"]
        text = f"stage {stage}/{self.num_stages}: test accuracy {100 * test:.1f}%, {steps:.0f} steps"
        self.report(done, Lasting(text + (f", end about {until}" if stage < self.num_stages else "")))

    def on_epoch(self, stage: int, epoch: int, scores: Scores) -> None:
        """Called after every epoch."""
        if stage != self.stage:
            now = self.clock()
            whole = self.stage > 0 and stage == self.stage + 1
            self.last = (now - self.began) * stage / (stage - 1) if whole else 0.0
            self.stage, self.began = stage, now
            self.check(self.last)
        total = self.num_stages * (self.num_stages + 1)
        self.share = (stage * (stage - 1) + 2 * stage * min(epoch / 30, 0.95)) / total
        self.report(
            self.share, f"stage {stage}/{self.num_stages}, epoch {epoch}, accuracy {100 * scores.accuracy:.1f}%"
        )
        self.check()


@contextmanager
def _memory_named(config: PaperConfig, source: Source, device: str) -> Iterator[None]:
    """Turn an error of memory into a line that names a batch that fits."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not memory_ran_out(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that filled the memory
        error.__traceback__ = None
    else:
        return
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    fits = fitting_batch(lambda size: _try_step(config, source, device, size), 2 * config.batch_size, least=2)
    got = f"batches of {config.batch_size} on {describe_device(device)}"
    if fits >= config.batch_size:
        fix = "A step fits: choose smaller chunks (--chunk-size), or run fewer --jobs."
    else:
        fix = f"Say --batch-size {fits}." if fits else "Not even two pictures fit: choose a smaller model."
    fail("memory", "must hold a step and a rule's pass", got, fix + " Finished stages are kept.")


def _try_step(config: PaperConfig, source: Source, device: str, size: int) -> None:
    """One training step on `size` pictures with a new network."""
    task: Task = config.task_on(device, source)
    learner = task.fresh(torch_stream(0, "init", 1))
    first = source.stream.chunks[0]
    batch = first.take(torch.arange(size) % len(first)).to(device)
    take_step(Work(learner=learner, examples=batch, batch_size=size, loss_fn=task.loss_fn), batch)
