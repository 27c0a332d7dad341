"""Which examples go to which chunk."""

from __future__ import annotations

import numpy as np

from dashtheory._check import fail

Ranks = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def draw_any(name: str, num_there: int, shape: tuple[int, int], generator: np.random.Generator) -> Ranks:
    """Draw `shape` = (num_parts, size) of `num_there` examples, none twice, without regard to class.

    Args:
        name: argument to name if there are too few.
        num_there: examples to draw from.
        shape: (num_parts, size).
        generator: of the draws.

    Returns:
        int64 array of `shape`. The first rows do not depend on the number of rows.
    """
    needed = shape[0] * shape[1]
    if needed > num_there:
        got = f"{shape[0]} x {shape[1]}"
        fail(name, f"must leave the {num_there:,} examples enough", got, "Ask for fewer or smaller parts.")
    return generator.permutation(num_there)[:needed].reshape(shape)


def draw_balanced(
    name: str, labels: Ranks, num_classes: int, shape: tuple[int, int], generator: np.random.Generator
) -> Ranks:
    """Draw `shape` = (num_parts, size) examples, none twice, with every class equally often in each part.

    Where `size` is no multiple of `num_classes`, the classes take turns at the places left over, so that their
    numbers differ by one at most in each part and in all parts together. Classes with more examples come first;
    the order among equals is drawn once.

    Args:
        name: argument to name if there are too few.
        labels: of the examples, below `num_classes`.
        num_classes: C.
        shape: (num_parts, size).
        generator: of the draws.

    Returns:
        int64 array of `shape`, sorted by class within a row. The first rows do not depend on the number of rows.
    """
    queues = [generator.permutation(np.flatnonzero(labels == label)) for label in range(num_classes)]
    turns = generator.permutation(num_classes)
    turns = turns[np.argsort([-len(queues[label]) for label in turns], kind="stable")]
    num_parts, size = shape
    counts = np.full((num_parts, num_classes), size // num_classes)
    left_over = size % num_classes
    for part in range(num_parts):
        counts[part, turns[(part * left_over + np.arange(left_over)) % num_classes]] += 1
    ends = counts.cumsum(axis=0)
    for label, queue in enumerate(queues):
        if ends[-1, label] > len(queue):
            rule = f"must leave every class enough, {len(queue):,} of class {label}"
            fail(name, rule, f"{ends[-1, label]:,} needed", "Ask for less, or say balanced=False.")
    return np.stack(
        [
            np.concatenate(
                [
                    queue[end - count : end]
                    for queue, end, count in zip(queues, ends[part], counts[part], strict=True)
                ]
            )
            for part in range(num_parts)
        ]
    )
