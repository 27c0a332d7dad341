"""The benchmarks measure equal work: the numpy baseline is right, and the script writes a complete record."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import benchmarks.claims as claims
import benchmarks.discrete as bench
import benchmarks.theory as theory
from benchmarks.baselines import simulate_with_numpy
from dashtheory.discrete import DISCRETE_RULES, simulate
from tests.oracles.discrete import simulate_with_sets


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.integers(1, 4)),
    gamma=st.integers(1, 8) | st.floats(0.5, 8),
    tau=st.integers(1, 4),
    rule=st.sampled_from(DISCRETE_RULES),
)
@settings(max_examples=200)
def test_plain_numpy_equals_the_oracle(
    seed: int, shape: tuple[int, int, int, int], gamma: float, tau: int, rule: str
) -> None:
    num_classes, num_features, per_class_chunk_size, num_stages = shape
    features = (
        np.random.default_rng(seed).random((num_classes, num_features, per_class_chunk_size * num_stages)) < 0.5
    )
    before = features.copy()
    run = simulate_with_numpy(features, per_class_chunk_size, gamma=gamma, tau=tau, rule=rule)
    expected = simulate_with_sets(features, per_class_chunk_size, gamma=gamma, tau=tau, rule=rule)
    assert run.rule == rule
    np.testing.assert_array_equal(features, before)
    np.testing.assert_array_equal(run.learned, expected.learned)
    np.testing.assert_array_equal(run.memorized, expected.memorized)
    np.testing.assert_array_equal(run.active_at_start, expected.active_at_start)
    assert [stage.tolist() for stage in run.order] == [stage.tolist() for stage in expected.order]


@pytest.mark.parametrize("part", ["learned", "memorized", "active_at_start", "order"])
def test_contenders_that_differ_are_not_timed(part: str) -> None:
    features = np.random.default_rng(0).random((2, 4, 20)) < 0.5
    run = simulate(features, 10, gamma=3, tau=2)
    bench.require_equal([run], [replace(run)], "a copy")
    reversed_order = tuple(stage[::-1] for stage in run.order)
    changed = reversed_order if part == "order" else np.flip(getattr(run, part), axis=0)
    changes: dict[str, Any] = {part: changed}
    with pytest.raises(RuntimeError, match="a changed copy and ours differ"):
        bench.require_equal([run], [replace(run, **changes)], "a changed copy")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What `python -m benchmarks.discrete --quick` writes, without the compilation in a fresh process."""
    out = tmp_path_factory.mktemp("bench") / "new" / "folder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "measure_compilation", lambda: 1.5)
        bench.main(["--quick", "--out", str(out)])
    assert [path.name for path in out.iterdir()] == ["discrete.json"]
    text = (out / "discrete.json").read_text()
    assert str(Path.home()) not in text
    assert str(bench.ROOT) not in text
    loaded: dict[str, object] = json.loads(text)
    return loaded


def test_a_quick_record_has_all_parts(record: dict[str, object]) -> None:
    parts = {"quick", "date", "machine", "versions", "compilation_seconds", "measurements", "big_run"}
    assert set(record) == parts
    assert record["quick"] is True
    assert record["compilation_seconds"] == 1.5


def test_times_are_positive_and_ratios_are_of_medians_on_the_same_work(record: dict[str, object]) -> None:
    rows = record["measurements"]
    assert isinstance(rows, list)
    names = ["ours, data given", "ours, sampling + accuracy", "ours", "plain numpy", "ours", "naive oracle"]
    assert [row["name"] for row in rows] == names
    for row in rows:
        assert 0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
    for ours, other in (rows[2:4], rows[4:6]):
        assert ours["setting"] == other["setting"]
        assert other["ratio_to_ours"] == pytest.approx(other["seconds_median"] / ours["seconds_median"])
        assert ours["ratio_to_ours"] is None


def test_the_big_run_reports_its_samples_and_memory(record: dict[str, object]) -> None:
    big = record["big_run"]
    assert isinstance(big, dict)
    assert big["num_samples_all_classes"] == 2 * 1000 * 3
    assert big["seconds_total"] == big["seconds_sampling"] + big["seconds_simulation"]
    assert 0.02 < big["peak_memory_gib"] < 3  # an interpreter with numpy alone takes more than 20 MiB
    assert big["num_learned_last"] > 0


def test_the_first_call_is_timed_in_an_interpreter_of_its_own() -> None:
    assert 0 < bench.in_fresh_process("first-call", quick=True)["seconds"] < 60


def test_repeats_are_as_many_as_asked() -> None:
    calls: list[int] = []
    seconds = bench.repeated(lambda: calls.append(1), 4)
    assert len(calls) == len(seconds) == 4
    assert statistics.median(seconds) >= 0


def test_an_unwritable_folder_ends_in_one_line_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        bench.main(["--quick", "--out", str(tmp_path / "file")])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "--out must be a folder that can be written" in told


def test_a_batch_that_differs_is_not_timed() -> None:
    work = theory.QUICK.batch
    batch = theory.in_one_batch(work, every_stage=True, num_threads=1)
    theory.require_equal(work, batch)
    changed = batch.learned.copy()
    changed[-1, 2, -1, 1, 0] ^= True
    with pytest.raises(RuntimeError, match="a batch and simulate differ"):
        theory.require_equal(work, replace(batch, learned=changed))


def test_the_other_benchmarks_write_their_records(tmp_path: Path) -> None:
    for module, name in ((theory, "theory"), (claims, "claims")):
        module.main(["--quick", "--out", str(tmp_path)])
        saved = json.loads((tmp_path / f"{name}.json").read_text())
        assert saved["quick"] is True
        assert set(saved["versions"]) == {"python", "numpy", "numba", "dashtheory"}
        assert str(bench.ROOT) not in (tmp_path / f"{name}.json").read_text()
    timed = json.loads((tmp_path / "theory.json").read_text())
    for part in ("batch", "limit", "large", "creep"):
        first = timed[part][0]["seconds_median"]
        for row in timed[part]:
            assert 0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
            assert row["ratio_to_first"] == row["seconds_median"] / first
            rate = row["work"]["num_simulations"] / row["seconds_median"]
            assert row["simulations_per_second"] == rate
    counted = json.loads((tmp_path / "claims.json").read_text())
    assert counted["universes"]["fails"]["warm_stops"] == 0
    assert counted["universes"]["fails"]["warm_never_longer_than_ideal"] > 0
    assert counted["samples"]["fails"]["warm_stops"] > 0
