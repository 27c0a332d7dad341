"""Two phases of text: what is shared, when it is scored, and what a setting may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dashtheory.experiments.two_phase_text import TwoPhaseConfig, make_phases
from tests.experiments.test_simulations import toy_table


def test_phases_share_their_starts_and_are_scored_right_after_the_rule(tmp_path: Path) -> None:
    table = toy_table("two_phase_text", tmp_path)
    rows = table.to_dict("records")
    found = {
        (row["metric"], row["rule"], row["start"], row["seed"], row["stage"], row["characters"]): row["value"]
        for row in rows
    }
    assert {row["start"] for row in rows} == {"best", "late", "decayed", "cold"}
    assert {row["characters"] for row in rows} == {0.0, 256.0, 512.0}
    for seed in (0, 1):
        for start in ("best", "late", "decayed"):
            before = found["loss_mix", "warm", start, seed, 1, 0.0]
            assert found["loss_mix", "warm", start, seed, 2, 0.0] == before
            assert found["loss_mix", "dash", start, seed, 1, 0.0] == before
            assert found["loss_mix", "dash", start, seed, 2, 0.0] != before
        late, decayed = (found["loss_mix", "warm", start, seed, 1, 0.0] for start in ("late", "decayed"))
        assert late != decayed
        assert found["first_epochs", "warm", "late", seed, 1, 0.0] == 3
        assert 1 <= found["first_epochs", "warm", "best", seed, 1, 0.0] <= 3
    for (metric, *place), value in found.items():
        if metric == "loss_mix":  # as many windows of either part; losses are float32
            parts = [found[part, *place] for part in ("loss_old", "loss_new")]
            assert value == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_no_character_is_trained_on_and_tested_and_the_old_windows_are_in_the_mix() -> None:
    config = TwoPhaseConfig.of(chunk_size=40, num_test=20, size=96)  # long: short texts may stand twice
    phases = make_phases(config, 0)
    assert torch.equal(phases.mix.inputs[:40], phases.old.inputs)
    assert len(phases.mix) == 80
    held_out = {tuple(window) for window in phases.held_out["mix"].inputs.tolist()}
    assert len(held_out) == len(phases.held_out["mix"]) == 40
    assert not held_out & {tuple(window) for window in phases.mix.inputs.tolist()}
    assert torch.equal(make_phases(config, 0).mix.inputs, phases.mix.inputs)
    assert not torch.equal(make_phases(config, 1).mix.inputs, phases.mix.inputs)
    assert int(phases.mix.targets.max()) < phases.num_symbols


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"at": (0, 5)}, "at must rise from 0 to 24"),
        ({"at": (1, 24)}, "at must rise from 0 to 24"),
        ({"second_epochs": 0}, "second_epochs must be an integer >= 1"),
        ({"first_decay": -1.0}, "first_decay must be a number"),
        ({"criterion": "loss"}, "data and criterion must be text and epochs"),
        ({"rules": ("nothing",)}, "must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoPhaseConfig.of(**values)
