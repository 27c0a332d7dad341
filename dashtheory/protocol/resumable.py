"""The protocol from its last whole checkpoint to its end: a run that was killed goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from torch import Tensor

from dashtheory._door import door
from dashtheory.evaluate import Scores
from dashtheory.protocol.checkpoint import Checkpoint, Checkpoints
from dashtheory.protocol.outside import outside_state
from dashtheory.protocol.part import Parts, Pause
from dashtheory.protocol.settings import Measures, TrainConfig
from dashtheory.protocol.stages import StageResult, Task, run_stages
from dashtheory.rules import Rule
from dashtheory.seeds import torch_stream
from dashtheory.stream import Stream


@door()
def run_resumable(
    stream: Stream,
    rule: Rule,
    task: Task,
    config: TrainConfig,
    *,
    seed: int,
    checkpoints: Checkpoints | None = None,
    measures: Measures | None = None,
    noisy: Sequence[Tensor] = (),
    on_epoch: Callable[[int, int, Scores], None] | None = None,
    on_problem: Callable[[str], None] | None = None,
    on_stage: Callable[[int, dict[str, float]], None] | None = None,
    num_stages: int | None = None,
    at: Collection[int] = (),
    finished: list[dict[str, float]] | None = None,
    origin: Mapping[str, str] | None = None,
    pause: Pause | None = None,
) -> list[dict[str, float]]:
    """Run the protocol to its end from its last whole checkpoint, and write one after every stage.

    On a CPU the numbers are the same to the bit, however often the run was killed.

    Args:
        stream: as in `run_stages`.
        rule: as in `run_stages`.
        task: as in `run_stages`.
        config: as in `run_stages`.
        seed: as in `run_stages`.
        measures: as in `run_stages`.
        noisy: as in `run_stages`.
        on_epoch: as in `run_stages`.
        checkpoints: where stages are kept; None keeps nothing. One process at a time may use its folder.
        on_problem: told of each damaged checkpoint that had to be passed over.
        on_stage: told each stage that this call has finished (and kept), and its metrics.
        num_stages: stop after so many stages of the stream, from 1; a later call goes on. None: all.
        at: the stages that are wanted, if not all of these; a rule that starts `anew` runs no others, and their
            metrics are {}. A later call fills in what is missing.
        finished: an empty list, filled as stages end, for a caller that may stop the run by an exception.
        origin: of `dashtheory.protocol.origin`, kept with each stage: a run of another is not gone on with.
        pause: when the stage under way is kept, so that a later call goes on within it
            (`dashtheory.protocol.part` says for which rules). None: every ten minutes.

    Returns:
        the metrics of the finished stages, in order, `num_stages` of them if so many were not there before.

    Raises:
        ValueError: as `run_stages`, or if a checkpoint is of another run.
        OSError: if one cannot be written (the stages before are intact).
    """
    resume = None if checkpoints is None else _newest(checkpoints, origin, on_problem)
    finished = [] if finished is None else finished
    finished += [] if resume is None else resume.finished
    wanted = len(stream.chunks) if num_stages is None else min(num_stages, len(stream.chunks))
    missing = _unfinished(finished, wanted)
    if rule.anew and at:
        missing = [stage for stage in missing if stage in at]
    parts = None if checkpoints is None else Parts(checkpoints, pause or Pause(), origin, on_problem)
    if parts is not None:
        parts.drop_but(_next(rule, finished, len(stream.chunks)))
    if not missing:
        return finished
    results = run_stages(
        stream,
        rule,
        task,
        config,
        seed=seed,
        on_epoch=on_epoch,
        measures=measures,
        noisy=noisy,
        resume=None if rule.anew else resume,
        only=missing if rule.anew else None,
        parts=parts,
    )
    told = False
    for result in results:
        finished.extend({} for _ in range(len(finished), result.stage))
        finished[result.stage - 1] = result.metrics()
        if checkpoints is not None and parts is not None:
            outside = _outside(result, rule, task, seed)
            if outside and on_problem is not None and not told:
                on_problem(f"{', '.join(outside)}: outside state_dict; if the run is stopped it begins anew")
            told = told or bool(outside)
            checkpoints.save(len(finished), result.learner, finished, result.state, origin, outside)
            parts.drop_but(_next(rule, finished, len(stream.chunks)))
        if on_stage is not None:
            on_stage(result.stage, finished[result.stage - 1])
        if result.stage >= missing[-1]:
            break
    return finished


def _next(rule: Rule, finished: Sequence[Mapping[str, float]], last: int) -> list[int]:
    """Stages that a run may go on within: those before any other are made again."""
    return _unfinished(finished, last) if rule.anew else [len(finished) + 1]


def _unfinished(finished: Sequence[Mapping[str, float]], last: int) -> list[int]:
    """Stages up to a last one that have no metrics."""
    return [stage for stage in range(1, last + 1) if not finished[stage - 1 : stage] or not finished[stage - 1]]


def _newest(
    checkpoints: Checkpoints, origin: Mapping[str, str] | None, on_problem: Callable[[str], None] | None
) -> Checkpoint | None:
    """The checkpoint to go on from; where it is the newest of all, a kill's leftover before it is dropped."""
    found, problems = checkpoints.latest(origin)
    if found is not None and not problems:
        checkpoints.drop_others(found.stage)
    if on_problem is not None:
        for problem in problems:
            on_problem(problem)
    return found


def _outside(result: StageResult, rule: Rule, task: Task, seed: int) -> list[str]:
    """What a learner remembers beside its state dicts (`dashtheory.protocol.outside`)."""
    learner = result.learner
    restored = rule.rebuild(task.with_rule(rule).fresh(torch_stream(seed, "init", 1)), result.state)
    restored.model.load_state_dict(learner.model.state_dict())
    restored.model.train(learner.model.training)
    return outside_state(learner, restored)
