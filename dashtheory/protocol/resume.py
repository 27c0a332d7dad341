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
) -> list[dict[str, float]]:
    """Run the protocol to its end from its last whole checkpoint, and write one after every stage.

    On a CPU the numbers are the same to the bit, however often the run was killed.

    Args:
        stream, rule, task, config, seed, measures, on_epoch: as in `run_stages`.
        checkpoints: where stages are kept; None keeps nothing. One process at a time may use its folder.
        on_problem: told of each damaged checkpoint that had to be passed over.
    Returns: the metrics of stages 1 to J, in order.
    Raises: ValueError as `run_stages`, or if a checkpoint is of another run; OSError if one cannot be written (the
        stages before are intact).
    """
    resume, problems = (None, []) if checkpoints is None else checkpoints.latest()
    if on_problem is not None:
        for problem in problems:
            on_problem(problem)
    finished: list[dict[str, float]] = [] if resume is None else list(resume.finished)
    results = run_stages(
        stream, rule, task, config, seed=seed, on_epoch=on_epoch, measures=measures, resume=resume
    )
    for result in results:
        finished.append(result.metrics())
        if checkpoints is not None:
            checkpoints.save(result.stage, result.learner, finished, result.state)
    return finished
