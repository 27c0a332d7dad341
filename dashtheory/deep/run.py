"""The runner of deep experiments: one rule on one seed's stream, on a device, within a budget, stage by stage.

Every finished stage is in a checkpoint, and one under way every ten minutes, so that a run that was stopped, by a
kill or by the end of its budget, goes on where it was.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch

from dashtheory._check import again, fail
from dashtheory.deep.config import RunConfig
from dashtheory.deep.source import Source, make_network
from dashtheory.deep.task import data_facts, make_source, make_task, own_code
from dashtheory.errors import Diverged, Unusable
from dashtheory.evaluate import Scores
from dashtheory.parallel import Job, Lasting, Report
from dashtheory.protocol import (
    Checkpoints,
    Task,
    Work,
    describe_device,
    exact_or_fast,
    find_device,
    fitting_batch,
    memory_ran_out,
    run_resumable,
    take_step,
)
from dashtheory.protocol.origin import origin_of
from dashtheory.protocol.part import Pause, can_be_parted
from dashtheory.protocol.tuning import tune
from dashtheory.record import COMPLETE, DEVICE, ORIGIN, PROBLEM, run_name, stage_rows
from dashtheory.record.provenance import plain_config
from dashtheory.record.table import COLUMNS
from dashtheory.rules.spec import RuleSpec, parse_spec, rule_class
from dashtheory.seeds import torch_stream

__all__ = ["OutOfTime", "data_facts", "rule_jobs", "run_rule"]

LEVEL = "deep"


class OutOfTime(Exception):  # noqa: N818
    """The budget is used up; finished stages are kept."""


def run_rule(
    config: RunConfig,
    rule: str,
    seed: int,
    experiment: str,
    report: Report,
    folder: Path | None = None,
    *,
    num_stages: int | None = None,
    at: tuple[int, ...] = (),
    deadline: float | None = None,
    device: str = "",
) -> pd.DataFrame:
    """Run one rule on one seed's stream, from where it was kept last, until its end or the deadline.

    Args:
        config: the setting; its `rules` do not matter.
        rule: as in `RunConfig.rules`.
        seed: root seed.
        experiment: name for the table.
        report: told of progress after every epoch, and of every stage.
        folder: of its checkpoints; None keeps none.
        num_stages: stop after so many stages of the stream.
        at: the stages that are wanted, if not all of these (`dashtheory.protocol.run_resumable`).
        deadline: in seconds of `time.monotonic`, or None. The stage under way is kept as it is after the last
            epoch that, judging by the one before, ends earlier; where it cannot be (`dashtheory.protocol.part`),
            it is given up, and already after its first epoch if, judging by the stage before, it would end later.
        device: what computes, if it is not to be found by the configuration's.

    Returns:
        tidy table of the finished stages, with the metrics of `dashtheory.protocol.StageResult.metrics` and the
        chosen value where the rule's training was tuned; fewer stages, or none, if time ran out or the run
        `Diverged` (then `attrs` has a `PROBLEM`: one rule that diverges must not end the others). `attrs` say too
        whether these are the stages of the whole stream (`COMPLETE`), and what computed them (`DEVICE`).

    Raises:
        ValueError: as `dashtheory.protocol.run_stages`, or, naming a batch that fits, if memory runs out.
        OSError: if a checkpoint cannot be written (finished stages are intact).
    """
    device, spec, problem = device or find_device(config.device.name), parse_spec(rule), ""
    checkpoints = None if folder is None else Checkpoints(folder, _identity(config, rule, seed, device))
    watch, complete = Watch(config, num_stages, deadline, report), False
    watch.keeps = checkpoints is not None and can_be_parted(spec.rule)
    finished: list[dict[str, float]] = []
    chosen: dict[str, float] = {}
    origin: dict[str, str] = {}
    with exact_or_fast(config.device.precision):
        try:
            watch.check()
            source = make_source(config, seed)
            watch.set_length(len(source.stream.chunks), at if spec.rule.anew else (), finished)
            with _memory_named(config, source, device), _dtype_named(config, source):
                origin |= origin_of(source.stream, make_task(config, source), seed)
                chosen = _tuned(config, spec, source, seed, device, watch)
                run_resumable(
                    source.stream,
                    spec.rule,
                    make_task(config, source, device=device, **spec.training, **chosen),
                    config.training,
                    seed=seed,
                    checkpoints=checkpoints,
                    measures=config.measures,
                    noisy=source.noisy,
                    on_epoch=watch.on_epoch,
                    on_problem=lambda text: report(0.0, Lasting(text)),
                    on_stage=watch.on_stage,
                    finished=finished,
                    num_stages=num_stages,
                    at=at,
                    origin=origin,
                    pause=WatchedPause(watch),
                )
            complete = len(finished) >= len(source.stream.chunks) and all(finished)
        except OutOfTime:
            report(watch.share, "out of time")
        except Diverged as error:
            problem = " ".join(str(error).split())
    if checkpoints is not None and not finished:  # stopped before it began
        found, _ = checkpoints.latest()
        finished = [] if found is None else list(found.finished)
    extra = {f"chosen_{name}": value for name, value in chosen.items()}
    table = stages_table([{**metrics, **extra} if metrics else {} for metrics in finished], rule, seed, experiment)
    table.attrs |= {COMPLETE: complete, DEVICE: describe_device(device), ORIGIN: origin}
    if problem:
        table.attrs[PROBLEM] = problem
    return table


def _identity(config: RunConfig, rule: str, seed: int, device: str) -> dict[str, object]:
    """What a checkpoint must be of."""
    found: dict[str, object] = {
        "config": plain_config(config.alone(rule)),
        "seed": seed,
        "device": describe_device(device),
    }
    if own := own_code(config.alone(rule)):
        found["user_code"] = own
    return found


def stages_table(finished: Sequence[Mapping[str, float]], rule: str, seed: int, experiment: str) -> pd.DataFrame:
    """Tidy table of the metrics of stages 1, 2, ...; it may have no row."""
    rows = [
        row
        for stage, metrics in enumerate(finished, 1)
        for row in stage_rows(
            level=LEVEL, experiment=experiment, rule=rule, seed=seed, stage=stage, metrics=metrics
        )
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def rule_jobs(
    config: RunConfig,
    seeds: Sequence[int],
    experiment: str,
    *,
    num_stages: int | None = None,
    at: tuple[int, ...] = (),
    **arguments: object,
) -> list[Job]:
    """One resumable job per seed and rule; the rules of a seed share data, first initialisation and order.

    Args:
        config: the setting.
        seeds: root seeds.
        experiment: name for the tables.
        num_stages: stages that are wanted; None: all.
        at: as in `run_rule`.
        **arguments: more of `run_rule`.

    Raises:
        ValueError: if the device is not there.
    """
    device = find_device(config.device.name)  # a run is known by its kind, not by "auto" or a number
    return [
        Job(
            name=run_name(rule, seed),
            function=run_rule,
            arguments={
                "config": config.alone(rule).with_values(device=device.partition(":")[0]),
                "device": device,
                "rule": rule,
                "seed": seed,
                "experiment": experiment,
                "num_stages": num_stages,
                "at": at,
                **arguments,
            },
            resumable=True,
            num_stages=num_stages,
            at=at if at and rule_class(parse_spec(rule).name).anew else (),
        )
        for seed in seeds
        for rule in config.rules
    ]


def _tuned(
    config: RunConfig, spec: RuleSpec, source: Source, seed: int, device: str, watch: Watch
) -> dict[str, float]:
    """The tuned training option and its value; {} if the rule has none."""
    if not spec.tuned:
        return {}

    def on_candidate(candidate: float, score: float) -> None:
        watch.report(0.0, f"{spec.tuned} {candidate:g}: held-out accuracy {100 * score:.1f}%")
        watch.check()

    value = tune(
        source.stream,
        lambda candidate: make_task(
            config, source, device=device, **{**spec.training, spec.tuned: candidate}
        ).with_rule(spec.rule),
        config.training,
        config.training.decays if spec.tuned == "weight_decay" else config.training.rates,
        seed=seed,
        on_candidate=on_candidate,
    )
    return {spec.tuned: value}


class Watch:
    """Tells of progress, and stops a run when its time is used up, or when the next stage would not fit.

    Args:
        config: of the run.
        num_stages: that are wanted; None: all.
        deadline: as in `run_rule`.
        report: told after every epoch.
        clock: seconds that only grow.

    Attributes:
        keeps: whether a stage under way is kept when the time is used up: then one that does not fit is begun.
        ending: whether the time is used up, and the stage kept.
        earlier: seconds that earlier calls have trained the stage under way.
    """

    def __init__(
        self,
        config: RunConfig,
        num_stages: int | None,
        deadline: float | None,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wanted = num_stages
        self.set_length(config.data.length or config.data.num_chunks)
        self.criterion, self.deadline, self.report, self.clock = config.training.criterion, deadline, report, clock
        self.stage, self.began, self.last, self.share = 0, clock(), 0.0, 0.0
        self.keeps, self.ending, self.earlier = False, False, 0.0

    def set_length(
        self, num_chunks: int, at: Collection[int] = (), finished: Sequence[Mapping[str, float]] = ()
    ) -> None:
        """Tell of the length of the stream, which a user's own may have any of, and of stages that are not run.

        Args:
            num_chunks: of the stream.
            at: the stages that are run, if not all; as in `run_rule`.
            finished: metrics by stage, {} for one that was left out; looked at when a stage ends.
        """
        self.num_stages, self.at, self.finished = min(self.wanted or num_chunks, num_chunks), at, finished

    def _stages(self) -> list[int]:
        return [stage for stage in range(1, self.num_stages + 1) if not self.at or stage in self.at]

    def _is_finished(self, stage: int) -> bool:
        """Whether an earlier call has the stage's numbers; those that it left out are empty."""
        return stage <= len(self.finished) and bool(self.finished[stage - 1])

    def check(self, needed: float = 0.0) -> None:
        """Raise `OutOfTime` if there are not so many seconds left."""
        if self.deadline is not None and self.clock() + needed >= self.deadline:
            raise OutOfTime

    def on_stage(self, stage: int, metrics: Mapping[str, float]) -> None:
        """Called after every stage: a line for the log; the expected end is that of stages that grow evenly."""
        ahead = [later for later in self._stages() if later > stage and not self._is_finished(later)]
        left = (self.clock() - self.began + self.earlier) / stage * sum(ahead)
        self.earlier = 0.0  # of a stage that had no epoch left in this call
        until = time.strftime("%a %H:%M", time.localtime(time.time() + left))
        test, steps = metrics["test_accuracy"], metrics["steps"]
        text = f"stage {stage}/{self.num_stages}: test accuracy {100 * test:.1f}%, {steps:.0f} steps"
        text += f", end about {until}" * bool(ahead)
        self.report(self._share(stage, 1.0), Lasting(text, {"stage": stage, **metrics}))

    def on_epoch(self, stage: int, epoch: int, scores: Scores) -> None:
        """Called after every epoch."""
        if stage != self.stage:
            now = self.clock()
            self.last = (now - self.began) * stage / self.stage if self.stage else 0.0
            self.stage, self.began, self.earlier = stage, now - self.earlier, 0.0
            if not self.keeps:
                self.check(self.last)
        self.share = self._share(stage, min(epoch / 30, 0.95))
        reached = f"accuracy {100 * scores.accuracy:.1f}%"
        if self.criterion == "loss":
            reached = f"loss {scores.loss:.2f}"
        self.report(self.share, f"stage {stage}/{self.num_stages}, epoch {epoch}, {reached}")
        if self.ending:
            raise OutOfTime
        if not self.keeps:
            self.check()

    def _share(self, stage: int, part: float) -> float:
        """What is done of a run, if `part` of a stage is: stages are as long as their data."""
        stages = self._stages()
        return (sum(one for one in stages if one < stage) + stage * part) / sum(stages)


class WatchedPause(Pause):
    """Keeps the stage under way every ten minutes, and when the next epoch would end after the deadline.

    Args:
        watch: of the run; it is then told to end.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__(clock=watch.clock)
        self.watch, self.asked = watch, watch.clock()

    def is_due(self) -> bool:
        """As `Pause.is_due`."""
        now = self.clock()
        epoch, self.asked = now - self.asked, now
        deadline = self.watch.deadline
        self.watch.ending = self.watch.keeps and deadline is not None and now + epoch >= deadline
        return super().is_due() or self.watch.ending

    def goes_on(self, seconds: float) -> None:
        """As `Pause.goes_on`."""
        self.watch.earlier = seconds

    def cannot(self) -> None:
        """As `Pause.cannot`."""
        self.watch.keeps = self.watch.ending = False


@contextmanager
def _memory_named(config: RunConfig, source: Source, device: str) -> Iterator[None]:
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
    fits = fitting_batch(
        lambda size: _try_step(config, source, device, size), 2 * config.training.batch_size, least=2
    )
    got = f"batches of {config.training.batch_size} on {describe_device(device)}"
    if fits >= config.training.batch_size:
        fix = "A step fits: lower chunk_size= or, where several run at once, jobs=."
    else:
        fix = f"Say batch_size={fits}." if fits else "Not even two pictures fit: choose a smaller model."
    fail("memory", "must hold a step and a rule's pass", got, fix + " Finished stages are kept.")


@contextmanager
def _dtype_named(config: RunConfig, source: Source) -> Iterator[None]:
    """Say what to convert if a network of the user's, or data, do not fit each other because of their dtypes."""
    try:
        yield
    except Unusable as error:
        inputs = source.stream.chunks[0].inputs.dtype
        network = make_network(config.model.name, source, torch_stream(0, "init", 1), config.model.values())
        weights = {one.dtype for one in network.parameters() if one.is_floating_point()}
        if not inputs.is_floating_point or not weights or inputs in weights:
            raise
        ours = str(sorted(weights, key=str)[0])
        again(error, fix=f"The inputs are {inputs}, the weights {ours}: say x.to({ours}) where the data are made.")


def _try_step(config: RunConfig, source: Source, device: str, size: int) -> None:
    """One training step on `size` pictures with a new network."""
    task: Task = make_task(config, source, device=device)
    learner = task.fresh(torch_stream(0, "init", 1))
    first = source.stream.chunks[0]
    batch = first.take(torch.arange(size) % len(first)).to(device)
    take_step(Work(learner=learner, examples=batch, batch_size=size, loss_fn=task.loss_fn), batch)
