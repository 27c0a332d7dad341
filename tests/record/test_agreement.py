"""Tables that were computed again: what is called different, how often by chance, and what is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dashtheory.record import ALARM, agreement, load_table

ROOT = Path(__file__).parents[2]
Array = np.ndarray


def table(values: Array, *, level: str = "deep", metric: str = "test_loss") -> pd.DataFrame:
    """A row of `values` per stage, a column per seed."""
    stages, seeds = values.shape
    return pd.DataFrame(
        {
            "level": level,
            "experiment": "toy",
            "rule": "warm",
            "seed": np.tile(np.arange(seeds), stages),
            "stage": np.repeat(np.arange(1, stages + 1), seeds),
            "metric": metric,
            "value": values.ravel().astype(float),
        }
    )


def draws(generator: np.random.Generator, stages: int, seeds: int, rho: float) -> tuple[Array, Array]:
    """Two tables' values of one law, with correlation `rho` between those of a seed."""
    common = generator.normal(size=(stages, seeds))
    own = [generator.normal(size=(stages, seeds)) for _ in range(2)]
    return tuple(np.sqrt(rho) * common + np.sqrt(1 - rho) * one for one in own)


def test_the_same_numbers_are_identical_in_any_order() -> None:
    one = table(np.random.default_rng(0).normal(size=(4, 3)))
    found = agreement(one, one.iloc[::-1])
    assert (found.verdict, found.num_changed, found.furthest, found.differences) == ("identical", 0, None, ())
    assert (found.num_seeds, found.num_means, found.missing, found.further) == (3, 4, 0, 0)


def test_the_last_bit_is_seen() -> None:
    values = np.random.default_rng(0).normal(size=(4, 3))
    other = values.copy()
    other[2, 1] = np.nextafter(other[2, 1], 9)
    found = agreement(table(values), table(other))
    assert (found.verdict, found.num_changed) == ("equal", 1)
    assert found.furthest is not None
    assert found.furthest.stage == 3


def test_standard_errors_are_those_of_two_samples() -> None:
    """One mean in the table: t and its chance are scipy's."""
    one, two = draws(np.random.default_rng(3), 1, 6, 0.0)
    found = agreement(table(one), table(two + 1)).furthest
    assert found is not None
    assert found.errors == pytest.approx(abs(stats.ttest_ind(two[0] + 1, one[0]).statistic))
    assert (found.committed, found.new) == pytest.approx((one.mean(), two.mean() + 1))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_each_mean_alarms_at_most_as_often_as_student_says(rho: float) -> None:
    """The bound behind the rate: t^2 = 2 (n - 1) z^2 / (c U + W), drawn; its tail lies below that of c = 1."""
    generator = np.random.default_rng(5)
    one, two = draws(generator, 40_000, 4, rho)
    errors = np.abs(two.mean(1) - one.mean(1)) / np.sqrt((one.var(1, ddof=1) + two.var(1, ddof=1)) / 4)
    for chance in (0.05, 0.01, 0.001):
        rate = np.mean(errors > stats.t.isf(chance / 2, 6))
        assert rate <= chance + 3 * np.sqrt(chance / 40_000)
        if rho == 0:
            assert rate >= chance - 3 * np.sqrt(chance / 40_000)


@pytest.mark.parametrize("seeds", [3, 5])
def test_tables_of_one_law_are_rarely_different(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    verdicts = []
    for _ in range(20):
        one, two = draws(generator, 12, seeds, 0.0)
        verdicts.append(agreement(table(one), table(two)).verdict)
    assert verdicts.count("different") <= stats.binom.isf(1e-4, 20, ALARM)
    assert "identical" not in verdicts


def in_two_kinds(generator: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Runs that succeed or fail, some surely."""
    return (generator.random(shape) < np.linspace(0, 1, shape[0])[:, None]).astype(float)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_runs_that_succeed_or_fail_are_not_called_different_by_chance(seeds: int) -> None:
    """All seeds of a table can fall to one side: without the spread of their stage t would be infinite."""
    generator = np.random.default_rng(seeds)
    for _ in range(8):
        one, two = (
            pd.concat([table(in_two_kinds(generator, (1, seeds))).assign(rule=f"r{rule}") for rule in range(9)])
            for _ in range(2)
        )
        assert agreement(one, two).verdict != "different"


@pytest.mark.parametrize(("name", "seeds"), [("primacy_bias", 10), ("primacy_bias", 3), ("effective_step", 5)])
def test_halves_of_the_committed_seeds_agree(name: str, seeds: int) -> None:
    """Real values are not normal; seeds of one table are draws of one law all the same."""
    whole, _ = load_table(ROOT / "figures" / f"{name}.csv")
    generator = np.random.default_rng(1)
    for _ in range(3):
        order = generator.permutation(whole["seed"].nunique())
        sides = [dict(zip(part, range(seeds), strict=True)) for part in (order[:seeds], order[seeds : 2 * seeds])]
        parts = [whole[whole["seed"].isin(side)] for side in sides]
        one, two = (part.assign(seed=part["seed"].map(side)) for part, side in zip(parts, sides, strict=True))
        assert agreement(one, two).verdict == "equal"


@given(stage=st.integers(1, 8), up=st.booleans(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_shifted_mean_is_found_and_named(stage: int, up: bool, seed: int) -> None:
    one, two = draws(np.random.default_rng(seed), 8, 5, 0.5)
    two[stage - 1] += 30.0 if up else -30.0
    found = agreement(table(one), table(two))
    assert found.verdict == "different"
    (difference,) = found.differences
    assert (difference.rule, difference.stage, difference.metric) == ("warm", stage, "test_loss")
    assert difference.errors > 10
    assert difference.seed is None


@pytest.mark.parametrize(("share", "verdict"), [(0.99, "equal"), (1.01, "different")])
def test_the_shift_that_is_said_to_be_told_is_just_told(share: float, verdict: str) -> None:
    one = np.random.default_rng(3).normal(size=(8, 5))
    unseen = agreement(table(one), table(one + 1e-9)).unseen["test_loss"]
    two = one.copy()
    two[-1] += share * unseen
    assert agreement(table(one), table(two)).verdict == verdict
    assert agreement(table(one, level="discrete"), table(one, level="discrete")).unseen == {}


def test_one_noisy_rule_does_not_hide_a_change_of_another() -> None:
    generator = np.random.default_rng(4)
    tables = []
    for moved in (0.0, -10.0):
        spreads = {"warm": 0.5, "dash": 0.5, "sp": 0.5, "wild": 15.0}
        rules = [
            table(generator.normal(80 + (moved if rule == "warm" else 0), spread, size=(1, 10))).assign(rule=rule)
            for rule, spread in spreads.items()
        ]
        tables.append(pd.concat(rules, ignore_index=True))
    assert {one.rule for one in agreement(*tables).differences} == {"warm"}


def test_without_any_spread_a_step_is_chance_and_many_are_not() -> None:
    """All seeds alike in both tables: one picture of a thousand, and half of them."""
    one = np.ones((6, 5))
    one[3:] = 0.999
    near, far = one.copy(), one.copy()
    near[0] -= 0.001
    far[0] -= 0.5
    assert agreement(table(one), table(near)).verdict == "equal"
    found = agreement(table(one).assign(stage=1, rule=np.repeat(list("abcdef"), 5)), other(far))
    assert [one.rule for one in found.differences] == ["a"]


def other(values: Array) -> pd.DataFrame:
    """Its rows as rules of one stage."""
    return table(values).assign(stage=1, rule=np.repeat(list("abcdef"), 5))


def test_where_no_chance_is_each_number_counts() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4))
    rounded, changed = values.copy(), values.copy()
    rounded[1, 2] += 1e-11
    changed[1, 2] += 1e-5
    level_1 = table(values, level="discrete")
    assert agreement(level_1, table(rounded, level="discrete")).verdict == "equal"
    found = agreement(level_1, table(changed, level="discrete"))
    assert (found.verdict, found.exact, found.num_means) == ("different", True, 12)
    (difference,) = found.differences
    assert (difference.stage, difference.seed) == (2, 2)
    assert difference.errors < 1
    one_seed = agreement(table(values[:, :1]), table(values[:, :1] + 0.01))
    assert (one_seed.verdict, one_seed.exact, len(one_seed.differences)) == ("different", True, 3)
    assert all(np.isnan(one.errors) for one in one_seed.differences)


def test_times_are_no_results() -> None:
    values = table(np.random.default_rng(0).normal(size=(3, 3)))
    times = [pd.concat([values, values.assign(metric=name, value=factor)]) for name, factor in TIMES]
    assert agreement(times[0], times[1]).verdict == "identical"


TIMES = [("train_seconds", 1.0), ("train_seconds", 9.0)]


def test_what_one_table_lacks() -> None:
    values = np.random.default_rng(0).normal(size=(4, 5))
    whole, less = table(values), table(values[:3])
    found = agreement(whole, less)
    assert (found.verdict, found.missing, found.further) == ("different", 1, 0)
    assert agreement(less, whole).further == 1
    assert agreement(whole, less, whole=False).verdict == "identical"
    seeds = agreement(whole, table(values[:, :3]))
    assert (seeds.verdict, seeds.num_seeds, seeds.seeds_apart, seeds.num_changed) == ("identical", 3, 2, 0)


@pytest.mark.parametrize("seeds", [1, 3, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_different_from_one(value: float, seeds: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4))
    broken = values.copy()
    broken[1, :seeds] = value
    assert agreement(table(broken), table(broken)).verdict == "identical"
    found = agreement(table(values), table(broken))
    assert [one.stage for one in found.differences] == [2]


REFUSED: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    (lambda one: one.assign(seed=one["seed"] + 10), "new must have numbers of the committed table, got none"),
    (
        lambda one: one[one["seed"] == 0].assign(value=9.0),
        "new must have two seeds of the committed table, got one",
    ),
    (lambda one: one.assign(experiment=["a", "b"] * 6), "new must be of one experiment, got a, b"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_tables_that_say_nothing_about_each_other_are_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame], words: str
) -> None:
    one = table(np.random.default_rng(0).normal(size=(3, 4)))
    with pytest.raises(ValueError, match=words):
        agreement(one, change(one))


def test_coordinates_are_part_of_the_place() -> None:
    values = table(np.random.default_rng(0).normal(size=(2, 5)))
    both = pd.concat([values.assign(lam=0.1), values.assign(lam=np.nan, value=values["value"] + 5)])
    moved = both.assign(value=both["value"].where(both["lam"].isna() | (both["stage"] == 1), 900.0))
    found = agreement(both, moved)
    assert [(one.stage, one.point) for one in found.differences] == [(2, {"lam": "0.1"})]
