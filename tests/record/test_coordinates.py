"""Coordinates of tables: columns that read back to the bit, and that no mean ever runs over."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashtheory.record import (
    check_table,
    concatenate,
    coordinate_names,
    load_table,
    make_table,
    paired_differences,
    save_table,
    stage_rows,
    summarize,
)

RUN = {"level": "deep", "experiment": "e", "rule": "warm", "seed": 0, "stage": 1}


def row(**changes: object) -> dict[str, object]:
    return {**RUN, "metric": "m", "value": 0.5, **changes}


def reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def bits(value: object) -> object:
    return struct.pack("d", value) if isinstance(value, float) and not math.isnan(value) else str(value)


NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | st.none()
WORDS = st.text(min_size=1).filter(lambda text: text.isprintable() and not reads_as_number(text)) | st.none()


@given(
    columns=st.dictionaries(
        st.sampled_from(["alpha", "b_2", "kind", "lam", "stop"]),
        st.lists(NUMBERS, min_size=4, max_size=4) | st.lists(WORDS, min_size=4, max_size=4),
    )
)
def test_coordinates_read_back_to_the_bit(
    columns: dict[str, list[object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    table = make_table(
        row(stage=place, **{name: values[place] for name, values in columns.items()}) for place in range(4)
    )
    known = sorted(name for name, values in columns.items() if any(value is not None for value in values))
    assert list(table.columns) == ["level", "experiment", "rule", "seed", "stage", *known, "metric", "value"]
    save_table(table, path, {})
    loaded, _ = load_table(path)
    pd.testing.assert_frame_equal(loaded, table, check_exact=True)
    for name in known:
        for given_value, found in zip(columns[name], loaded[name], strict=True):
            if given_value is None:
                assert pd.isna(found)
            elif isinstance(given_value, str):
                assert found == given_value
            else:
                assert bits(float(found)) == bits(float(given_value))  # type: ignore[arg-type]
    first = path.read_bytes()
    save_table(loaded[list(loaded.columns)[::-1]], path, {})
    assert path.read_bytes() == first


def test_cells_are_numbers_in_their_shortest_form_words_or_empty(tmp_path: Path) -> None:
    rows = [row(stage=0), row(stage=1, x=20, kind="shared, all"), row(stage=2, x=np.float64(0.1), kind="NA")]
    save_table(make_table(rows), tmp_path / "t.csv", {})
    assert (tmp_path / "t.csv").read_text() == (
        "level,experiment,rule,seed,stage,kind,x,metric,value\n"
        "deep,e,warm,0,0,,,m,0.5\n"
        'deep,e,warm,0,1,"shared, all",20,m,0.5\n'
        "deep,e,warm,0,2,NA,0.1,m,0.5\n"
    )


def test_kinds_are_floats_and_words_wherever_a_table_comes_from() -> None:
    table = make_table([row(x=1, kind="a", text="3"), row(stage=2, x=None, kind="", text="1e-3")])
    assert table["x"].dtype == np.float64
    assert table["text"].tolist() == [3.0, 0.001]
    assert table["kind"].isna().tolist() == [False, True]
    assert [type(value) for value in table["kind"].dropna()] == [str]
    pd.testing.assert_frame_equal(check_table(table, "t"), table)


def test_a_column_in_which_no_row_has_a_coordinate_is_none() -> None:
    table = make_table([row(), row(neuron=3, metric="cosine")])
    stages = table[table["neuron"].isna()]
    assert coordinate_names(table) == ["neuron"]
    assert coordinate_names(stages) == []
    assert check_table(stages, "t").columns.tolist() == make_table([row()]).columns.tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Extra column": 1}, "must call its further columns, the coordinates, by words.* got 'Extra column'"),
        ({"Unnamed: 0": 1}, "got 'Unnamed: 0'"),
        ({"mean": 1}, "got 'mean'"),
        ({"x": [1]}, r"must have numbers or words in column x, got \[1\]"),
        ({"x": True}, "must have numbers or words in column x, got True"),
        ({"x": "nan"}, "must have numbers or words in column x, got 'nan'"),
        ({"x": "two\nlines"}, "must have numbers or words in column x, got 'two"),
    ],
)
def test_what_is_no_coordinate_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        make_table([row(), row(stage=2, **changes)])
    assert "\n" not in str(raised.value)


def test_numbers_and_words_in_one_column_are_refused() -> None:
    message = "numbers or words in column x, not both, got 'linear' and 3"
    with pytest.raises(ValueError, match=message):
        make_table([row(x=3), row(x="linear")])
    with pytest.raises(ValueError, match=message):
        concatenate([make_table([row(x=3)]), make_table([row(x="linear")])])


def test_two_points_are_two_values_and_one_point_twice_is_refused() -> None:
    assert len(make_table([row(), row(x=1), row(x=2), row(x=2, kind="a")])) == 4
    with pytest.raises(ValueError, match=r"got m of warm, seed 0, stage 1 at kind a, x 2 twice"):
        make_table([row(), row(x=2, kind="a", value=0.1), row(x=2, kind="a", value=0.2)])


def test_rows_of_a_stage_have_its_coordinates_and_never_lose_a_column_to_them() -> None:
    made = stage_rows(**RUN, metrics={"b": 1, "a": 2}, coordinates={"lam": 0.3})  # type: ignore[arg-type]
    assert made == [row(lam=0.3, metric="b", value=1.0), row(lam=0.3, metric="a", value=2.0)]
    assert stage_rows(**RUN, metrics={"m": 0.5}) == [row()]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"coordinates must have other names than .*, got rule, seed"):
        stage_rows(**RUN, metrics={"m": 1}, coordinates={"seed": 1, "rule": "x", "lam": 1})  # type: ignore[arg-type]


def test_concatenation_sorts_by_coordinates_and_fills_with_nothing() -> None:
    parts = [
        make_table([row(rule=rule, seed=seed, metric=metric, **point) for metric in "za"])
        for point in ({"x": 100}, {"x": 20}, {}, {"kind": "b"}, {"kind": "a", "x": 5})
        for rule in ("warm", "cold")
        for seed in (1, 0)
    ]
    together = concatenate(parts)
    pd.testing.assert_frame_equal(together, concatenate(parts[::-1]))
    pd.testing.assert_frame_equal(together, check_table(together, "t"))
    assert together["metric"].tolist() == ["z", "a"] * 20
    points = together[["kind", "x"]].fillna({"kind": "", "x": -1}).drop_duplicates().to_numpy().tolist()
    assert points == [["", -1], ["", 20], ["", 100], ["a", 5], ["b", -1]]
    assert together["rule"].tolist()[:8] == ["cold"] * 4 + ["warm"] * 4


POINTS = st.lists(
    st.tuples(st.sampled_from([None, 0.0, 0.5, 3.0]), st.sampled_from([None, "a", "b"])),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(POINTS, st.integers(1, 3))
def test_a_summary_averages_over_seeds_alone(points: list[tuple[float | None, str | None]], seeds: int) -> None:
    values = {point: [10.0 * place + seed for seed in range(seeds)] for place, point in enumerate(points)}
    table = make_table(
        row(rule=rule, seed=seed, x=x, kind=kind, value=value)
        for rule in ("warm", "cold")
        for (x, kind), of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    )
    found = summarize(table, "m", "range")
    assert len(found) == 2 * len(points)
    assert (found["n"] == seeds).all()
    names = coordinate_names(table)
    assert list(found.columns) == [*names, "rule", "stage", "mean", "low", "high", "n"]
    for _, one in found.iterrows():
        point = tuple(None if name not in names or pd.isna(one[name]) else one[name] for name in ("x", "kind"))
        assert (one["low"], one["high"]) == (values[point][0], values[point][-1])  # type: ignore[index]
        assert one["mean"] == math.fsum(values[point]) / seeds  # type: ignore[index]


def test_coordinates_of_other_metrics_do_not_show_in_a_summary() -> None:
    table = make_table([row(), row(metric="cosine", neuron=0), row(metric="cosine", neuron=1, value=0.7)])
    assert summarize(table, "m").columns.tolist() == ["rule", "stage", "mean", "low", "high", "n"]
    assert summarize(table, "cosine")["mean"].tolist() == [0.5, 0.7]


def test_a_summary_of_two_experiments_is_refused() -> None:
    table = make_table([row(), row(experiment="f")])
    with pytest.raises(
        ValueError, match=r"one m per rule, stage, seed and point, got several \(experiment e, f\)"
    ):
        summarize(table, "m")


def lams(**changes: object) -> pd.DataFrame:
    """Rules at two values of lam, of which the second has one stage more."""
    return make_table(
        row(rule=rule, seed=seed, stage=stage, lam=lam, value=value + seed + 10 * stage, **changes)
        for lam, rule, value in ((0.3, "cold", 0.0), (0.3, "dash", 1.0), (0.05, "cold", 0.0), (0.05, "dash", 3.0))
        for seed in (0, 1)
        for stage in ((1, 2) if lam == 0.05 else (1,))
    )


def test_rules_are_paired_at_each_point_by_itself() -> None:
    found = paired_differences(lams(), "m", "cold")
    columns = ["lam", "rule", "mean", "low", "high", "p", "n", "positive", "differences"]
    assert found.columns.tolist() == columns
    assert found["lam"].tolist() == [0.05, 0.3]
    assert found["differences"].tolist() == [(3.0, 3.0), (1.0, 1.0)]
    for lam, one in lams().groupby("lam"):
        alone = paired_differences(one.drop(columns="lam"), "m", "cold")
        pd.testing.assert_frame_equal(
            found[found["lam"] == lam].drop(columns="lam").reset_index(drop=True), alone, check_exact=True
        )


def test_a_point_that_cannot_be_paired_is_named() -> None:
    table = lams(kind="a")
    gap = table[(table["lam"] != 0.3) | (table["rule"] != "dash") | (table["seed"] != 1)]
    with pytest.raises(ValueError, match=r"must have m for every rule and seed at kind a, lam 0.3, got gaps"):
        paired_differences(gap, "m", "cold")
    with pytest.raises(ValueError, match=r"reference must be one of dash at kind a, lam 0.3, got 'cold'"):
        paired_differences(table[(table["lam"] != 0.3) | (table["rule"] != "cold")], "m", "cold")
    apart = make_table([row(rule="cold"), row(rule="dash", lam=0.3)])
    with pytest.raises(ValueError, match=r"reference must be one of dash at lam 0.3, got 'cold'"):
        paired_differences(apart, "m", "cold")


def test_a_table_with_coordinates_in_the_name_of_the_experiment_is_refused(tmp_path: Path) -> None:
    save_table(make_table([row(experiment="e[lam=0.3]")]), tmp_path / "t.csv", {})
    with pytest.raises(ValueError, match=r"must have coordinates as columns.* got 'e\[lam=0.3\]'"):
        load_table(tmp_path / "t.csv")
