"""The benchmark of the explorers redraws what it says and writes a complete record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchmarks.explore as bench
from benchmarks.discrete import ROOT
from dashtheory.explore import explore_discrete, explore_shrink
from dashtheory.explore.discrete import DISTRIBUTIONS, DiscreteState


def test_a_quick_record_has_all_explorers_and_parts(tmp_path: Path) -> None:
    bench.main(["--quick", "--out", str(tmp_path)])
    text = (tmp_path / "explore.json").read_text()
    assert str(ROOT) not in text
    record = json.loads(text)
    assert record["quick"] is True
    assert "torch" in record["versions"]
    assert [row["name"] for row in record["explorers"]] == list(bench.EXPLORERS)
    for row in record["explorers"]:
        median, worst = row["median_ms"], row["worst_ms"]
        assert set(median) == set(worst) == {*bench.PARTS, "wall", "cpu"}
        assert all(0 < median[part] <= worst[part] for part in median)
        assert worst["wall"] <= row["worst_single_redraw_ms"]


def test_a_sweep_moves_one_control_at_a_time_from_end_to_end() -> None:
    usual = DiscreteState()
    states = list(bench.sweep(usual, 3))
    assert [state.gamma for state in states[:3]] == [1, 150, 300]
    assert {state.distribution for state in states} == set(DISTRIBUTIONS)
    assert {state.phi_noise for state in states} == {0.0, 0.5, 1.0}
    for state in states:
        assert sum(getattr(state, name) != getattr(usual, name) for name in usual.__dataclass_fields__) <= 1


def test_figures_that_differ_are_not_timed() -> None:
    used, fresh = explore_shrink(), explore_shrink()
    bench.require_equal(used, fresh, used.state)
    used.drawing.canvas.encode = lambda: b""  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a used explorer and a new one differ"):
        bench.require_equal(used, fresh, used.state)


def test_states_without_an_answer_are_left_out() -> None:
    explorer = explore_discrete(num_stages=3)
    assert bench._has_answer(explorer, explorer.state)
    assert not bench._has_answer(explorer, DiscreteState(distribution="correlated"))
