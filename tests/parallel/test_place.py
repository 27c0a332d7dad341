"""Where runs are computed is checked before anything is submitted: one line each, and status 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashtheory.command import ways
from dashtheory.command.program import SCRIPT
from dashtheory.command.script import main
from dashtheory.command.ways import HERE, Way, device_of, planned
from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import rule_jobs
from dashtheory.parallel import place as place_module
from dashtheory.parallel.place import Place
from dashtheory.protocol import find_device
from dashtheory.record.results import identity_of
from tests.toys import TOY

WRONG = {
    ("--on", "moon"): "--on must be local, slurm or dask:ADDRESS, got 'moon'",
    ("--on", "slurm:x"): "--on must be local, slurm or dask:ADDRESS, got 'slurm:x'",
    ("--on", "dask"): "--on must be local, slurm or dask:ADDRESS, got 'dask'",
    ("--on", "dask:here"): "--on must name a scheduler as dask:tcp://HOST:PORT, got 'here'",
    ("--partition", "gpu"): "--partition must come with Slurm, got 'local'. Say --on slurm, or leave it out.",
    ("--hours", "3"): "--hours must come with Slurm, got 'local'",
    ("--on", "slurm", "--hours", "-1"): "--hours must be a number in [0, inf), got -1.0",
    ("--on", "slurm", "--array", "-1"): "--array must be an integer >= 0, got -1",
    ("--on", "slurm", "--partition", "a b; rm"): "--partition must be a name of Slurm's, got 'a b; rm'",
    ("--on", "slurm", "--gpus", "2"): "--gpus must be 0 or 1 of each run, got 2",
    ("--on", "slurm"): "--on must find Slurm's commands, got no sbatch, srun, sacct, scancel, scontrol",
    ("--gpus", "1"): "--gpus must be left out, got 1. These runs are for CPUs.",
    ("--track", "paper"): "--track must be one of tensorboard, wandb, got 'paper'",
}


@pytest.mark.parametrize("options", WRONG)
def test_a_wrong_option_is_one_line_and_nothing_is_written(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(place_module, "find_spec", lambda name: object())
    assert main(TOY, ["--out", str(tmp_path / "out"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.removeprefix("toy.py: ").startswith(WRONG[options])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        (("--on", "slurm"), "slurm"),
        (("--on", "dask:tcp://a:1"), "dask"),
        (("--track", "wandb"), "wandb"),
        (("--track", "tensorboard"), "tensorboard"),
    ],
)
def test_a_missing_extra_is_named_with_what_installs_it(
    options: tuple[str, ...],
    extra: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (place_module, ways):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert main(TOY, ["--out", str(tmp_path / "out"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"pip install 'dashtheory[{extra}]'")
    assert not (tmp_path / "out").exists()


def test_a_budget_is_of_calls_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_module, "_check_slurm", lambda gpus: None)
    assert main(SCRIPT, ["--out", str(tmp_path / "out"), "--on", "slurm", "--budget", "9m"]) == 2
    line = "dashtheory run: --budget must be left out for runs elsewhere, got 9m. Their time is --hours N of each."
    assert capsys.readouterr().err == f"{line}\n"


def elsewhere(monkeypatch: pytest.MonkeyPatch, **values: Any) -> Way:
    monkeypatch.setattr(place_module, "_check_slurm", lambda gpus: None)
    monkeypatch.setattr(place_module, "_check_dask", lambda address, gpus: None)
    return Way(place=Place(**values))


def test_the_device_of_runs_elsewhere_is_not_looked_for_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> str:
        raise AssertionError(name)

    cluster = elsewhere(monkeypatch, on="slurm", gpus=1)
    assert device_of(cluster, "auto", find) == device_of(cluster, "cuda", find) == "cuda"
    assert device_of(elsewhere(monkeypatch, on="slurm"), "auto", find) == "cpu"
    assert device_of(elsewhere(monkeypatch, on="dask:tcp://a:1"), "cuda", find) == "cuda"
    with pytest.raises(ValueError, match=r"^device must be given by Slurm, got cuda without a GPU\. Say gpus=1\."):
        device_of(elsewhere(monkeypatch, on="slurm"), "cuda", find)
    with pytest.raises(ValueError, match=r"^gpus must be 0 on this device, got 1 with cpu"):
        device_of(cluster, "cpu", find)


def test_all_gpus_of_this_machine_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def find(name: str) -> str:
        asked.append(name)
        return name

    two = elsewhere(monkeypatch, gpus=2)
    assert device_of(two, "auto", find) == "cuda"
    assert asked == ["cuda:1"]
    assert two.place.devices == ("cuda:0", "cuda:1")
    assert device_of(HERE, "auto", find_device) == find_device("auto")


def test_jobs_for_a_gpu_that_is_not_here_differ_in_the_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = elsewhere(monkeypatch, on="slurm", gpus=1)
    config = RunConfig.of(data="digits", model="mlp", rules=("warm",), device="cuda")
    (job,) = planned(cluster, config, lambda config: rule_jobs(config, [0], "x"))
    (here,) = rule_jobs(config.with_values(device="cpu"), [0], "x")
    assert job.arguments["device"] == "cuda"
    assert job.arguments["config"] == config.alone("warm")
    left = {name: value for name, value in job.arguments.items() if name not in ("device", "config")}
    assert left == {name: value for name, value in here.arguments.items() if name not in ("device", "config")}
    assert identity_of(job, {})["setting"] != identity_of(here, {})["setting"]
