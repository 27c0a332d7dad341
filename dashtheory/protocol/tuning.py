"""A well-tuned network trained from scratch: the opponent that a repaired warm start deserves.

Part of what shrinking gains over a cold start is regularisation, so a fair cold start has its weight decay (or its
learning rate) chosen too; on training data alone, for the test set must not help.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dashtheory._check import fail
from dashtheory.errors import Diverged
from dashtheory.evaluate import Scores, evaluate
from dashtheory.protocol.settings import HELD_OUT, TrainConfig
from dashtheory.protocol.stages import Task, train_stage
from dashtheory.seeds import torch_stream, torch_streams
from dashtheory.stream import Examples, Stream, join


def hold_out(stream: Stream) -> tuple[Examples, Examples]:
    """What the last stage sees, without and with only the last fifth of each chunk: (training, held-out) examples.

    The chunks are taken to be in random order.

    Raises:
        ValueError: if a chunk has fewer than two examples.
    """
    parts = [hold_out_of(chunk) for chunk in stream.at(len(stream.chunks), stream.chunks)]
    return join([train for train, _ in parts]), join([held for _, held in parts])


def hold_out_of(chunk: Examples) -> tuple[Examples, Examples]:
    """A chunk without its last fifth, and that fifth: at least one example.

    Raises:
        ValueError: if it has fewer than two examples.
    """
    if len(chunk) < 2:
        fail("chunks", "must have two examples or more to hold one out", str(len(chunk)), "Use larger chunks.")
    count = max(len(chunk) // HELD_OUT, 1)
    parts = [slice(None, -count), slice(-count, None)]
    train, held = (Examples(chunk.inputs[part], chunk.targets[part]) for part in parts)
    return train, held


def tune(
    stream: Stream,
    make_task: Callable[[float], Task],
    config: TrainConfig,
    candidates: Sequence[float],
    *,
    seed: int,
    on_candidate: Callable[[float, float], None] | None = None,
) -> float:
    """The candidate that does best on a fifth of all chunks, trained from scratch on the other four.

    Best is most often right (least loss, where nothing is right or wrong). The test set is not looked at. All
    candidates share initialisation and order of examples (the streams "tuning init" and "tuning order" of the
    seed), which are not those of the run.

    Args:
        stream: chunks in random order.
        make_task: model and optimizer for a candidate.
        config: of a stage.
        candidates: values to choose from.
        seed: root seed.
        on_candidate: told each candidate and its accuracy (minus its loss, where nothing is right or wrong).

    Returns:
        the best; of equals the first. A candidate whose loss is not finite counts as never right.

    Raises:
        ValueError: if there is no candidate, or training fails for all of them.
    """
    if not candidates:
        fail("candidates", "must hold at least one value", "none", "List some.")
    examples, held_out = hold_out(stream)
    scores = []
    for candidate in candidates:
        task = make_task(candidate)
        learner = task.fresh(torch_stream(seed, "tuning init"))
        try:
            train_stage(learner, examples.to(task.device), task, config, torch_streams(seed, prefix="tuning "))
            found = evaluate(learner.model, held_out.to(task.device), loss_fn=task.loss_fn, score=task.score)
            score = _goodness(found)
        except Diverged:
            score = -1.0
        scores.append(score)
        if on_candidate is not None:
            on_candidate(candidate, score)
    if max(scores) in (-1.0, -math.inf):
        fail("candidates", "must hold one that trains", str(tuple(candidates)), "Try smaller values.")
    return candidates[scores.index(max(scores))]


def _goodness(scores: Scores) -> float:
    """More is better; -1 for an accuracy that diverged."""
    if math.isnan(scores.accuracy):
        return -scores.loss if math.isfinite(scores.loss) else -math.inf
    return scores.accuracy if math.isfinite(scores.loss) else -1.0
