"""The command lines of paper_repro/: budgets, going on, one line for what goes wrong, and the page of results."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from dashtheory.deep.paper_config import PaperConfig
from matplotlib.patches import StepPatch
from torch import nn

from dashtheory.command.paper import main as run_main
from dashtheory.command.paper import read_duration, setting_name
from dashtheory.command.paper_table import main as table_main
from dashtheory.measure import BINS
from dashtheory.paper import PUBLISHED, preset, preset_names, render
from dashtheory.paper.figure import draw_results
from dashtheory.paper.report import NOT_RUN, read_all
from dashtheory.plot import rule_style, style
from dashtheory.record import Results, Run, load_results, load_table, only_one
from dashtheory.record.results import setting_of
from tests.paper.toys import made_table, run_toy, serially, stages_of, toy

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
    monkeypatch.setattr("dashtheory.command.paper.run_jobs", serially)


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


# --- runs -------------------------------------------------------------------------------------------------------


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
    kept = tmp_path / "out" / ".partial" / "cpu" / NAME / "dash-seed0"
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


@pytest.mark.usefixtures("serial")
def test_what_a_budget_cut_off_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each call lasts until the second epoch of some stage."""
    out, path = tmp_path / "out", tmp_path / "out" / "cpu" / f"{NAME}.csv"
    assert run(tmp_path / "whole") == 0
    from dashtheory.deep import run_paper as run_module

    state: dict[str, float] = {}
    watched: list[int] = []
    watch = run_module._Watch

    class Watch(watch):  # type: ignore[misc, valid-type]
        def __init__(self, number: int, deadline: float | None, report: Any) -> None:
            super().__init__(number, None if deadline is None else 1.0, report, lambda: state["now"])

        def on_epoch(self, stage: int, epoch: int, scores: Any) -> None:
            watched.append(stage)
            if stage == state["last"] and epoch == 2:
                state["now"] = 2.0
            super().on_epoch(stage, epoch, scores)

    monkeypatch.setattr(run_module, "_Watch", Watch)
    for last, stages in ((1, []), (2, [1]), (3, [2])):
        state.update(now=0.0, last=last)
        watched.clear()
        assert run(out, "--budget", "9m") == 0
        assert watched[0] == max(last - 1, 1)  # nothing is trained again but the stage that was cut off
        said = capsys.readouterr().out.splitlines()[-1]
        assert said.startswith(f"0 of 2 runs complete, {len(stages)} new stages in ")  # the second finds no time
        assert "the same command goes on" in said
        assert ("larger --budget" in said) == (not stages)
        found = [facts["stages"] for facts in load_results(path).runs.values()] if stages else []
        assert found == stages
    assert load_results(path).complete == set()
    assert load_results(path).runs["cold-seed0"]["seconds"] == 4.0  # of the calls that had a stage to show
    state.update(now=0.0, last=9)
    assert run(out, "--budget", "9m") == 0
    assert capsys.readouterr().out.startswith("2 of 2 runs complete, 4 new stages in ")
    for rule in ("cold", "warm"):
        assert numbers(out, rule) == numbers(tmp_path / "whole", rule)
    assert load_results(path).runs["cold-seed0"]["seconds"] == 6.0
    assert not (tmp_path / "out" / ".partial").exists()


@pytest.mark.usefixtures("serial")
def test_the_deadline_is_the_budget_less_a_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    def note(config: PaperConfig, run: Run, *args: Any, deadline: float | None, **options: Any) -> pd.DataFrame:
        seen.append(deadline)
        return pd.DataFrame()

    monkeypatch.setattr("dashtheory.command.paper.run_paper", note)
    monkeypatch.setattr("dashtheory.command.paper.time.monotonic", lambda: 1000.0)
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
    for changed in ({"config": {**facts["config"], "rho": 0.2}}, {"data": {"data": {"sha256": "other"}}}):
        path.write_text(json.dumps({**facts, **changed}))
        assert run(out, rules="warm") == 2
        assert "--out must hold results of the same setting and data" in one_line(capsys)


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
    folder = tmp_path / "out" / ".partial" / "cpu" / NAME / "dash-seed0"
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("9m", 540.0), ("1.5h", 5400.0), (" 2 m ", 120.0), ("6.", 6.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "9d", "-9m", "1e3", "9m9s", "5", "0.08m", "inf", "nan"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="--budget must be"):
        read_duration(text)


def test_a_setting_is_named_by_its_preset_and_what_was_changed() -> None:
    changed = {"rules": ("cold",), "rho": 0.5, "model_options": ("width=8", "blocks=1"), "flip": True}
    assert setting_name("a-b", changed) == "a-b+flip=True+model_options=width=8_blocks=1+rho=0_5"
    assert setting_name("a-b", {"rules": ("cold",)}) == "a-b"
    assert setting_name("a-b", {"learning_rate": 1e-05, "data": "x:/y"}) == "a-b+data=x__y+learning_rate=1e-05"


# --- the page of results ----------------------------------------------------------------------------------------


def number(rule: str, seed: int, stage: int, metric: str) -> float:
    """Any number, different everywhere."""
    return (1 + seed * stage + 10 * stage + len(rule)) / (100 if metric == "test_accuracy" else 0.01)


def results_of(
    name: str,
    *,
    device: str = "NVIDIA X",
    stages: int = 3,
    seeds: int = 3,
    rules: tuple[str, ...] = ("cold", "warm"),
    value: Callable[[str, int, int, str], float] = number,
    metrics: tuple[str, ...] = ("test_accuracy", "steps"),
    config: PaperConfig | None = None,
) -> Results:
    config = config or dataclasses.replace(preset(name.split("+")[0]), num_chunks=3)
    found = Results(
        name=name, config=setting_of(config), data={"data": {"name": "CIFAR-10 (JPEG)", "sha256": "a"}}
    )
    for rule in rules:
        for seed in range(seeds):
            table = made_table(value, (rule,), (seed,), stages, metrics)
            found = found.with_run(Run(rule=rule, seed=seed), table, seconds=90.0, device=device)
    return found


def rows_of(text: str, heading: str) -> dict[str, list[str]]:
    """Cells of the table below a heading, by their first."""
    section = text.split(f"\n### {heading}", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:]}


def test_every_number_of_a_row_is_the_table_s() -> None:
    """Three seeds s: accuracy (15 + s j + 10 j) % - cold, at stage j, for instance - by hand."""
    rows = rows_of(
        render({("cuda", "cifar10-resnet18"): results_of("cifar10-resnet18")}), "cifar10-resnet18 on CIFAR"
    )
    # cold: stage 3 gives 35 + 3 s, so 35, 38, 41; the mean over stages 25 + 2 s, so 25, 27, 29
    authors = rows["cold"][-1]
    assert rows["cold"][:-1] == ["3", "38.0 ± 3.0", "27.0 ± 2.0", "3,800 ± 300", "2,700 ± 200"]
    assert rows["warm"][:-1] == rows["cold"][:-1]  # names of one length
    assert authors == (
        "29.9% (stage 1), 52.1% (stage 10), 60.5% (stage 25), 67.5% (stage 50), 57.6% (mean), "
        "5,083 steps (stage 50), 2,833 steps (mean)"
    )
    assert rows["warm"][-1] == "48.0% (stage 10), 50.0% (stage 10), 59.4% (stage 29), 681 steps (stage 29)"
    assert rows["DASH"] == ["0", *[NOT_RUN] * 4, "–"]
    single = render({("cuda", "svhn-mlp"): results_of("svhn-mlp", seeds=1)})
    assert rows_of(single, "svhn-mlp on")["cold"] == ["1", "35.0", "25.0", "3,500", "2,500", "–"]


def test_rules_of_the_preset_come_first_then_others_that_were_run() -> None:
    one = results_of("cifar10-resnet18+rho=0_5", rules=("l2_init", "dash:lam=0.05"))
    rows = rows_of(render({("cuda", one.name): one}), "cifar10-resnet18+rho=0_5 on")
    usual = [rule_style(rule).label for rule in preset("cifar10-resnet18").rules]
    assert list(rows) == [*usual, "L2-init"]
    assert rows["L2-init"][0] == rows["DASH, lam=0.05"][0] == "3"
    assert {rows[label][-1] for label in rows} == {"–"}  # the authors' figures are of another setting


def test_unfinished_runs_are_named_and_not_in_the_row() -> None:
    one = results_of("cifar10-resnet18", rules=("cold",))
    part = made_table(number, ("cold",), (3,), stages=2)
    one = one.with_run(Run(rule="cold", seed=3), part, seconds=30.0, device="NVIDIA X")
    text = render({("cuda", one.name): one})
    assert "\nUnfinished: cold, seed 3: 2 of 3 stages.\n" in text
    assert rows_of(text, "cifar10-resnet18 on")["cold"][0] == "3"
    assert "Unfinished" not in render({("cuda", one.name): results_of("cifar10-resnet18")})


def test_presets_that_were_not_run_say_so() -> None:
    nothing = render({})
    listed = nothing.split("### Presets that were not run")[1]
    for name in preset_names():
        expected = not name.endswith("-cut") and not name.startswith("digits")
        assert (f"| {name} | {NOT_RUN} |" in listed) == expected
    rows = rows_of(nothing, "cifar10-resnet18\n")
    assert list(rows) == [rule_style(rule).label for rule in preset("cifar10-resnet18").rules]
    assert all(row[:5] == ["0", *[NOT_RUN] * 4] for row in rows.values())
    assert rows["cold"][-1].startswith("29.9% (stage 1)")
    assert nothing.split("## On a CPU\n\n")[1] == f"{NOT_RUN}\n"
    some = render(
        {("cuda", "cifar10-resnet18"): results_of("cifar10-resnet18"), ("cpu", "digits-mlp"): cpu_results()}
    )
    assert "| cifar10-resnet18 | not run |" not in some
    assert some.count("### cifar10-resnet18 ") == 1
    assert "### digits-mlp on CIFAR-10 (JPEG) (" in some.split("## On a CPU")[1]
    assert f"## On a CPU\n\n{NOT_RUN}" not in some
    on_cpu = render({("cpu", "cifar10-resnet18"): results_of("cifar10-resnet18", device="cpu")})
    assert "| cifar10-resnet18 | not run |" in on_cpu  # on a GPU


def cpu_results() -> Results:
    return results_of("digits-mlp", device="cpu")


def test_sections_tell_machine_setting_and_time() -> None:
    text = render(
        {("cuda", "cifar100-resnet18-sota"): results_of("cifar100-resnet18-sota", rules=("cold",), seeds=2)}
    )
    assert "\n### cifar100-resnet18-sota on CIFAR-10 (JPEG) (NVIDIA X)\n" in text
    assert (
        "resnet18 (max_pool=no), 3 chunks of 1,000 pictures, sgd, learning rate 0.1, batch 128, "
        "weight decay 0.0005, step size scheduled, augmented, 260 epochs a stage, bfloat16; 3 minutes of runs."
    ) in text
    noisy = results_of("cifar10-resnet18-noise", rules=("cold",), seeds=1)
    noisy = noisy.with_run(
        Run(rule="warm", seed=0), made_table(number, ("warm",), (0,)), seconds=9.0, device="cpu"
    )
    text = render({("cuda", noisy.name): noisy})
    assert re.search(r"\(NVIDIA X, .+, \d+ cores\)\n", text)
    assert "batch 128, accuracy 0.999 (at most 200 epochs), bfloat16; 20% wrong labels; 2 minutes of runs." in text
    assert "](figures/cuda-cifar10-resnet18-noise.png)" in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of results: a preset on a GPU, and a changed one on a CPU."""
    for kind, one in (
        ("cuda", results_of("cifar10-resnet18")),
        ("cpu", results_of("digits-mlp+label_noise=0_05", device="cpu")),
    ):
        one.save(tmp_path / "results" / kind / f"{one.name}.csv")
    return tmp_path / "results"


def test_the_page_and_its_figures_are_made_from_the_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    assert table_main(["--results", str(folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}/RESULTS.md from 2 tables\n"
    text = (out / "RESULTS.md").read_text()
    assert text == render(read_all(folder))
    pictures = re.findall(r"\]\((figures/.*?\.png)\)", text)
    assert pictures == ["figures/cuda-cifar10-resnet18.png", "figures/cpu-digits-mlp+label_noise=0_05.png"]
    assert all((out / picture).exists() for picture in pictures)
    assert all((out / picture).with_suffix(".svg").exists() for picture in pictures)
    assert list(read_all(folder)) == [("cuda", "cifar10-resnet18"), ("cpu", "digits-mlp+label_noise=0_05")]


def test_an_empty_folder_gives_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert table_main(["--results", str(tmp_path / "results"), "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "RESULTS.md").read_text() == render({})
    assert not (tmp_path / "page" / "figures").exists()


def test_what_cannot_be_read_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "cuda" / "cifar10-resnet18.csv"
    path.write_text(path.read_text()[:-9])
    assert table_main(["--results", str(folder), "--out", str(tmp_path / "page")]) == 2
    assert f"another content in '{path}'" in one_line(capsys)
    assert table_main(["--results", str(tmp_path / "none"), "--out", str(tmp_path / "page")]) == 2
    assert "--results must be a folder of results" in one_line(capsys)
    (tmp_path / "file").write_text("")
    path.unlink()
    assert table_main(["--results", str(folder), "--out", str(tmp_path / "file")]) == 2
    assert "--out must be a folder that can be written" in one_line(capsys)


# --- figures ----------------------------------------------------------------------------------------------------

COSINES = tuple(f"cosine_{when}_{place:02d}" for when in ("before", "after") for place in range(BINS))
BOTH = ("test_accuracy", "steps", "old_accuracy_epoch0", "old_accuracy_reestimated_epoch0")


def drawn(metrics: tuple[str, ...], **options: Any) -> Any:
    table = made_table(
        lambda rule, seed, stage, metric: stage / 10 + len(metric) / 100, metrics=metrics, **options
    )
    with style():
        return draw_results(table, [], title="title", setting="setting", foot="; foot"), table


@pytest.mark.parametrize(
    ("metrics", "titles"),
    [
        (("test_accuracy", "steps"), ["What the rule leaves", "Alignment after the rule"]),
        ((*BOTH, *COSINES), ["What the rule leaves", "Alignment after the rule, stage 3"]),
        ((*BOTH, "canary_accuracy_at_start_reestimated"), ["What the rule leaves", "Memorised, after the rule"]),
    ],
)
def test_all_four_panels_are_labelled(metrics: tuple[str, ...], titles: list[str]) -> None:
    figure, _ = drawn(metrics)
    panels = figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == ["Generalisation", "Training time", *titles]
    assert all(ax.get_ylabel() for ax in panels)
    assert all(ax.get_xlabel() for ax in panels if ax.lines or ax.patches)
    assert ("re-estimated" in panels[2].get_ylabel()) == ("old_accuracy_reestimated_epoch0" in metrics)
    unmeasured = [ax for ax in panels if any(text.get_text() == "not measured" for text in ax.texts)]
    assert len(unmeasured) == (2 if len(metrics) == 2 else 0)
    plt.close(figure)


def test_panels_show_the_table() -> None:
    figure, table = drawn((*BOTH, "canary_accuracy_at_start_reestimated"))
    metrics = ["test_accuracy", "steps", "old_accuracy_reestimated_epoch0", "canary_accuracy_at_start_reestimated"]
    for ax, metric, scale in zip(figure.axes, metrics, (100, 1, 100, 100), strict=True):
        expected = table[(table["metric"] == metric) & (table["rule"] == "cold") & (table["seed"] == 0)]["value"]
        assert list(ax.lines[0].get_ydata()) == pytest.approx(list(scale * expected))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cold", "warm"]
    words = [text.get_text() for text in figure.texts]
    assert "setting" in words
    assert any(word.endswith("over these seeds; foot") for word in words)
    plt.close(figure)


def test_cosines_are_those_of_the_last_stage_that_has_them() -> None:
    def value(rule: str, seed: int, stage: int, metric: str) -> float:
        return stage + seed + len(rule) + int(metric[-2:]) / 100 if metric.startswith("cosine") else 0.5

    whole = made_table(value, ("cold", "warm", "dash"), stages=4, metrics=("test_accuracy", "steps", *COSINES))
    after = whole["metric"].str.startswith("cosine_after")
    table = whole[~after | (whole["stage"].isin((2, 3)) & ((whole["rule"] != "dash") | (whole["stage"] == 2)))]
    with style():
        figure = draw_results(table, [], title="", setting="", foot="")
    ax = figure.axes[3]
    assert ax.get_title(loc="left") == "Alignment after the rule, stage 3"
    places = [place / 100 for place in range(BINS)]
    shares = sorted(list(patch.get_data()[0]) for patch in ax.patches if isinstance(patch, StepPatch))
    expected = [100 * (3 + 1 + 4 + place) for place in places]  # cold and warm, mean over seeds 0, 1, 2
    before = [100 * (2 + 1 + 4 + place) for place in places]  # warm, at the end of stage 2
    assert shares == [pytest.approx(before), pytest.approx(expected), pytest.approx(expected)]
    assert (legend := ax.get_legend()) is not None
    assert [text.get_text() for text in legend.get_texts()] == ["warm, before"]
    plt.close(figure)


def test_rings_are_the_authors_figures_at_their_stage() -> None:
    table = made_table(lambda *_: 0.5, stages=50, seeds=(0,))
    with style():
        figure = draw_results(table, list(PUBLISHED), title="", setting="", foot="")
    rings = [line.get_xydata() for line in figure.axes[0].lines[2:]]
    accuracies = [one for one in PUBLISHED if one.metric == "test_accuracy" and one.stage]
    np.testing.assert_allclose(np.concatenate(rings), [[one.stage, 100 * one.value] for one in accuracies])
    assert any("rings: one run of the authors each, original pixels" in text.get_text() for text in figure.texts)
    plt.close(figure)


def test_a_figure_says_when_runs_are_not_finished(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    feet: list[tuple[str, list[str]]] = []
    titles: list[str] = []

    def note(table: pd.DataFrame, published: Any, *, title: str, setting: str, foot: str) -> Any:
        feet.append((foot, [one.rule for one in published]))
        titles.append(title)
        return plt.figure()

    monkeypatch.setattr("dashtheory.paper.report.draw_results", note)
    one = results_of("cifar10-resnet18")
    part = one.with_run(
        Run(rule="dash", seed=0), made_table(number, ("dash",), (0,), 2), seconds=1.0, device="NVIDIA X"
    )
    other = results_of("svhn-mlp+rho=0_5")
    for place, found in enumerate((one, part, other)):
        found.save(tmp_path / str(place) / "cuda" / f"{found.name}.csv")
        assert table_main(["--results", str(tmp_path / str(place)), "--out", str(tmp_path / "page")]) == 0
    assert [foot for foot, _ in feet] == [
        "; NVIDIA X",
        "; runs that are not finished yet as far as they went; NVIDIA X",
        "; NVIDIA X",
    ]
    assert titles == [*["CIFAR-10 (JPEG): cifar10-resnet18"] * 2, "CIFAR-10 (JPEG): svhn-mlp, changed"]
    assert [len(rules) for _, rules in feet] == [len(PUBLISHED), len(PUBLISHED), 0]


def test_tuned_rules_take_no_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out", "--budget", "9m", rules="cold:weight_decay=tuned") == 2
    assert "--budget must be left out for tuned rules, got cold:weight_decay=tuned" in one_line(capsys)
