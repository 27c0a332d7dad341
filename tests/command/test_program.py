"""`dashtheory run`: any rules on any stream with one command, killed and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Text

from dashtheory.command import program as cli
from dashtheory.command import run as work
from dashtheory.command.options import setting_name
from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import run_rule
from dashtheory.record import load_table, make_table, stage_rows
from dashtheory.rules import RULES, from_the_start, make_rule
from dashtheory.rules.spec import parse_rule

ROOT = Path(__file__).parents[2]
TOY = [
    *["--model", "mlp", "--model-options", "widths=16+16", "--num-chunks", "3", "--chunk-size", "40"],
    *["--num-test", "100", "--batch-size", "16", "--max-epochs", "12", "--learning-rate", "0.1", "--seeds", "1"],
]


SETTING: dict[str, Any] = {
    "model": "mlp",
    "model_options": ("widths=16+16",),
    "num_chunks": 3,
    "chunk_size": 40,
    "num_test": 100,
    "batch_size": 16,
    "max_epochs": 12,
    "learning_rate": 0.1,
}
"""What TOY says."""
NAME = setting_name("run", SETTING)


def run(out: Path, *options: str) -> int:
    return cli.main(["run", *TOY, "--out", str(out), *options])


def config_of_toy(rule: str) -> RunConfig:
    """The configuration that TOY is."""
    return RunConfig.of(**SETTING, rules=(rule,))


def files(name: str) -> list[str]:
    """What a call leaves in its folder."""
    return [f"{name}.{suffix}" for suffix in ("csv", "json", "png", "svg")]


def test_every_rule_runs_from_the_command_line(tmp_path: Path) -> None:
    names = ",".join([*RULES, "dash:lam=0.05:alpha=1"])
    assert run(tmp_path, "--rules", names, "--gradients", "yes", "--retention", "2", "--alignment", "1") == 0
    measured = setting_name("run", {**SETTING, "gradients": True, "retention": 2, "alignment": 1})
    table, facts = load_table(tmp_path / f"{measured}.csv")
    assert set(table["rule"]) == {*RULES, "dash:lam=0.05:alpha=1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == files(measured)
    wide = table.pivot_table(index=["rule", "stage"], columns="metric", values="value")
    first = wide.xs(1, level="stage")
    # All rules share the first stage, but for those that act from the start.
    early = [
        name
        for name in RULES
        if {"loss", "steps", "evaluation"} & set(RULES[name].acts) or from_the_start(make_rule(name))
    ]
    assert all(first.drop(early)[name].nunique() <= 1 for name in first.columns)
    later = wide.xs(2, level="stage")
    assert later["old_accuracy_epoch0"].loc["warm"] >= later["old_accuracy_epoch0"].loc["cold"]
    for name in ("gradient_norm_old", "alignment_epoch1", "weight_norm", "test_accuracy_reestimated"):
        assert later[name].notna().all(), name
    assert "sha256" in str(facts["data"])


def test_the_table_is_the_one_that_python_gives(tmp_path: Path) -> None:
    assert run(tmp_path, "--rules", "dash") == 0
    table, _ = load_table(tmp_path / f"{NAME}.csv")
    mine = run_rule(config_of_toy("dash"), "dash", 0, "run", lambda share, text: None)
    for column in ("experiment", "rule", "seed", "stage", "metric", "value"):
        assert mine[column].tolist() == table[column].tolist(), column


def test_a_killed_call_goes_on_within_a_run(tmp_path: Path) -> None:
    """SIGKILL once a checkpoint of the second stage lies there; the next call ends with the same numbers."""
    options = [
        *TOY,
        "--rules",
        "dash",
        "--jobs",
        "1",
        "--num-chunks",
        "6",
        "--threshold",
        "1",
        "--max-epochs",
        "60",
    ]
    assert cli.main(["run", *options, "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "dashtheory.command.program", "run", *options, "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (kept := list(out.glob(".partial/run*/checkpoints/dash-seed0-*/stage-0002.checkpoint"))):
        assert time.monotonic() < deadline, "no stage ended"
        assert process.poll() is None, "the call ended before it could be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert kept
    assert not list(out.glob("*.csv"))
    assert cli.main(["run", *options, "--out", str(out)]) == 0
    (path,) = out.glob("*.csv")
    assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert not (out / ".partial").exists()


def test_a_second_call_while_one_runs_is_refused_and_spoils_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again, while the first call has finished a stage and goes on."""
    options = [*TOY, "--rules", "warm", "--jobs", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "dashtheory.command.program", "run", *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".partial/run*/checkpoints/warm-seed0-*/stage-*.checkpoint")):
            assert time.monotonic() < deadline, "no stage ended"
            assert process.poll() is None, "the call ended before there could be a second one"
            time.sleep(0.002)
        process.send_signal(signal.SIGSTOP)  # so that it cannot end before the second call looks
        try:
            assert cli.main(["run", *options]) == 2
            assert cli.main(["run", *options, "--fresh"]) == 2
        finally:
            process.send_signal(signal.SIGCONT)
        told = process.communicate()[1]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("--out must be used by one call at a time" in line for line in lines)
    assert told.count("Traceback") == process.returncode == 0
    table, _ = load_table(tmp_path / f"{NAME}.csv")
    alone = run_rule(config_of_toy("warm"), "warm", 0, "run", lambda share, text: None)
    assert alone["value"].tolist() == table["value"].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == files(NAME)


def test_jobs_have_names_of_their_own() -> None:
    rules = ("dash", "dash:lam=0.05", "dash:lam=0.05:alpha=1", "cold:weight_decay=tuned")
    jobs = work.plan(RunConfig(rules=rules), range(3))
    assert {(job.arguments["rule"], job.arguments["seed"]) for job in jobs} == {
        (rule, seed) for rule in rules for seed in range(3)
    }
    assert len({job.name for job in jobs}) == len(jobs) == 12
    assert not any(set("/:") & set(job.name) for job in jobs)


def test_the_figure_shows_what_the_table_holds() -> None:
    metrics = {"test_accuracy": 0.5, "steps": 70.0, "weight_norm": 3.0, "epochs": 9.0}
    table = make_table(
        row
        for seed in range(2)
        for stage in (1, 2, 3)
        for row in stage_rows(
            level="deep",
            experiment="run",
            rule="dash",
            seed=seed,
            stage=stage,
            metrics={**{name: stage * value for name, value in metrics.items()}, "converged": float(stage < 3)},
        )
    )
    figure = work.draw(table, RunConfig.of(rules=("dash",), max_epochs=17))
    heights = [list(ax.lines[0].get_ydata()) for ax in figure.axes]  # type: ignore[arg-type]
    assert heights == [[50, 100, 150], [70, 140, 210], [3, 6, 9]]
    words = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "2 stages ended at the cap of 17 epochs" in words
    assert "scikit-learn's digits" in words
    plt.close(figure)


def test_rules_are_read_with_their_options() -> None:
    assert parse_rule("dash:lam=0.05:alpha=1") == make_rule("dash", lam=0.05, alpha=1)
    assert parse_rule("sp:optimizer=renewed") == make_rule("sp", optimizer="renewed")
    for yes in ("yes", "Yes", "TRUE"):
        assert parse_rule(f"dash:training={yes}") == make_rule("dash", training=True)


BAD = [
    (["--rules", "foo"], "--rules must be one of cold, warm"),
    (["--rules", "dash,dash"], "rules must name at least one, each once"),
    (["--rules", "dash:lam=2"], "lam must be a number in [0, 1], got 2"),
    (["--rules", "dash:nu=2"], "options of rule dash must be among"),
    (["--rules", "dash:lam"], "options of rule dash must be name=value, each once, got 'lam'"),
    (["--rules", "dash:lam=0.1:lam=0.2"], "must be name=value, each once, got 'lam=0.2'"),
    (["--model", "foo"], "--model must be one of mlp"),
    (["--model-options", "height=3"], "--model-options of model mlp must be among"),
    (["--data", "foo"], "--data must be one of digits"),
    (["--chunk-size", "33"], "--batch-size must leave no last batch of one picture"),
    (["--chunk-size", "11"], "--batch-size must leave no last batch of one picture"),  # the third stage alone: 33
    (["--chunk-size", "20000"], "--chunk-size must leave"),
    (["--balanced", "perhaps"], "must be yes or no, got 'perhaps'"),
    (["--optimizer", "foo"], "--optimizer must be one of sgd"),
    (["--label-noise", "1.5"], "--label-noise must be a number in [0, 1]"),
    (["--num-chunks", "0"], "--num-chunks must be an integer >= 1"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_input_is_one_line_and_status_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = run(tmp_path, *options)
    except SystemExit as stop:  # argparse
        status = int(str(stop.code))
    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith("dashtheory run: ")
    assert message in lines[0]
    assert not list(tmp_path.glob("*.csv"))


def test_the_first_word_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["walk"]) == 2
    words = "must be run, diagnose, rules, figure or join, got 'walk'. See dashtheory --help.\n"
    assert capsys.readouterr().err == f"dashtheory: the first word {words}"
    assert cli.main([]) == cli.main(["--help"]) == cli.main(["--version"]) == 0
    assert "dashtheory run" in capsys.readouterr().out
