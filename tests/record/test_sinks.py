"""Sinks see every stage once, change nothing of a run, and end none."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dashtheory.command import ways
from dashtheory.command.script import main
from dashtheory.record import make_table, sinks
from dashtheory.record.sinks import Followed, rows_of
from tests.toys import TOY

ROW = {"level": "toy", "experiment": "e"}


class Noting:
    """A sink that notes what it is told, draws from every global stream, and may break."""

    def __init__(self, told: list[Any], breaks: str = "") -> None:
        self.told, self.breaks = told, breaks

    def note(self, what: str, value: Any) -> None:
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        if what == self.breaks:
            raise ConnectionError("no network\nat all")
        self.told.append((what, value))

    def start(self, setting: Mapping[str, object]) -> None:
        self.note("start", dict(setting))

    def log(self, row: Mapping[str, float]) -> None:
        self.note("log", dict(row))

    def finish(self) -> None:
        self.note("finish", None)


def table(stages: int = 2) -> pd.DataFrame:
    return make_table(
        {**ROW, "rule": "warm", "seed": 0, "stage": stage, "metric": metric, "value": stage + 0.5}
        for stage in range(1, stages + 1)
        for metric in ("loss", "accuracy")
    )


def streams() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist()  # type: ignore[index]  # noqa: NPY002


def test_a_stage_that_was_told_of_while_it_ran_is_not_told_of_again() -> None:
    told: list[Any] = []
    followed = Followed(lambda name: Noting(told), {"run": {"rule": "warm"}})
    followed.row("run", {"stage": 1, "loss": 1.5, "accuracy": 1.5})
    followed.table("run", table())
    second = {"stage": 2.0, "loss": 2.5, "accuracy": 2.5}
    first = {"stage": 1, "loss": 1.5, "accuracy": 1.5}
    assert told == [("start", {"rule": "warm"}), ("log", first), ("log", second), ("finish", None)]


@pytest.mark.parametrize("breaks", ["", "start", "log", "finish"])
def test_a_sink_touches_no_random_stream_and_an_error_is_told_once(
    breaks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = streams()
    followed = Followed(lambda name: Noting([], breaks), {})
    for name in ("a", "b"):
        followed.table(name, table())
    followed.close()
    assert streams() == before
    said = "--track: not followed any more (ConnectionError: no network at all); results are not affected\n"
    assert capsys.readouterr().err == (said if breaks else "")


def test_several_values_of_a_metric_are_told_apart() -> None:
    rows = [
        {**ROW, "rule": "warm", "seed": seed, "stage": 1, "lam": lam, "metric": "m", "value": seed + lam}
        for seed in (0, 1)
        for lam in (0.5, float("nan"))
    ]
    (row,) = rows_of(make_table(one for one in rows if one["value"] == one["value"]))
    assert row == {"stage": 1.0, "m/seed=0": 0.5, "m/seed=1": 1.5}


@pytest.mark.parametrize("breaks", ["", "start"])
def test_a_followed_call_writes_the_table_of_one_that_is_not(
    breaks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(ways, "find_spec", lambda name: object())
    monkeypatch.setitem(sinks.SINKS, "wandb", lambda folder, group, name: Noting(told, breaks))
    monkeypatch.setattr("dashtheory.command.grow.run_jobs", in_this_process)
    options = ["--seeds", "1", "--rules", "cold"]
    assert main(TOY, ["--out", str(tmp_path / "a"), *options, "--track", "wandb"]) == 0
    assert main(TOY, ["--out", str(tmp_path / "b"), *options]) == 0
    assert (tmp_path / "a" / "toy.csv").read_bytes() == (tmp_path / "b" / "toy.csv").read_bytes()
    if not breaks:
        assert [what for what, _ in told] == ["start", "log", "log", "log", "finish"]
        assert told[0][1]["rule"] == "cold"


def in_this_process(jobs: Any, **options: Any) -> Any:
    from tests.paper.toys import serially

    options.pop("heard", None)
    return serially(jobs, **options)


def test_tensorboard_gets_every_stage(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    followed = Followed(lambda name: sinks.TensorBoard(tmp_path, "group", name), {"run": {"rule": "warm"}})
    followed.table("run", table())
    events = EventAccumulator(str(tmp_path / "tensorboard" / "group" / "run"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 1.5), (2, 2.5)]


def test_wandb_keeps_a_run_in_its_folder_when_it_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    followed = Followed(lambda name: sinks.WandB(tmp_path, "group", name), {"run": {"rule": "warm"}})
    followed.table("run", table())
    assert "not followed" not in capsys.readouterr().err
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (kept,) = run.glob("*.wandb")
    content = kept.read_bytes()
    assert b"accuracy" in content
    assert json.dumps("warm").encode() in content
    assert Path(__file__).name.encode() not in content
