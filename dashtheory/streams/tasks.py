"""The tasks of a changing stream, one by one: what is trained on, and held-out data of the same task.

Every law of change takes a generator of its own; the tasks of a seed are the same whatever is trained on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples
from dashtheory.streams.config import StreamConfig
from dashtheory.streams.regression import changing_regression


@dataclass(frozen=True, eq=False)
class Task:
    """What a task trains on, in the order in which it comes, and held-out examples of it if there are any."""

    train: Examples
    test: Examples | None = None


@dataclass(frozen=True, eq=False)
class Base:
    """Data that the tasks are made of.

    Attributes:
        train: inputs (n, positions), int64 targets (n,).
        test: held out, of the same form.
        num_classes: targets lie below it.

    Raises:
        ValueError: if the forms differ or a target is no class.
    """

    train: Examples
    test: Examples
    num_classes: int

    def __post_init__(self) -> None:
        for name, part in (("train", self.train), ("test", self.test)):
            if part.inputs.ndim != 2 or part.targets.ndim != 1 or part.targets.dtype != torch.int64:
                got = f"{tuple(part.inputs.shape)} and {part.targets.dtype} {tuple(part.targets.shape)}"
                fail(name, "must have inputs (n, positions) and int64 targets (n,)", got, "Flatten the pictures.")
            if not bool(((part.targets >= 0) & (part.targets < self.num_classes)).all()):
                got = f"{int(part.targets.min())} to {int(part.targets.max())}"
                fail(
                    name, f"must have targets from 0 to below num_classes, {self.num_classes}", got, "Count again."
                )
        if self.train.inputs.shape[1] != self.test.inputs.shape[1]:
            rule = f"must have the positions of train, {self.train.inputs.shape[1]}"
            fail("test", rule, str(self.test.inputs.shape[1]), "Prepare both in one way.")


def make_tasks(config: StreamConfig, seed: int, base: Base | None = None) -> Iterator[Task]:
    """The tasks of a seed.

    Args:
        config: what changes.
        seed: root seed; its stream "stream" says what the tasks are, and in which order examples come.
        base: what tasks are made of; regression needs none.

    Raises:
        ValueError: if there is no base, or it is too small.
    """
    generator = torch_stream(seed, "stream")
    if config.is_regression:
        yield from (Task(examples) for examples in changing_regression(config, generator))
        return
    if base is None:
        fail("base", f"must be given for {config.kind}", "none", "Give a Base.")
    maker = {
        "input_permuted": _permuted_inputs,
        "label_permuted": _permuted_labels,
        "random_labels": _random_labels,
        "class_incremental": _incremental,
        "two_class": _two_class,
    }[config.kind]
    yield from maker(config, base, generator)


def permutations(length: int, share: float, generator: torch.Generator, *, compose: bool) -> Iterator[Tensor]:
    """Permutations, int64 (length,), for ever: the first is drawn too.

    Composed, p_j = p_{j-1}[q_j], so that inputs[:, p_j] is inputs[:, p_{j-1}] with its places moved by q_j;
    otherwise p_j = q_j. Each q_j moves round(share length) places that are drawn, at least two, uniformly among
    themselves.

    Args:
        length: places.
        share: of the places that may move.
        generator: of the draws.
        compose: whether they act one on the other.
    """
    current = torch.arange(length)
    while True:
        moved = torch.randperm(length, generator=generator)[: max(2, round(share * length))]
        step = torch.arange(length)
        step[moved] = moved[torch.randperm(len(moved), generator=generator)]
        current = current[step] if compose else step
        yield current


def _some(examples: Examples, size: int, generator: torch.Generator) -> Examples:
    """So many examples, drawn without replacement, in an order that is drawn; all of them for 0."""
    if size > len(examples):
        rule = f"must be at most the number of examples, {len(examples)}"
        fail("task_size", rule, str(size), "Make tasks smaller.")
    return examples.take(torch.randperm(len(examples), generator=generator)[: size or len(examples)])


def _permuted_inputs(config: StreamConfig, base: Base, generator: torch.Generator) -> Iterator[Task]:
    places = permutations(base.train.inputs.shape[1], config.share, generator, compose=config.compose)
    before: Tensor | None = None
    for _, now in zip(range(config.num_tasks), places, strict=False):
        train = _some(base.train, config.task_size, generator)
        inputs = train.inputs[:, now]
        if config.blend and before is not None:
            weight = _weights(len(train), config.blend)[:, None].to(inputs)
            inputs = torch.lerp(train.inputs[:, before], inputs, weight)
        yield Task(Examples(inputs, train.targets), Examples(base.test.inputs[:, now], base.test.targets))
        before = now


def _permuted_labels(config: StreamConfig, base: Base, generator: torch.Generator) -> Iterator[Task]:
    places = permutations(base.num_classes, config.share, generator, compose=config.compose)
    before: Tensor | None = None
    for _, now in zip(range(config.num_tasks), places, strict=False):
        train = _some(base.train, config.task_size, generator)
        labels = now[train.targets]
        if config.blend and before is not None:
            new = torch.rand(len(train), generator=generator) < _weights(len(train), config.blend)
            labels = torch.where(new, labels, before[train.targets])
        yield Task(Examples(train.inputs, labels), Examples(base.test.inputs, now[base.test.targets]))
        before = now


def _weights(number: int, blend: float) -> Tensor:
    """Weight of the new form by place in the order: it grows from 1 / (blend n) to 1 over the share `blend`."""
    return (torch.arange(1, number + 1) / (blend * number)).clamp_max(1)


def _random_labels(config: StreamConfig, base: Base, generator: torch.Generator) -> Iterator[Task]:
    inputs = _some(base.train, config.task_size, generator).inputs
    for _ in range(config.num_tasks):
        labels = torch.randint(base.num_classes, (len(inputs),), generator=generator)
        yield Task(_some(Examples(inputs, labels), 0, generator))


def _of_class(examples: Examples, label: int, size: int, generator: torch.Generator) -> Tensor:
    """Places of so many examples of a class; all of them for 0."""
    found = (examples.targets == label).nonzero()[:, 0]
    if size > len(found) or not len(found):
        rule = f"must leave each class its examples; class {label} has {len(found)}"
        fail("task_size", rule, f"{size} of a class", "Make tasks smaller.")
    return found[torch.randperm(len(found), generator=generator)[: size or len(found)]]


def _per_class(config: StreamConfig, number: int, base: Base) -> int:
    """Examples of each of so many classes; for 0 what the smallest can give, so that all seeds have one size."""
    if config.task_size % number:
        rule = f"must be a multiple of {number}, the classes that share it"
        fail("task_size", rule, str(config.task_size), "Each gets as many.")
    return config.task_size // number or int(torch.bincount(base.train.targets, minlength=base.num_classes).min())


def _incremental(config: StreamConfig, base: Base, generator: torch.Generator) -> Iterator[Task]:
    number = config.classes_per_task
    if config.num_tasks * number > base.num_classes:
        rule = f"must be at most {base.num_classes // number}, the classes over those that come with a task"
        fail("num_tasks", rule, str(config.num_tasks), "Make the stream shorter.")
    size = _per_class(config, number, base)
    order = torch.randperm(base.num_classes, generator=generator).tolist()
    known: list[Tensor] = []
    for task in range(config.num_tasks):
        new = order[task * number : (task + 1) * number]
        arrived = torch.cat([_of_class(base.train, label, size, generator) for label in new])
        known = [*known, arrived] if config.classes == "cumulative" else [arrived]
        shown = order[: (task + 1) * number] if config.classes == "cumulative" else new
        test = torch.isin(base.test.targets, torch.tensor(shown)).nonzero()[:, 0]
        yield Task(_some(base.train.take(torch.cat(known)), 0, generator), base.test.take(test))


def _two_class(config: StreamConfig, base: Base, generator: torch.Generator) -> Iterator[Task]:
    pairs = list(combinations(range(base.num_classes), 2))
    size = _per_class(config, 2, base)
    order: list[int] = []
    for _ in range(config.num_tasks):
        order = order or torch.randperm(len(pairs), generator=generator).tolist()
        pair = torch.tensor(pairs[order.pop(0)])
        places = torch.cat([_of_class(base.train, int(label), size, generator) for label in pair])
        train = _some(base.train.take(places), 0, generator)
        test = base.test.take(torch.isin(base.test.targets, pair).nonzero()[:, 0])
        yield Task(*(Examples(part.inputs, (part.targets == pair[1]).long()) for part in (train, test)))
