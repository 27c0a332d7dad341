"""Arguments of batches: one value or one per simulation, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dashtheory.discrete import DISCRETE_RULES, Forgetting, Mixture, _kernel, draw_data, simulate_batch
from dashtheory.discrete.simulate import kernel_rule_of
from tests.discrete.batch_cases import GOOD, RULES_HERE, WORLD, assert_same, varied

# ------------------------------------------------------------------------------------------ broadcasting


BASE: dict[str, Any] = {"distribution": WORLD, "per_class_chunk_size": 30, "seeds": 3, "gamma": 6.5, "tau": 2}
OTHER_WORLD = Mixture.independent([[0.1, 0.9, 0.4], [0.3, 0.3, 0.3]])


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("distribution", [WORLD, OTHER_WORLD, WORLD]),
        ("distribution", (OTHER_WORLD, WORLD)),
        ("distribution", np.stack([WORLD.probabilities[:, 0], OTHER_WORLD.probabilities[:, 0]])),
        ("per_class_chunk_size", [[10, 10], [30, 30], [50, 50]]),
        ("per_class_chunk_size", [[10, 20], [30, 30]]),
        ("per_class_chunk_size", [[10], [30]]),
        ("per_class_chunk_size", np.array([[10, 20]])),
        ("seeds", [4, 3, 2, 1]),
        ("seeds", np.array([7], dtype=np.uint8)),
        ("gamma", [1, 5, 9.5, math.inf]),
        ("gamma", np.array([5, 10**6])),
        ("tau", [1, 2, 3, 4, 2**40]),
        ("tau", np.array([2, 1], dtype=np.int8)),
    ],
)
@pytest.mark.parametrize("with_seeds", [False, True])
def test_an_argument_is_one_value_or_one_per_simulation(argument: str, values: Any, with_seeds: bool) -> None:
    count = len(values)
    arguments = {**BASE, argument: values}
    if with_seeds and argument != "seeds":
        arguments["seeds"] = np.arange(count) + 50
    found = simulate_batch(**arguments, num_stages=2, rules=RULES_HERE)
    assert found.learned.shape == (count, 5, 1, 2, 3)
    for one in range(count):
        single = {
            **BASE,
            argument: np.asarray(values)[one : one + 1] if argument != "distribution" else values[one],
        }
        if with_seeds and argument != "seeds":
            single["seeds"] = 50 + one
        alone = simulate_batch(**single, num_stages=2, rules=RULES_HERE)
        assert len(alone.learned) == 1
        for name in ("learned", "num_memorized", "active_at_start", "accuracy"):
            np.testing.assert_array_equal(getattr(found, name)[one], getattr(alone, name)[0])


def test_worlds_may_be_written_in_every_way() -> None:
    p = WORLD.probabilities[:, 0]
    ways: list[Any] = [WORLD, [WORLD], p, p.tolist(), p[None], [p, p], [WORLD, WORLD]]
    first = simulate_batch(ways[0], 20, 2, seeds=[1, 2], gamma=4)
    for way in ways[1:]:
        assert_same(simulate_batch(way, 20, 2, seeds=[1, 2], gamma=4), first)


def test_one_chunk_size_per_simulation_is_not_one_per_class() -> None:
    """Two numbers go with two simulations; sizes of two classes need two axes."""
    assert len(simulate_batch(WORLD, [10, 20], 1, seeds=[0, 0]).learned) == 2
    with pytest.raises(ValueError, match="per_class_chunk_size must be a number, one per simulation, or of shape"):
        simulate_batch(WORLD, [10, 20], 1, seeds=0)
    found = simulate_batch(WORLD, [[10, 20]], 1, seeds=0, rules=["cold"])
    assert found.active_at_start.tolist() == [[[[10, 20]]]]


def test_worlds_may_differ_in_their_number_of_labels() -> None:
    p, w = WORLD.probabilities, WORLD.weights
    few, many = (Mixture(probabilities=p, weights=w, num_labels=labels) for labels in (2, 10))
    found = simulate_batch([few, many, few], 20, 1, seeds=4, gamma=math.inf, rules=["cold"])
    np.testing.assert_allclose(found.accuracy[:, 0, 0], [[0.5, 0.5], [0.1, 0.1], [0.5, 0.5]], rtol=1e-14)


def test_label_noise_is_in_the_data_and_not_in_the_accuracy() -> None:
    noisy = Mixture.independent([[1.0, 1.0]]).with_label_noise(0.25)
    world = Mixture(
        probabilities=noisy.probabilities, weights=noisy.weights, test_weights=noisy.test_weights, num_labels=4
    )
    found = simulate_batch(world, 1000, 2, seeds=range(4), gamma=50, tau=2, rules=["warm"])
    assert (found.accuracy == 1).all()
    assert found.learned.all()
    for held in found.num_memorized.ravel():
        assert abs(held / 2000 - 0.25) < 5 * math.sqrt(0.1875 / 2000)


def test_the_defaults_are_those_of_simulate() -> None:
    p = np.linspace(0.9, 0.1, 8).reshape(2, 4)
    found = simulate_batch(p, 100, 2, seeds=1)
    assert found.rules == DISCRETE_RULES
    assert_same(found, simulate_batch(p, 100, 2, seeds=1, gamma=50, tau=3, rules=DISCRETE_RULES, stages=[2]))


def test_the_input_is_not_modified() -> None:
    arguments = varied(5)
    copies = {name: value.copy() for name, value in arguments.items()}
    simulate_batch(**arguments, num_stages=2)
    for name, value in arguments.items():
        np.testing.assert_array_equal(value, copies[name])


@pytest.mark.parametrize(("rule", "expected"), [("cold", [1, 3]), ("warm", [0, 1, 2, 3]), ("ideal", [0, 1, 2, 3])])
def test_cold_runs_the_recorded_stages_alone(
    rule: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stages do not depend on each other; no rule goes beyond the last recorded stage."""
    run: list[int] = []

    def count_stage(rule: int, stage: int, *_: object) -> int:
        run.append(stage)
        return 0

    monkeypatch.setattr(_kernel, "_run_stage", count_stage)
    words, lost = np.zeros((2, 1), dtype=np.uint64), np.empty((0, 0), dtype=np.uint64)
    tables = (words, np.zeros((50, 1), dtype=np.uint64))
    results = (np.zeros((2, 2), dtype=np.bool_), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64))
    in_python = vars(_kernel.learn_class_at)["py_func"]
    in_python(np.array([1, 3]), *tables, 10, 5, 1, kernel_rule_of(rule), lost, lost, *results)
    assert run == expected


# -------------------------------------------------------------------------------------------- bad input


TALL = Mixture.independent([[0.5, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("distribution", [[1.5]], r"probabilities must lie in \[0, 1\], got 1\.5"),
        ("distribution", [[math.nan]], r"probabilities must lie in \[0, 1\], got nan"),
        ("distribution", [0.5], r"probabilities must have shape \(C, K\)"),
        ("distribution", None, r"probabilities must have shape \(C, K\)"),
        ("distribution", [], r"probabilities must have shape \(C, K\)"),
        ("distribution", np.ones((1, 1, 1, 1)), r"probabilities must have shape \(C, K\)"),
        ("distribution", np.ones((0, 2, 3)), "."),
        ("distribution", [WORLD, TALL], r"distribution must be of one shape \(C, G, K\), got "),
        ("per_class_chunk_size", 0, "per_class_chunk_size must be an integer >= 1, got 0"),
        ("per_class_chunk_size", -1, "per_class_chunk_size must be an integer >= 1, got -1"),
        ("per_class_chunk_size", 2.5, r"per_class_chunk_size must be an integer >= 1, got 2\.5"),
        ("per_class_chunk_size", True, "per_class_chunk_size must be an integer >= 1, got True"),
        ("per_class_chunk_size", "10", "per_class_chunk_size must be an integer >= 1, got '10'"),
        ("per_class_chunk_size", None, "per_class_chunk_size must be an integer >= 1, got None"),
        ("per_class_chunk_size", [[10, 0]], "per_class_chunk_size must be an integer >= 1, got 0"),
        (
            "per_class_chunk_size",
            [[10, 10, 10]],
            r"per_class_chunk_size must fit the shape \(1, 2\), got shape \(1, 3\)",
        ),
        ("per_class_chunk_size", [], "per_class_chunk_size must have one entry, or one per simulation"),
        ("num_stages", 0, "num_stages must be an integer >= 1, got 0"),
        ("num_stages", 1.0, r"num_stages must be an integer >= 1, got 1\.0"),
        ("num_stages", None, "num_stages must be an integer >= 1, got None"),
        ("seeds", -1, "seeds must be an integer >= 0, got -1"),
        ("seeds", [0, -1], "seeds must be an integer >= 0, got -1"),
        ("seeds", 0.0, r"seeds must be an integer >= 0, got 0\.0"),
        ("seeds", None, "seeds must be an integer >= 0, got None"),
        ("seeds", True, "seeds must be an integer >= 0, got True"),
        ("seeds", [], "seeds must have one entry, or one per simulation"),
        ("seeds", [[1, 2], [3, 4]], r"seeds must fit the shape \(4,\), got shape \(2, 2\)"),
        ("gamma", 0, "gamma must be a number in .*, got 0"),
        ("gamma", [5, -1], "gamma must be a number in .*, got -1"),
        ("gamma", math.nan, "gamma must be a number in .*, got nan"),
        ("gamma", "50", "gamma must be a number in .*, got '50'"),
        ("gamma", None, "gamma must be a number in .*, got None"),
        ("gamma", True, "gamma must be a number in .*, got True"),
        ("gamma", [[5, 6], [7, 8]], r"gamma must be a number or have shape \(B,\), got shape \(2, 2\)"),
        ("gamma", [], "gamma must have one entry, or one per simulation"),
        ("tau", 0, "tau must be an integer >= 1, got 0"),
        ("tau", 2.0, r"tau must be an integer >= 1, got 2\.0"),
        ("tau", [1, 0], "tau must be an integer >= 1, got 0"),
        ("tau", None, "tau must be an integer >= 1, got None"),
        ("tau", True, "tau must be an integer >= 1, got True"),
        ("rules", [], "rules must name at least one, each once"),
        ("rules", ["cold", "cold"], "rules must name at least one, each once, got .*cold"),
        ("rules", [Forgetting(1, 0), Forgetting(1.0, 0.0)], r"rules must name at least one, each once, got .*1,0"),
        ("rules", ["tepid"], "rule must be one of cold, warm, ideal, got 'tepid'"),
        ("rules", "cold", "rules must be a sequence, got 'cold'"),
        ("rules", [None], "rule must be one of cold, warm, ideal, got None"),
        ("stages", [], "stages must rise within 1 to 3"),
        ("tau", [True, 2], "tau must be an integer >= 1, got True"),
        ("gamma", [True, 5], r"gamma must be a number in \(0, inf\], got True"),
        ("seeds", 2**63, "seeds must be below 2\\^63, got 9223372036854775808"),
        ("seeds", 2**64, "seeds must be below 2\\^63, got 18446744073709551616"),
        ("per_class_chunk_size", 2**63, "per_class_chunk_size must be below 2\\^63"),
        ("seeds", [[1, 2], [3]], r"seeds must be an integer >= 0, got \[1, 2\]"),
        ("gamma", [[1, 2], [3]], r"gamma must be a number in .*, got \[1, 2\]"),
        (
            "gamma",
            [np.ones((2, 2)), np.ones((2, 3))],
            "gamma must be a number or a regular array, got a ragged one",
        ),
        ("distribution", "abc", "distribution must be probabilities .*, got str"),
        ("distribution", object(), "distribution must be probabilities .*, got object"),
        ("rules", None, "rules must be a sequence, got None"),
        ("rules", Forgetting(1, 0), "rules must be a sequence, got Forgetting"),
        ("stages", 2, "stages must be a sequence, got 2"),
        ("num_threads", 0, "num_threads must be an integer >= 1, got 0"),
        ("stages", [0], "stages must be an integer >= 1, got 0"),
        ("stages", [4], r"stages must rise within 1 to 3, got \(4,\)"),
        ("stages", [2, 1], r"stages must rise within 1 to 3, got \(2, 1\)"),
        ("stages", [1, 1], r"stages must rise within 1 to 3, got \(1, 1\)"),
        ("stages", [1.0], r"stages must be an integer >= 1, got 1\.0"),
        ("num_threads", -1, "num_threads must be an integer >= 1, got -1"),
        ("num_threads", 1.5, r"num_threads must be an integer >= 1, got 1\.5"),
        ("num_threads", True, "num_threads must be an integer >= 1, got True"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(argument: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        simulate_batch(**{**GOOD, argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("distribution", [WORLD, WORLD]),
        ("distribution", np.full((2, 2, 3), 0.5)),
        ("per_class_chunk_size", [10, 10]),
        ("per_class_chunk_size", [[10, 10], [10, 10]]),
        ("gamma", [1, 2]),
        ("tau", [1, 2]),
    ],
)
def test_lengths_that_do_not_fit_are_refused(argument: str, value: object) -> None:
    told = rf"^{argument} must have one entry, or one per simulation \(3\), got 2\. .*'seeds': 3"
    with pytest.raises(ValueError, match=told):
        simulate_batch(**{**GOOD, "seeds": [0, 1, 2], argument: value})


def test_good_input_is_not_refused() -> None:
    found = simulate_batch(**GOOD)
    assert found.learned.shape == (1, 3, 1, 2, 3)
    assert found.num_memorized.shape == found.active_at_start.shape == found.accuracy.shape == (1, 3, 1, 2)


def test_tau_may_be_as_large_as_in_simulate() -> None:
    few, many = (simulate_batch([[0.4, 0.5]], 20, 2, seeds=0, gamma=5, tau=tau) for tau in (3, 10**30))
    assert np.array_equal(few.learned, many.learned)
    assert np.array_equal(few.accuracy, many.accuracy)


def test_rules_that_differ_a_little_are_two_rules() -> None:
    rules = [Forgetting(1, 0), Forgetting(1 - 1e-9, 0)]
    assert simulate_batch([[0.4]], 20, 2, seeds=0, rules=rules).rules == ("forget(1,0)", "forget(0.999999999,0)")


def test_one_world_at_a_time_has_its_data_drawn() -> None:
    with pytest.raises(ValueError, match="distribution must be a single one, got 2"):
        draw_data(np.full((2, 1, 3), 0.5), 10, 0)
