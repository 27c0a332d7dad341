"""Runs that can be killed at any moment and go on after the last finished stage."""

from __future__ import annotations

from collections.abc import Callable

from dashtheory.protocol.checkpoint import Checkpoints
from dashtheory.protocol.measures import Measures
from dashtheory.protocol.run import Task, run_stages
from dashtheory.protocol.stream import Stream
from dashtheory.protocol.train import Scores, TrainConfig
from dashtheory.shrink import Rule


def run_resumable(
    stream: Stream,
    rule: Rule,
    task: Task,
    config: TrainConfig,
    *,
    seed: int,
    checkpoints: Checkpoints | None = None,
    measures: Measures | None = None,
    on_epoch: Callable[[int, int, Scores], None] | None = None,
    on_problem: Callable[[str], None] | None = None,
    on_stage: Callable[[int, dict[str, float]], None] | None = None,
    num_stages: int | None = None,
) -> list[dict[str, float]]:
    """Run the protocol to its end from its last whole checkpoint, and write one after every stage.

    On a CPU the numbers are the same to the bit, however often the run was killed.

    Args:
        stream, rule, task, config, seed, measures, on_epoch: as in `run_stages`.
        checkpoints: where stages are kept; None keeps nothing. One process at a time may use its folder.
        on_problem: told of each damaged checkpoint that had to be passed over. on_stage: told each stage that this
            call has finished (and kept), and its metrics.
        num_stages: stop after so many stages of the stream, from 1; a later call goes on. None: all.
    Returns: the metrics of the finished stages, in order, `num_stages` of them if so many were not there before.
    Raises: ValueError as `run_stages`, or if a checkpoint is of another run; OSError if one cannot be written (the
        stages before are intact).
    """
    resume, problems = (None, []) if checkpoints is None else checkpoints.latest()
    if on_problem is not None:
        for problem in problems:
            on_problem(problem)
    finished: list[dict[str, float]] = [] if resume is None else list(resume.finished)
    wanted = len(stream.chunks) if num_stages is None else min(num_stages, len(stream.chunks))
    if len(finished) >= wanted:
        return finished
    results = run_stages(
        stream, rule, task, config, seed=seed, on_epoch=on_epoch, measures=measures, resume=resume
    )
    for result in results:
        finished.append(result.metrics())
        if checkpoints is not None:
            checkpoints.save(result.stage, result.learner, finished, result.state)
        if on_stage is not None:
            on_stage(result.stage, finished[-1])
        if result.stage >= wanted:
            break
    return finished
