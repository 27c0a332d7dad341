"""Rules that start anew in every stage can run some stages alone, with the numbers that they have among all."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import OutOfTime, Watch, rule_jobs, run_rule
from dashtheory.deep.task import make_source, make_task
from dashtheory.evaluate import Scores
from dashtheory.parallel import Lasting
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


def told_of(rule: str, folder: Path | None = None, **limits: Any) -> list[tuple[float, str, dict[str, float]]]:
    """What is told after each stage: the share that is done, the words, and the facts."""
    lines: list[tuple[float, str, dict[str, float]]] = []

    def report(share: float, text: str) -> None:
        if isinstance(text, Lasting):
            lines.append((share, str(text), dict(text.row)))

    run_rule(CONFIG, rule, 0, "x", report, folder, **limits)
    return lines


def test_the_end_is_expected_after_the_stages_that_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage j takes j hours: after stage 2 of 2, 5 and 10 there are 15 hours left, not 52; after 5, 10."""
    clock, told = [0.0], list[tuple[float, str]]()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "localtime", time.gmtime)
    watch = Watch(CONFIG, 10, None, lambda share, text: told.append((share, str(text))), lambda: clock[0])
    finished: list[dict[str, float]] = []
    watch.set_length(50, (2, 5, 10), finished)
    for stage in (2, 5, 10):
        watch.on_epoch(stage, 1, Scores(loss=1.0, accuracy=0.5))
        clock[0] += 3600.0 * stage
        finished += [{}] * (stage - len(finished) - 1) + [{"test_accuracy": 0.5, "steps": 7.0}]
        watch.on_stage(stage, finished[-1])
    after = {text.split(":")[0]: (share, text.partition("steps")[2]) for share, text in told if "steps" in text}
    assert after == {
        "stage 2/10": (pytest.approx(2 / 17), ", end about Thu 15:00"),
        "stage 5/10": (pytest.approx(7 / 17), ", end about Thu 10:00"),
        "stage 10/10": (1.0, ""),
    }


def test_a_stage_after_those_left_out_is_given_up_if_it_would_end_too_late() -> None:
    """Stage 2 takes 4 seconds, so that stage 5 takes 10."""
    for deadline, fits in ((13.0, False), (15.0, True)):
        now = [0.0]
        watch = Watch(CONFIG, 10, deadline, lambda share, text: None, partial(sum, now))
        watch.on_epoch(2, 1, Scores(loss=1.0, accuracy=0.5))
        now[0] = 4.0
        with nullcontext() if fits else pytest.raises(OutOfTime):
            watch.on_epoch(5, 1, Scores(loss=1.0, accuracy=0.5))


def test_stages_that_are_filled_in_are_told_by_their_own_numbers(tmp_path: Path) -> None:
    told_of("cold", tmp_path, num_stages=4, at=(2, 4))
    whole = run("cold")
    filled = told_of("cold", tmp_path)
    assert [facts["stage"] for *_, facts in filled] == [1, 3]
    for _, _, facts in filled:
        rows = whole[whole["stage"] == facts["stage"]].set_index("metric")["value"]
        assert facts["test_accuracy"] == rows["test_accuracy"]
        assert facts["steps"] == rows["steps"]
    assert ["end about" in words for _, words, _ in filled] == [True, False]  # 4 is there


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
