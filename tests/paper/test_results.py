"""Results grow run by run, are of one setting, and are summed up as by hand."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashtheory.paper import QUANTITIES, per_run, summarize_runs
from dashtheory.record import Results, Run, code_fingerprint, load_results, versions
from dashtheory.record.results import results_for, setting_of
from tests.paper.toys import made_table, toy

DATA: dict[str, Any] = {"data": {"name": "digits", "sha256": "abc"}, "mean": [1.0, float("inf")]}


def number(rule: str, seed: int, stage: int, metric: str) -> float:
    """Any number, different everywhere."""
    return (1 + seed + 10 * stage + len(rule) ** 2) / (1000 if metric == "test_accuracy" else 1)


def table_of(rule: str, seed: int, stages: int = 3) -> pd.DataFrame:
    return made_table(number, (rule,), (seed,), stages)


def grown(*runs: tuple[str, int, int]) -> Results:
    results = Results(name="toy", config=setting_of(toy()), data=DATA)
    for rule, seed, stages in runs:
        run = Run(rule=rule, seed=seed)
        results = results.with_run(run, table_of(rule, seed, stages), seconds=10.0, device="cpu")
    return results


def test_a_run_is_added_beside_the_others() -> None:
    results = grown(("warm", 1, 3), ("cold", 0, 3), ("warm", 0, 2))
    assert results.table is not None
    rows = results.table.drop_duplicates(["rule", "seed"])[["rule", "seed"]]
    assert rows.to_numpy().tolist() == [["cold", 0], ["warm", 0], ["warm", 1]]  # sorted, whichever came first
    for rule, seed, stages in (("warm", 1, 3), ("cold", 0, 3), ("warm", 0, 2)):
        ours = results.table[(results.table["rule"] == rule) & (results.table["seed"] == seed)]
        pd.testing.assert_frame_equal(ours.reset_index(drop=True), table_of(rule, seed, stages))
    assert results.complete == {Run(rule="warm", seed=1), Run(rule="cold", seed=0)}
    assert {name: facts["stages"] for name, facts in results.runs.items()} == {
        "warm-seed1": 3,
        "cold-seed0": 3,
        "warm-seed0": 2,
    }


def test_a_run_that_went_on_takes_the_place_of_its_part() -> None:
    results = grown(("warm", 0, 1), ("cold", 0, 3), ("warm", 0, 2), ("warm", 0, 3))
    assert results.table is not None
    assert len(results.table) == 2 * 3 * 2
    assert results.runs["warm-seed0"]["complete"] is True
    assert results.runs["warm-seed0"]["seconds"] == 30.0  # of three calls
    assert results.runs["cold-seed0"]["seconds"] == 10.0
    again = results.with_run(Run(rule="warm", seed=0), table_of("warm", 0), seconds=1.26, device="cpu")
    assert again.runs["warm-seed0"]["seconds"] == 1.3  # a complete run that was made anew


def test_a_run_without_a_stage_changes_nothing() -> None:
    results = grown(("cold", 0, 2))
    assert results.with_run(Run(rule="warm", seed=0), table_of("warm", 0, 0), seconds=5.0, device="cpu") is results
    empty = grown()
    assert empty.table is None
    assert empty.complete == set()


def test_each_run_says_how_it_was_made() -> None:
    facts = grown(("cold", 0, 3)).runs["cold-seed0"]
    assert facts["code"] == code_fingerprint()
    assert facts["versions"] == versions()
    assert facts["machine"]["device"] == "cpu"  # type: ignore[index]
    assert str(facts["finished"]).endswith("+00:00")
    assert (facts["rule"], facts["seed"]) == ("cold", 0)
    on_gpu = grown().with_run(Run(rule="cold", seed=0), table_of("cold", 0), seconds=1.0, device="NVIDIA X")
    assert on_gpu.runs["cold-seed0"]["machine"]["device"] == "NVIDIA X"  # type: ignore[index]


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    results, path = grown(("warm", 0, 2), ("cold", 1, 3)), tmp_path / "deep" / "toy.csv"
    grown().save(path)
    assert not path.parent.exists()
    results.save(path)
    assert sorted(one.name for one in path.parent.iterdir()) == ["toy.csv", "toy.json"]
    read = load_results(path)
    assert results.table is not None
    assert read.table is not None
    pd.testing.assert_frame_equal(read.table, results.table, check_exact=True)
    assert (read.name, dict(read.config), dict(read.runs)) == (results.name, results.config, results.runs)
    assert read.complete == results.complete
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["experiment"] == "toy"
    assert facts["config"]["model"] == "mlp"
    assert "rules" not in facts["config"]
    assert facts["data"] == {"data": {"name": "digits", "sha256": "abc"}, "mean": [1.0, "inf"]}
    assert list(facts["runs"]) == ["cold-seed1", "warm-seed0"]
    assert set(facts["runs"]["cold-seed1"]) == {
        *("rule", "seed", "stages", "complete", "seconds", "machine", "versions", "code", "finished")
    }


def test_results_go_on_for_the_same_setting_and_data_alone(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    assert results_for(path, "toy", toy(), DATA).table is None
    grown(("cold", 0, 3)).save(path)
    other_rules = toy(rules=("warm",))
    assert results_for(path, "toy", other_rules, DATA).complete == {Run(rule="cold", seed=0)}
    same_hash = {**DATA, "mean": [2.0]}
    assert results_for(path, "toy", toy(), same_hash).table is not None
    for config, data in (
        (toy(batch_size=35), DATA),
        (toy(label_noise=0.1), DATA),
        (toy(), {"data": {"name": "digits", "sha256": "abd"}}),
        (toy(), {}),
    ):
        with pytest.raises(ValueError, match="--out must hold results of the same setting and data") as caught:
            results_for(path, "toy", config, data)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"experiment": 3}, "results must be of a preset"),
        ({"runs": []}, "results must be of a preset"),
        ({"config": None}, "results must be of a preset"),
        ({"data": "digits"}, "results must be of a preset"),
        ({"runs": {"cold-seed0": {"rule": "cold"}}}, "results must tell complete, machine, rule, seconds, seed"),
        ({"runs": {"cold-seed0": 1}}, "results must tell complete"),
        ({"experiment": "other"}, "results must be in a file called other"),
        ({"table_sha256": "0"}, "table must be the one its .json describes"),
        ({"format": "dashtheory table 0"}, "provenance must be of format"),
    ],
)
def test_what_is_not_a_pair_of_results_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    grown(("cold", 0, 3)).save(path)
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**facts, **changed}))
    with pytest.raises(ValueError, match=message) as caught:
        load_results(path)
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    grown(("cold", 0, 3)).save(path)
    text = path.read_text()
    path.write_text(text.replace("cold", "warm", 1))
    with pytest.raises(ValueError, match="table must be the one"):
        results_for(path, "toy", toy(), DATA)
    path.write_text(text)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="provenance must be readable"):
        load_results(path)


# --- summaries --------------------------------------------------------------------------------------------------


def naive(table: pd.DataFrame, rule: str, seeds: list[int], stages: int) -> dict[str, float]:
    """Means and standard deviations with nothing but loops."""
    rows = [tuple(row) for row in table[["rule", "seed", "stage", "metric", "value"]].itertuples(index=False)]
    values: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    for seed in seeds:
        for metric, word in (("test_accuracy", "accuracy"), ("steps", "steps")):
            course = {row[2]: row[4] for row in rows if row[:2] == (rule, seed) and row[3] == metric}
            values[f"last_{word}"].append(course[stages])
            values[f"mean_{word}"].append(sum(course.values()) / len(course))
    found: dict[str, float] = {"n": len(seeds)}
    for name, several in values.items():
        found[name] = sum(several) / len(several)
        found[f"{name}_sd"] = statistics.stdev(several) if len(several) > 1 else math.nan
    return found


def test_a_summary_is_the_naive_one() -> None:
    table = pd.concat(
        [
            made_table(lambda rule, seed, stage, metric: number(rule, seed**2, stage**2, metric), ("warm",)),
            made_table(number, ("dash:lam=0.05",), (4,)),
            made_table(number, ("cold",), (0, 1)),
            made_table(number, ("cold",), (2,), stages=2),  # not finished
            made_table(number, ("sp",), (0,), stages=1),
        ]
    ).iloc[::-1]
    found = summarize_runs(table, 3)
    assert list(found.index) == ["cold", "dash:lam=0.05", "warm"]  # as they appear
    assert list(found.columns) == ["n", *(part for name in QUANTITIES for part in (name, f"{name}_sd"))]
    for rule, seeds in (("warm", [0, 1, 2]), ("cold", [0, 1]), ("dash:lam=0.05", [4])):
        assert found.loc[rule].to_dict() == pytest.approx(naive(table, rule, seeds, 3), nan_ok=True)
    runs = per_run(table, 3)
    assert set(runs.index) == {
        ("warm", 0),
        ("warm", 1),
        ("warm", 2),
        ("cold", 0),
        ("cold", 1),
        ("dash:lam=0.05", 4),
    }
    for rule, seed in runs.index:
        one = naive(table, rule, [seed], 3)
        assert runs.loc[(rule, seed)].to_dict() == pytest.approx({name: one[name] for name in QUANTITIES})


def test_one_seed_has_no_spread() -> None:
    found = summarize_runs(made_table(number, ("cold",), (0,)), 3)
    assert found[[f"{name}_sd" for name in QUANTITIES]].isna().all(axis=None)
    assert not found[list(QUANTITIES)].isna().any(axis=None)


def test_without_a_whole_run_there_is_no_row() -> None:
    for table in (made_table(number, stages=2), made_table(number).iloc[:0]):
        found = summarize_runs(table, 3)
        assert found.empty
        assert list(found.columns)[:3] == ["n", "last_accuracy", "last_accuracy_sd"]
        assert per_run(table, 3).empty


def test_gaps_and_bad_numbers_are_refused() -> None:
    table = made_table(number)
    with pytest.raises(ValueError, match="num_stages must be >= 1, got 0"):
        summarize_runs(table, 0)
    gap = table[(table["stage"] != 2) | (table["metric"] != "steps") | (table["seed"] != 1)]
    with pytest.raises(ValueError, match="table must have steps for each of 3 stages, got 2"):
        summarize_runs(gap, 3)
    with pytest.raises(ValueError, match="table must have test_accuracy for each of 2 stages, got 3"):
        summarize_runs(table, 2)
