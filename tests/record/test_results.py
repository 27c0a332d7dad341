"""Results grow run by run; a run is known by its setting, data, code and versions, and by nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashtheory.parallel import Job
from dashtheory.record import (
    COMPLETE,
    DEVICE,
    Results,
    concatenate,
    load_results,
    make_table,
    run_name,
    stage_rows,
    versions,
)
from dashtheory.record.results import identity_of
from tests.toys import ToyConfig, run_line

DATA: dict[str, Any] = {"data": {"name": "digits", "sha256": "abc"}, "mean": [1.0, float("inf")]}
IDENTITY = {"setting": "s", "data": "d", "code": "c", "own": "", "versions": "v"}


def table_of(rule: str, seed: int, stages: int = 3, *, of: int = 3, device: str = "cpu") -> pd.DataFrame:
    """Numbers that are different everywhere.

    Args:
        rule: of all rows.
        seed: of all rows.
        stages: how many.
        device: that computed.
        of: stages of the whole run.
    """
    made = make_table(
        row
        for stage in range(1, stages + 1)
        for row in stage_rows(
            level="deep",
            experiment="toy",
            rule=rule,
            seed=seed,
            stage=stage,
            metrics={"steps": 1 + seed + 10 * stage + len(rule) ** 2, "accuracy": seed / (7 + stage)},
        )
    )
    made.attrs |= {COMPLETE: stages == of, DEVICE: device}
    return made


def grown(*runs: tuple[str, int, int]) -> Results:
    results = Results(name="toy", config={"model": "mlp"}, data=DATA)
    for rule, seed, stages in runs:
        results = results.with_run(
            run_name(rule, seed), table_of(rule, seed, stages), identity=IDENTITY, seconds=10.0
        )
    return results


def test_a_run_is_added_beside_the_others() -> None:
    runs = (("warm", 1, 3), ("cold", 0, 3), ("warm", 0, 2))
    results = grown(*runs)
    assert results.table is not None
    rows = results.table.drop_duplicates(["rule", "seed"])[["rule", "seed"]]
    assert rows.to_numpy().tolist() == [["cold", 0], ["warm", 0], ["warm", 1]]  # sorted, whichever came first
    other = grown(*runs[::-1]).table
    assert other is not None
    pd.testing.assert_frame_equal(results.table, other, check_exact=True)
    for rule, seed, stages in runs:
        ours = results.table[(results.table["rule"] == rule) & (results.table["seed"] == seed)]
        pd.testing.assert_frame_equal(ours.reset_index(drop=True), table_of(rule, seed, stages))
    assert {name: (facts["stages"], facts["complete"]) for name, facts in results.runs.items()} == {
        "warm-seed1": (3, True),
        "cold-seed0": (3, True),
        "warm-seed0": (2, False),
    }
    assert results.num_stages == 8
    whole = [results.reached(name) for name in ("warm-seed1", "warm-seed0", "sp-seed0")]
    assert whole == [True, False, False]
    assert [results.reached("warm-seed0", stages) for stages in (1, 2, 3)] == [True, True, False]
    assert results.reached("cold-seed0", 9)  # there are no more


def test_a_run_that_went_on_takes_the_place_of_its_part() -> None:
    results = grown(("warm", 0, 1), ("cold", 0, 3), ("warm", 0, 2), ("warm", 0, 3))
    assert results.table is not None
    assert len(results.table) == 2 * 3 * 2
    assert results.runs["warm-seed0"]["complete"] is True
    assert results.runs["warm-seed0"]["seconds"] == 30.0  # of three calls
    assert results.runs["cold-seed0"]["seconds"] == 10.0
    again = results.with_run("warm-seed0", table_of("warm", 0), identity=IDENTITY, seconds=1.2346)
    assert again.runs["warm-seed0"]["seconds"] == 1.235  # a complete run that was made anew


def test_a_run_without_a_stage_changes_nothing() -> None:
    results = grown(("cold", 0, 2))
    nothing = table_of("warm", 0).iloc[:0]
    assert results.with_run("warm-seed0", nothing, identity=IDENTITY, seconds=5.0) is results
    empty = grown()
    assert empty.table is None
    assert not empty.runs


def test_each_run_says_how_it_was_made() -> None:
    facts = grown(("cold", 0, 3)).runs["cold-seed0"]
    assert facts["identity"] == IDENTITY
    assert facts["versions"] == versions()
    assert facts["machine"]["device"] == "cpu"
    assert str(facts["finished"]).endswith("+00:00")
    on_gpu = table_of("cold", 0, device="NVIDIA X")
    results = grown().with_run("cold-seed0", on_gpu, identity=IDENTITY, seconds=1.0)
    assert results.runs["cold-seed0"]["machine"]["device"] == "NVIDIA X"
    silent = on_gpu.copy()
    silent.attrs = {}  # a table that says nothing of itself
    results = grown().with_run("cold-seed0", silent, identity=IDENTITY, seconds=1.0)
    assert results.reached("cold-seed0")
    assert results.runs["cold-seed0"]["machine"]["device"] == "cpu"


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    results, path = grown(("warm", 0, 2), ("cold", 1, 3), ("warm", 1, 3)), tmp_path / "deep" / "toy.csv"
    grown().save(path)
    assert not path.parent.exists()
    results.save(path, {"note": 1})
    assert sorted(one.name for one in path.parent.iterdir()) == ["toy.csv", "toy.json"]
    read = load_results(path)
    assert results.table is not None
    assert read.table is not None
    pd.testing.assert_frame_equal(read.table, results.table, check_exact=True)
    for name in ("warm-seed0", "cold-seed1", "warm-seed1"):
        pd.testing.assert_frame_equal(read.tables[name], results.tables[name], check_exact=True)
    assert (read.name, dict(read.config), dict(read.runs)) == (results.name, results.config, results.runs)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert (facts["experiment"], facts["config"], facts["note"]) == ("toy", {"model": "mlp"}, 1)
    assert facts["data"] == {"data": {"name": "digits", "sha256": "abc"}, "mean": [1.0, "inf"]}
    assert set(facts["runs"]["cold-seed1"]) == {
        *("stages", "complete", "seconds", "machine", "versions", "identity", "finished", "rows")
    }
    assert facts["runs"]["cold-seed1"]["rows"] == [[0, 6]]


def test_rows_of_one_run_may_lie_apart(tmp_path: Path) -> None:
    """One job may hold several rules: sorted by rule, its rows are not beside each other."""
    both = {seed: pd.concat([table_of("warm", seed), table_of("cold", seed)]) for seed in (0, 1)}
    results = Results(name="toy", config={})
    for seed, table in both.items():
        results = results.with_run(f"seed{seed}", table, identity=IDENTITY, seconds=1.0)
    results.save(tmp_path / "toy.csv")
    read = load_results(tmp_path / "toy.csv")
    for seed, table in both.items():
        expected = table.sort_values("rule", kind="stable").reset_index(drop=True)
        pd.testing.assert_frame_equal(read.tables[f"seed{seed}"], expected, check_exact=True)


def test_every_run_has_its_rows_again_where_points_lie_between_them(tmp_path: Path) -> None:
    """A job per seed, one per rule and one with points of its own: the table of all is sorted otherwise."""

    def points(seed: int, rule: str, name: str, values: tuple[float, ...]) -> list[dict[str, object]]:
        return [
            row
            for value in values
            for row in stage_rows(
                level="deep",
                experiment="toy",
                rule=rule,
                seed=seed,
                stage=1,
                metrics={"steps": seed + value, "accuracy": 1 / (1 + seed + value)},
                coordinates={name: value} if name else None,
            )
        ]

    tables = {
        "b-seed0": make_table(points(0, "warm", "lam", (0.3, 0.1)) + points(0, "cold", "lam", (0.2,))),
        "a-seed1": make_table(points(1, "warm", "lam", (0.2, 0.1)) + points(1, "cold", "", (0.0,))),
        "c": make_table(points(2, "dash", "alpha", (0.5,)) + points(2, "cold", "lam", (0.2,))),
    }
    results = Results(name="toy", config={})
    for name, table in tables.items():
        results = results.with_run(name, table, identity=IDENTITY, seconds=1.0)
    results.save(tmp_path / "toy.csv")
    read = load_results(tmp_path / "toy.csv")
    for name, table in tables.items():
        pd.testing.assert_frame_equal(read.tables[name], concatenate([table]), check_exact=True)
    read.save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "toy.csv").read_bytes()


def test_of_two_the_others_runs_win_and_only_keeps_what_is_there() -> None:
    first, more = grown(("warm", 0, 1), ("cold", 0, 3)), grown(("warm", 0, 3), ("sp", 0, 3))
    both = first.joined(more)
    assert set(both.runs) == {"warm-seed0", "cold-seed0", "sp-seed0"}
    assert both.runs["warm-seed0"]["stages"] == 3
    part = both.only(["sp-seed0", "reset-seed0", "warm-seed0"])
    assert list(part.runs) == list(part.tables) == ["sp-seed0", "warm-seed0"]
    assert set(first.runs) == {"warm-seed0", "cold-seed0"}


# --- what a run is known by -------------------------------------------------------------------------------------


def job(**changed: Any) -> Job:
    arguments: dict[str, Any] = {"config": ToyConfig(), "rule": "warm", "seed": 0, **changed}
    return Job(name="warm-0", function=run_line, arguments=arguments)


@pytest.mark.parametrize(
    ("changed", "data", "words"),
    [
        ({}, DATA, ""),
        ({"config": ToyConfig(slope=3.0)}, DATA, "another setting"),
        ({"seed": 1}, DATA, "another setting"),
        ({}, {"data": {"name": "digits", "sha256": "abd"}}, "other data"),
        ({}, {}, "other data"),
        ({"seed": 1}, {}, "another setting and other data"),
        ({}, {**DATA, "mean": [2.0], "std": [1.0]}, ""),  # computed from the data, whose hash is the same
        ({"experiment": "another", "num_stages": 3, "deadline": 5.0, "device": "cuda:1"}, DATA, ""),
    ],
)
def test_a_run_stands_for_one_of_the_same_setting_and_data_alone(
    changed: dict[str, Any], data: dict[str, Any], words: str
) -> None:
    results = grown().with_run("warm-0", table_of("warm", 0), identity=identity_of(job(), DATA), seconds=1.0)
    assert results.misfit("warm-0", identity_of(job(**changed), data)) == words
    assert not results.misfit("warm-0", identity_of(job(**changed), data), ("setting", "data"))


def test_a_run_stands_for_one_of_the_same_code_and_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def network(): pass\n")
    own, known = job(rule=f"python:{mine}:network"), versions()
    before = {one.name: identity_of(one, DATA) for one in (job(),)} | {"own": identity_of(own, DATA)}
    results = grown()
    for name, identity in before.items():
        results = results.with_run(name, table_of("warm", 0), identity=identity, seconds=1.0)
    with monkeypatch.context() as patch:
        patch.setattr("dashtheory.record.results.code_of", lambda module: "another")
        assert results.misfit("warm-0", identity_of(job(), DATA)) == "another version of the code"
        assert not results.misfit("warm-0", identity_of(job(), DATA), ("code",))
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["dashtheory.record.provenance"], "_versions", lambda: {**known, "torch": "0.0"})
        assert results.misfit("warm-0", identity_of(job(), DATA)) == "other versions of the libraries"
    with monkeypatch.context() as patch:  # of the package the code counts, not what it is called
        patch.setattr(
            sys.modules["dashtheory.record.provenance"], "_versions", lambda: {**known, "dashtheory": "99"}
        )
        assert not results.misfit("warm-0", identity_of(job(), DATA))
    assert not results.misfit("own", identity_of(own, DATA))
    mine.write_text("def network(): return 3\n")
    assert results.misfit("own", identity_of(own, DATA)) == "another version of your own code"
    assert not results.misfit("warm-0", identity_of(job(), DATA))


# --- files ------------------------------------------------------------------------------------------------------


def of_run(**changed: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Change what is known of the one run."""
    return lambda facts: {"runs": {"cold-seed0": {**facts["runs"]["cold-seed0"], **changed}}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"experiment": 3}, "results must hold runs"),
        ({"runs": []}, "results must hold runs"),
        ({"config": None}, "results must hold runs"),
        ({"data": "digits"}, "results must hold runs"),
        (
            {"runs": {"cold-seed0": {"stages": 3}}},
            "results must tell complete, identity, machine, rows, s",
        ),
        ({"runs": {"cold-seed0": 1}}, "results must tell complete"),
        (of_run(identity="x"), "results must tell what every run is known by, and its stages"),
        (of_run(stages="x"), "results must tell what every run is known by, and its stages"),
        (of_run(rows=[]), "results must say of every row whose it is"),
        (of_run(rows=[[0, 5]]), "results must say of every row whose it is"),
        (of_run(rows=[[0, 6], [2, 3]]), "results must say of every row whose it is"),
        (of_run(rows=[[0, 7]]), "results must say of every row whose it is"),
        (of_run(rows="all"), "results must say of every row whose it is"),
        (of_run(rows=[[0], 6]), "results must say of every row whose it is"),
        (of_run(rows=[[0, "6"]]), "results must say of every row whose it is"),
        ({"runs": {}}, "results must say of every row whose it is"),
        ({"experiment": "other"}, "results must be in a file called other"),
        ({"table_sha256": "0"}, "table must be the one its .json describes"),
        ({"format": "dashtheory table 0"}, "provenance must be of format"),
    ],
)
def test_what_is_not_a_pair_of_results_is_refused(changed: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    grown(("cold", 0, 3)).save(path)
    assert load_results(path, "toy").name == "toy"
    facts = json.loads(path.with_suffix(".json").read_text())
    damage = changed(facts) if callable(changed) else changed
    path.with_suffix(".json").write_text(json.dumps({**facts, **damage}))
    with pytest.raises(ValueError, match=message) as caught:
        load_results(path, "toy")
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    grown(("cold", 0, 3)).save(path)
    text = path.read_text()
    path.write_text(text.replace("cold", "warm", 1))
    with pytest.raises(ValueError, match="table must be the one"):
        load_results(path)
    path.write_text(text)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="provenance must be readable"):
        load_results(path)


def test_a_run_with_stages_left_out_has_reached_those_that_it_holds() -> None:
    table = table_of("cold", 0)
    table = table[table["stage"] != 2]
    table.attrs = {COMPLETE: False}
    results = grown().with_run("cold-seed0", table, identity=IDENTITY, seconds=1.0)
    assert results.num_stages == 2
    assert results.reached("cold-seed0", 3, (1, 3))
    assert not results.reached("cold-seed0", 3, (2, 3))
    assert results.reached("cold-seed0", 1)
    assert not results.reached("cold-seed0", 3)
    assert not results.reached("cold-seed0")
