"""The command line of paper_repro/run.py: budgets, going on, and one line for what goes wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from dashtheory.command.paper import main as run_main
from dashtheory.deep import run as run_module
from dashtheory.deep.config import RunConfig
from dashtheory.paper import preset_names
from dashtheory.record import load_results, load_table, only_one
from tests.paper.toys import run_toy, serially, stages_of, toy

ROOT = Path(__file__).parents[2]
TOY = [
    *("digits-mlp", "--num-chunks", "3", "--chunk-size", "70", "--max-epochs", "2", "--precision", "float32"),
    *("--channels-last", "no", "--histograms", "1", "--model-options", "widths=16+16", "--device", "cpu"),
]
NAME = (
    "digits-mlp+channels_last=False+chunk_size=70+histograms=1+max_epochs=2+model_options=widths=16_16"
    "+num_chunks=3+precision=float32"
)


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process, one after another."""
    monkeypatch.setattr("dashtheory.command.grow.run_jobs", serially)


def run(out: Path, *options: str, rules: str = "cold,warm") -> int:
    return run_main([*TOY, "--rules", rules, "--out", str(out), *options])


def numbers(out: Path, rule: str, seed: int = 0) -> list[dict[str, float]]:
    table, _ = load_table(out / "cpu" / f"{NAME}.csv")
    return stages_of(table[(table["rule"] == rule) & (table["seed"] == seed)])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text


def test_a_call_in_a_terminal_gives_what_the_library_gives(tmp_path: Path) -> None:
    """The real program, with a worker of its own."""
    command = [sys.executable, "paper_repro/run.py", *TOY, "--rules", "dash", "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, "--jobs", "1"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(
        rf"1 of 1 runs complete, 3 new stages in \d+ s; results in {re.escape(str(tmp_path))}/out/cpu/.*\.csv\n",
        done.stdout,
    )
    assert numbers(tmp_path / "out", "dash") == stages_of(run_toy(toy(), tmp_path / "dash", "dash"))
    assert not (tmp_path / "out" / ".partial").exists()
    assert sorted(path.name for path in (tmp_path / "out" / "cpu").iterdir()) == [f"{NAME}.csv", f"{NAME}.json"]


@pytest.mark.usefixtures("serial")
def test_results_grow_and_complete_runs_are_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "out", tmp_path / "out" / "cpu" / f"{NAME}.csv"
    assert run(out, rules="warm") == 0
    assert capsys.readouterr().out.startswith("1 of 1 runs complete, 3 new stages in ")
    first, written = numbers(out, "warm"), path.stat().st_mtime_ns
    assert run(out, rules="warm") == 0
    assert capsys.readouterr().out.startswith("1 of 1 runs complete, 0 new stages in ")
    assert path.stat().st_mtime_ns == written
    assert run(out, "--seeds", "2", rules="dash,warm") == 0
    assert capsys.readouterr().out.startswith("4 of 4 runs complete, 9 new stages in ")
    assert numbers(out, "warm") == first
    assert set(load_results(path).runs) == {"warm-seed0", "warm-seed1", "dash-seed0", "dash-seed1"}
    assert {facts["seconds"] for facts in load_results(path).runs.values()} == {2.0}
    assert run(out, rules="cold") == 0
    assert len(load_results(path).runs) == 5
    assert not (tmp_path / "out" / ".partial").exists()


@pytest.mark.usefixtures("serial")
def test_fresh_forgets_all_of_the_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, path = tmp_path / "out", tmp_path / "out" / "cpu" / f"{NAME}.csv"
    assert run(out, rules="warm,dash") == 0
    whole = numbers(out, "dash")
    kept = tmp_path / "out" / ".partial" / "cpu" / NAME / "checkpoints" / "dash-seed0"
    run_toy(toy(rules=("cold",)), kept, "cold")  # whatever an earlier call may have left
    assert run(out, "--fresh", rules="dash") == 0
    assert set(load_results(path).runs) == {"dash-seed0"}
    assert numbers(out, "dash") == whole
    path.write_text("damaged")
    assert run(out, rules="dash") == 2
    assert "table must be the one its .json describes" in one_line(capsys)
    assert run(out, "--fresh", rules="dash") == 0
    assert numbers(out, "dash") == whole
    assert run(out, "--fresh", "--budget", "5.001s", rules="dash") == 0
    assert not path.exists()  # forgotten, though nothing new was found
    assert "0 new stages" in (said := capsys.readouterr().out.splitlines()[-1])
    assert said.endswith(
        "the same command without --fresh goes on, but no stage was finished: give it a larger --budget"
    )


@pytest.mark.usefixtures("serial")
def test_a_budget_that_is_over_begins_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out", "--budget", "5.0001") == 0
    said = capsys.readouterr().out
    assert re.fullmatch(
        r"0 of 2 runs complete, 0 new stages in \d+ s; the same command goes on, but no stage was finished: "
        r"give it a larger --budget\n",
        said,
    )
    assert not list((tmp_path / "out").rglob("*.csv"))


def watched_calls(monkeypatch: pytest.MonkeyPatch, epoch: int) -> tuple[dict[str, float], list[tuple[int, int]]]:
    """What says when a call's second is over ("now"): in an epoch of the "last" stage; and what was trained."""
    state: dict[str, float] = {}
    watched: list[tuple[int, int]] = []

    class Watch(run_module.Watch):
        def __init__(self, config: RunConfig, number: int | None, deadline: float | None, report: Any) -> None:
            super().__init__(config, number, None if deadline is None else 1.0, report, lambda: state["now"])

        def on_epoch(self, stage: int, epochs: int, scores: Any) -> None:
            watched.append((stage, epochs))
            if (stage, epochs) == (state["last"], epoch):
                state["now"] = 2.0
            super().on_epoch(stage, epochs, scores)

    monkeypatch.setattr(run_module, "Watch", Watch)
    return state, watched


@pytest.mark.usefixtures("serial")
def test_what_a_budget_cut_off_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each call lasts until the second epoch of some stage, which rules that act in the loss or steps lose."""
    out, path = tmp_path / "out", tmp_path / "out" / "cpu" / f"{NAME}.csv"
    assert run(tmp_path / "whole", rules="ema,l2_init") == 0
    state, watched = watched_calls(monkeypatch, epoch=2)
    for last, stages in ((1, []), (2, [1]), (3, [2])):
        state.update(now=0.0, last=last)
        watched.clear()
        assert run(out, "--budget", "9m", rules="ema,l2_init") == 0
        assert watched[0][0] == max(last - 1, 1)  # nothing is trained again but the stage that was cut off
        said = capsys.readouterr().out.splitlines()[-1]
        assert said.startswith(f"0 of 2 runs complete, {len(stages)} new stages in ")  # the second finds no time
        assert "the same command goes on" in said
        assert ("larger --budget" in said) == (not stages)
        found = [facts["stages"] for facts in load_results(path).runs.values()] if stages else []
        assert found == stages
    assert not any(facts["complete"] for facts in load_results(path).runs.values())
    assert load_results(path).runs["ema-seed0"]["seconds"] == 4.0  # of the calls that had a stage to show
    state.update(now=0.0, last=9)
    assert run(out, "--budget", "9m", rules="ema,l2_init") == 0
    assert capsys.readouterr().out.startswith("2 of 2 runs complete, 4 new stages in ")
    for rule in ("ema", "l2_init"):
        assert numbers(out, rule) == numbers(tmp_path / "whole", rule)
    assert load_results(path).runs["ema-seed0"]["seconds"] == 6.0
    assert not (tmp_path / "out" / ".partial").exists()


@pytest.mark.usefixtures("serial")
def test_a_budget_that_ends_within_a_stage_costs_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each call's time is over in the first epoch of some stage: it is kept after the second."""
    out, options = tmp_path / "out", ("--max-epochs", "3", "--criterion", "epochs")
    assert run(tmp_path / "whole", *options) == 0
    state, watched = watched_calls(monkeypatch, epoch=1)
    for last, trained in ((1, [(1, 1), (1, 2)]), (2, [(1, 3), (2, 1), (2, 2)]), (3, [(2, 3), (3, 1), (3, 2)])):
        state.update(now=0.0, last=last)
        watched.clear()
        assert run(out, *options, "--budget", "9m") == 0
        assert watched == trained
        said = capsys.readouterr().out.splitlines()[-1]
        within = "the same command goes on within the stage that was under way"
        assert said.endswith(within if last == 1 else "the same command goes on")
    assert run(out, *options, "--budget", "5.0001") == 0  # the part is an earlier call's: this one did nothing
    assert capsys.readouterr().out.splitlines()[-1].endswith("give it a larger --budget")
    state.update(now=0.0, last=9)
    assert run(out, *options, "--budget", "9m") == 0
    (path,) = (tmp_path / "out" / "cpu").glob("*.csv")
    (whole,) = (tmp_path / "whole" / "cpu").glob("*.csv")
    (found, _), (wanted, _) = load_table(path), load_table(whole)
    for rule in ("cold", "warm"):
        assert stages_of(found[found["rule"] == rule]) == stages_of(wanted[wanted["rule"] == rule])
    assert not (tmp_path / "out" / ".partial").exists()


@pytest.mark.usefixtures("serial")
def test_the_deadline_is_the_budget_less_a_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    def note(*_: object, deadline: float | None, **__: object) -> pd.DataFrame:
        seen.append(deadline)
        return pd.DataFrame()

    monkeypatch.setattr(run_module, "run_rule", note)
    monkeypatch.setattr("dashtheory.command.growing.time.monotonic", lambda: 1000.0)
    assert run(tmp_path, "--budget", "2m", rules="cold") == 0
    assert run(tmp_path, rules="cold") == 0
    assert seen == [1115.0, None]


@pytest.mark.usefixtures("serial")
def test_other_settings_and_other_data_are_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(out, rules="warm") == 0
    assert run(out, "--label-noise", "0.05", rules="warm") == 0
    assert sorted(path.name for path in (out / "cpu").glob("*.csv")) == [
        f"{NAME.replace('+max', '+label_noise=0_05+max')}.csv",
        f"{NAME}.csv",
    ]
    path = out / "cpu" / f"{NAME}.json"
    facts = json.loads(path.read_text())
    config = facts["config"]
    for changed in (
        {"config": {**config, "training": {**config["training"], "rho": 0.2}}},
        {"data": {"data": {"sha256": "other"}}},
    ):
        path.write_text(json.dumps({**facts, **changed}))
        for rules in ("warm", "dash"):  # whether the run is there or would come beside others
            assert run(out, rules=rules) == 2
            assert "--out must hold results of the same setting and data" in one_line(capsys)
    path.write_text(json.dumps({**facts, "data": {**facts["data"], "mean": [0.1]}}))
    assert run(out, rules="warm") == 0  # the data are the same, however their mean was rounded


@pytest.mark.usefixtures("serial")
def test_a_full_disk_is_one_line_and_the_next_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, written = tmp_path / "out", Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if b'"stage": 2' in data[:300]:
            raise OSError(28, "No space left on device")
        return written(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert run(out, rules="dash") == 2
    assert "(No space left on device). Finished runs are kept; the same command goes on" in one_line(capsys)
    (folder,) = (tmp_path / "out" / ".partial" / "cpu" / NAME / "checkpoints").iterdir()
    assert [path.name for path in folder.iterdir()] == ["stage-0001.checkpoint"]
    assert run(out, rules="dash") == 0
    assert numbers(out, "dash") == stages_of(run_toy(toy(), tmp_path / "whole", "dash"))


@pytest.mark.usefixtures("serial")
def test_a_rule_that_diverges_does_not_end_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(out, rules="cold:learning_rate=1e30,warm") == 0
    said = capsys.readouterr()
    assert said.out.startswith("1 of 2 runs complete, 3 new stages in ")
    assert ", 1 with a loss that is no longer finite; results in " in said.out
    assert "goes on" not in said.out
    assert re.search(r"^cold-learning_rate=1e30-seed0: loss must", said.err, re.MULTILINE)


@pytest.mark.usefixtures("serial")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "memory must hold a step and a rule's pass"),
        (
            RuntimeError("an illegal instruction\nwas met"),
            "run warm-seed0 must end without an error, got an illegal",
        ),
    ],
)
def test_errors_of_a_run_are_one_line(
    error: Exception,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(nn.BatchNorm1d, "forward", broken)
    assert run(tmp_path / "out", rules="warm") == 2
    assert message in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "PRESET must be given, got none. See --list."),
        (["mnist-mlp"], "preset must be one of cifar10,"),
        (["digits-mlp-fast"], "preset must be one of sam,"),
        (["digits-mlp", "--seeds", "0"], "--seeds must be an integer >= 1, got 0."),
        (["digits-mlp", "--first-seed", "-1"], "--first-seed must be an integer >= 0, got -1."),
        (["digits-mlp", "--first-seed", str(2**63)], "--first-seed must leave all seeds below 2^63, got 922"),
        (["digits-mlp", "--jobs", "0"], "--jobs must be an integer >= 1, got 0."),
        (["digits-mlp", "--budget", "soon"], "--budget must be a number with s, m or h, got 'soon'."),
        (["digits-mlp", "--budget", "5s"], "--budget must be a number in (5, inf), got 5.0."),
        (["digits-mlp", "--device", "tpu"], "device must be one of auto, cpu, cuda, got 'tpu'."),
        (["digits-mlp", "--device", "cpu:"], "device must be auto, cpu, cuda or cuda:N, got 'cpu:'."),
        (["digits-mlp", "--precision", "half"], "precision must be one of"),
        (["digits-mlp", "--rules", "nonsense"], "rules must be one of"),
        (["digits-mlp", "--num-chunks", "99"], "chunk"),
        (["cifar100-mlp"], "DASHTHEORY_DATA must name the folder of the official files of cifar100, got nothing."),
    ],
)
def test_bad_calls_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DASHTHEORY_DATA", raising=False)
    assert run_main([*arguments, "--out", str(tmp_path / "out")]) == 2
    text = one_line(capsys)
    assert text.startswith("paper_repro/run.py: ")
    assert message in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["digits-mlp", "--data", "svhn"], ["--seeds", "x"], ["--flip", "maybe"]])
def test_options_that_there_are_not_end_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_main(arguments)
    assert caught.value.code == 2
    one_line(capsys)


def test_without_a_gpu_cuda_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_main(["digits-mlp", "--device", "cuda", "--out", str(tmp_path)]) == 2
    assert "device must be there, got 'cuda', but" in one_line(capsys)


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("")
    assert run(tmp_path / "out") == 2
    assert "--out must be a folder that can be written" in one_line(capsys)


def test_one_call_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with only_one(tmp_path / "out" / ".partial" / f"cpu-{NAME}.lock", "--out"):
        assert run(tmp_path / "out") == 2
    assert "--out must be used by one call at a time" in one_line(capsys)


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["--list"]) == 0
    assert capsys.readouterr().out.split("\n") == [*preset_names(), ""]


def test_tuned_rules_take_no_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out", "--budget", "9m", rules="cold:weight_decay=tuned") == 2
    assert "--budget must be left out for tuned rules, got cold:weight_decay=tuned" in one_line(capsys)
