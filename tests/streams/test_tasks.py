"""Laws of change: what every kind of stream keeps, and what it moves."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dashtheory.stream import Examples
from dashtheory.streams import Base, StreamConfig, StreamTraining, Task, ThresholdTarget, make_tasks, read_stream
from dashtheory.streams.tasks import permutations
from tests.streams.toys import toy_base

LONGER = toy_base(per_class=12, places=5, num_classes=6)


def tasks(base: Base = LONGER, seed: int = 0, **values: object) -> list[Task]:
    return list(make_tasks(StreamConfig(**values), seed, base))  # type: ignore[arg-type]


def rows(examples: Examples) -> set[tuple[float, ...]]:
    return {tuple(row) for row in torch.cat([examples.inputs, examples.targets[:, None]], 1).tolist()}


def take(length: int, share: float, compose: bool, number: int = 4) -> list[Tensor]:
    return list(islice(permutations(length, share, torch.Generator().manual_seed(3), compose=compose), number))


@given(length=st.integers(2, 12), share=st.floats(0.05, 1))
@settings(max_examples=40, deadline=None)
def test_permutations_compose(length: int, share: float) -> None:
    steps, composed = take(length, share, False), take(length, share, True)
    inputs = torch.arange(length)
    for step, whole in zip(steps, composed, strict=True):
        assert sorted(step.tolist()) == list(range(length))
        assert (step != torch.arange(length)).sum() <= max(2, round(share * length))
        inputs = inputs[step]
        assert torch.equal(inputs, torch.arange(length)[whole])


def test_permuted_inputs_are_the_data_with_places_moved_alike_in_all_examples_and_in_the_test_set() -> None:
    found = tasks(kind="input_permuted", num_tasks=3)
    steps = StreamConfig(kind="input_permuted", num_tasks=3, compose=False)
    for task in [*found, *make_tasks(steps, 0, LONGER)]:
        assert task.test is not None
        places = [int((LONGER.test.inputs[0] == value).nonzero()) for value in task.test.inputs[0]]
        assert torch.equal(task.test.inputs, LONGER.test.inputs[:, places])
        moved = Examples(LONGER.train.inputs[:, places], LONGER.train.targets)
        assert rows(task.train) == rows(moved)
        assert len(task.train) == len(moved)


def test_permuted_labels_are_renamed_classes() -> None:
    for task in tasks(kind="label_permuted", num_tasks=3, task_size=20):
        assert task.test is not None
        names = {int(old): int(new) for old, new in zip(LONGER.test.targets, task.test.targets, strict=True)}
        assert sorted(names.values()) == list(range(6))
        known = {
            tuple(row): int(y) for row, y in zip(LONGER.train.inputs.tolist(), LONGER.train.targets, strict=True)
        }
        found = zip(task.train.inputs.tolist(), task.train.targets.tolist(), strict=True)
        assert all(names[known[tuple(row)]] == label for row, label in found)
        assert len(rows(task.train)) == 20


def test_a_blend_begins_near_the_old_task_and_ends_in_the_new_one() -> None:
    plain = tasks(kind="input_permuted", num_tasks=2)
    mixed = tasks(kind="input_permuted", num_tasks=2, blend=0.5)
    assert torch.equal(plain[0].train.inputs, mixed[0].train.inputs)  # nothing lies before the first task
    count = len(plain[1].train)
    half = count // 2
    assert torch.equal(plain[1].train.inputs[half:], mixed[1].train.inputs[half:])
    old = tasks(kind="input_permuted", num_tasks=1)[0].test
    assert old is not None
    assert plain[1].test is not None
    before = [int((LONGER.test.inputs[0] == value).nonzero()) for value in old.inputs[0]]
    now = [int((LONGER.test.inputs[0] == value).nonzero()) for value in plain[1].test.inputs[0]]
    unmoved = plain[1].train.inputs[:, torch.tensor(now).argsort()]
    for place in (0, half // 2, half - 1):
        weight = (place + 1) / half
        expected = (1 - weight) * unmoved[place, before] + weight * unmoved[place, now]
        assert torch.allclose(mixed[1].train.inputs[place], expected, atol=1e-5)


def test_blended_labels_pass_from_the_old_names_to_the_new() -> None:
    base = toy_base(per_class=300, places=4, num_classes=4)
    first, second = tasks(base, kind="label_permuted", num_tasks=2, blend=1.0)
    names = []
    for task in (first, second):
        assert task.test is not None
        names.append(dict(zip(base.test.targets.tolist(), task.test.targets.tolist(), strict=True)))
    old, new = names
    known = {tuple(row): int(y) for row, y in zip(base.train.inputs.tolist(), base.train.targets, strict=True)}
    classes = [known[tuple(row)] for row in second.train.inputs.tolist()]
    is_new = torch.tensor([new[c] == y for c, y in zip(classes, second.train.targets.tolist(), strict=True)])
    is_old = torch.tensor([old[c] == y for c, y in zip(classes, second.train.targets.tolist(), strict=True)])
    assert bool((is_new | is_old).all())
    differs = torch.tensor([old[c] != new[c] for c in classes])
    early, late = (is_new[part][differs[part]].double().mean() for part in (slice(0, 300), slice(900, 1200)))
    assert early < 0.3  # expected 0.125, standard deviation 0.02
    assert late > 0.7


def test_random_labels_are_redrawn_for_the_same_inputs() -> None:
    first, second = tasks(kind="random_labels", num_tasks=2, task_size=40)
    assert first.test is None
    labels = [
        {tuple(row): int(y) for row, y in zip(t.train.inputs.tolist(), t.train.targets, strict=True)}
        for t in (first, second)
    ]
    assert labels[0].keys() == labels[1].keys()
    same = sum(labels[0][row] == labels[1][row] for row in labels[0]) / 40
    assert same < 0.5  # chance 1/6


@pytest.mark.parametrize("classes", ["cumulative", "new"])
def test_classes_arrive(classes: str) -> None:
    found = tasks(kind="class_incremental", num_tasks=3, classes_per_task=2, task_size=10, classes=classes)
    seen: set[int] = set()
    for number, task in enumerate(found, start=1):
        here = set(task.train.targets.tolist())
        assert task.test is not None
        assert set(task.test.targets.tolist()) == here
        assert torch.bincount(task.train.targets)[sorted(here)].unique().tolist() == [5]
        assert here >= seen if classes == "cumulative" else not here & seen
        assert len(here) == (2 * number if classes == "cumulative" else 2)
        seen |= here


def test_two_class_tasks_go_through_all_pairs_before_one_comes_again() -> None:
    base = toy_base(per_class=4, places=3, num_classes=3)
    found = tasks(base, kind="two_class", num_tasks=6)
    known = {tuple(row): int(y) for row, y in zip(base.train.inputs.tolist(), base.train.targets, strict=True)}
    pairs = [frozenset(known[tuple(row)] for row in task.train.inputs.tolist()) for task in found]
    assert len(set(pairs[:3])) == len(set(pairs[3:])) == 3
    for task in found:
        assert torch.bincount(task.train.targets).tolist() == [4, 4]


@pytest.mark.parametrize("flip", ["one", "all"])
def test_bits_stay_through_a_task_and_one_flips_between_tasks(flip: str) -> None:
    config = StreamConfig(kind="regression", num_tasks=20, task_size=12, bits=8, noise_bits=3, units=9, flip=flip)
    found = list(make_tasks(config, 0))
    kept = [task.train.inputs[:, :8] for task in found]
    assert all(bool((bits == bits[0]).all()) for bits in kept)
    flips = [int((before[0] != after[0]).sum()) for before, after in pairwise(kept)]
    assert flips == [1] * 19 if flip == "one" else max(flips) > 1
    assert all(0 < task.train.inputs[:, 8:].mean() < 1 for task in found)


def test_the_target_is_that_of_threshold_units_one_by_one() -> None:
    config = StreamConfig(kind="regression", task_size=30, bits=6, noise_bits=4, units=7, beta=0.6)
    target = ThresholdTarget.drawn(config, torch.Generator().manual_seed(5))
    inputs = torch.randint(2, (30, 10), generator=torch.Generator().manual_seed(6)).float()
    for row, found in zip(inputs.tolist(), target(inputs)[:, 0].tolist(), strict=True):
        total = 0.0
        for weights, sign in zip(target.incoming.tolist(), target.outgoing.tolist(), strict=True):
            fits = sum((x == 1) == (w == 1) for x, w in zip([*row, 1.0], weights, strict=True))
            total += sign * (fits >= 0.6 * 11 - 1e-9)  # 6.6 of 11 inputs
        assert found == total
    assert target(inputs).std() > 0


@given(
    kind=st.sampled_from(["input_permuted", "label_permuted", "random_labels", "two_class"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_tasks_of_a_seed_are_the_same_again_and_of_another_seed_others(kind: str, seed: int) -> None:
    one, again, other = (tasks(seed=s, kind=kind, num_tasks=2) for s in (seed, seed, seed + 1))
    assert all(torch.equal(a.train.inputs, b.train.inputs) for a, b in zip(one, again, strict=True))
    assert all(torch.equal(a.train.targets, b.train.targets) for a, b in zip(one, again, strict=True))
    assert any(rows(a.train) != rows(b.train) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"kind": "none"}, "kind"),
        ({"kind": "random_labels", "blend": 0.5}, "blend"),
        ({"kind": "regression"}, "task_size"),
        ({"num_tasks": 0}, "num_tasks"),
        ({"share": 0.0}, "share"),
        ({"compose": 1}, "compose"),
        ({"kind": "class_incremental", "classes": "old"}, "classes"),
    ],
)
def test_bad_streams_are_refused(values: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must "):
        StreamConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "class_incremental", "num_tasks": 7},
        {"kind": "class_incremental", "num_tasks": 2, "task_size": 13},
        {"kind": "class_incremental", "num_tasks": 2, "classes_per_task": 2, "task_size": 1},
        {"kind": "two_class", "num_tasks": 2, "task_size": 5},
        {"kind": "random_labels", "task_size": 100},
    ],
)
def test_streams_that_the_data_cannot_give_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^(num_tasks|task_size) must "):
        tasks(**values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^base must be given"):
        list(make_tasks(StreamConfig(), 0))


def test_a_base_has_two_parts_of_one_form() -> None:
    def part(targets: list[int], places: int = 3) -> Examples:
        return Examples(torch.zeros(len(targets), places), torch.tensor(targets))

    good = part([0, 1])
    for train, test, words in (
        (part([-1, 1]), good, "train must have targets from 0 to below num_classes, 2, got -1 to 1"),
        (good, part([0, 2]), "test must have targets from 0 to below num_classes, 2, got 0 to 2"),
        (good, part([0, 1], places=4), "test must have the positions of train, 3, got 4"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            Base(train, test, 2)


def test_a_stream_is_read_from_its_text() -> None:
    config, training = read_stream(
        "random_labels:task_size=30:epochs=4:widths=8+6", StreamTraining(optimizer="sgd")
    )
    assert (config.kind, config.task_size, config.text) == ("random_labels", 30, "random_labels:task_size=30")
    assert (training.epochs, training.widths, training.optimizer) == (4, (8, 6), "sgd")
    for text, name in (
        ("random_label", "streams"),
        ("regression:share=0.5", "streams"),
        ("input_permuted:blend=1:epochs=2", "blend"),
    ):
        with pytest.raises(ValueError, match=rf"^{name} m"):
            read_stream(text, StreamTraining())
