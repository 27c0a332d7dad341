"""Rules that start anew in every stage can run some stages alone, with the numbers that they have among all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import rule_jobs, run_rule
from dashtheory.deep.task import make_source, make_task
from dashtheory.protocol import run_stages
from dashtheory.record import COMPLETE
from dashtheory.rules import make_rule

FAST: dict[str, Any] = {
    "model": "mlp",
    "model_options": ("widths=16+16",),
    "num_chunks": 4,
    "chunk_size": 60,
    "num_test": 100,
    "batch_size": 16,
    "max_epochs": 6,
    "learning_rate": 0.1,
}
CONFIG = RunConfig.of(**FAST)


def run(rule: str, folder: Path | None = None, **limits: Any) -> pd.DataFrame:
    return run_rule(CONFIG, rule, 0, "x", lambda share, text: None, folder, **limits)


@pytest.mark.parametrize("rule", ["cold", "cold_shrunk", "cold:learning_rate=0.05"])
def test_a_cold_stage_alone_is_that_of_the_whole_run_and_the_others_come_later(rule: str, tmp_path: Path) -> None:
    whole = run(rule)
    some = run(rule, tmp_path, num_stages=4, at=(2, 4))
    expected = whole[whole["stage"].isin([2, 4])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, expected, check_exact=True)
    assert some.attrs[COMPLETE] is False
    filled = run(rule, tmp_path, num_stages=3)
    assert sorted(filled["stage"].unique()) == [1, 2, 3, 4]  # what was there stays
    pd.testing.assert_frame_equal(filled, whole, check_exact=True)
    assert filled.attrs[COMPLETE] is True


def test_a_rule_that_goes_on_runs_all_stages_up_to_the_last(tmp_path: Path) -> None:
    found = run("warm", tmp_path, num_stages=3, at=(1, 3))
    assert sorted(found["stage"].unique()) == [1, 2, 3]
    whole = run("warm")
    pd.testing.assert_frame_equal(found, whole[whole["stage"] <= 3], check_exact=True)


def test_what_is_enough_of_a_run_depends_on_its_rule() -> None:
    cold, warm = rule_jobs(CONFIG.with_values(rules=("cold", "warm")), [0], "x", num_stages=4, at=(2, 4))
    assert (cold.at, warm.at) == ((2, 4), ())
    assert cold.num_stages == warm.num_stages == 4


def test_a_rule_that_goes_on_cannot_leave_out_stages() -> None:
    source = make_source(CONFIG, 0)
    task = make_task(CONFIG, source, device="cpu")
    stages = run_stages(source.stream, make_rule("warm"), task, CONFIG.training, seed=0, only=(2,))
    with pytest.raises(ValueError, match="only must be None for a rule that goes on from the stage before"):
        next(stages)
