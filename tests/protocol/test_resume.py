"""A run that was killed, however often and whenever, ends as if it had not been."""

from __future__ import annotations

import json
import multiprocessing
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dashtheory.protocol import Checkpoints, Measures, Task, TrainConfig, run_resumable, run_stages
from dashtheory.rules import RULES, Context, Learner, Rule, RuleState, make_rule
from tests.protocol.killed_run import network, optimizer, run, stream

ROOT = Path(__file__).parents[2]
ALL = Measures(retention=2, gradients=True, alignment=2, effective_step=True)


def parts(rule: str, *, stop_after: int, folder: Path, go_on: bool = True) -> list[dict[str, float]]:
    """Stages 1 to `stop_after` in one call, the others in a second one, if it is to go on."""
    task = Task(make_model=network, make_optimizer=optimizer)
    config = TrainConfig(batch_size=8, threshold=0.7, max_epochs=15)
    finished: list[dict[str, float]] = []
    checkpoints = Checkpoints(folder, {"rule": rule})
    for result in run_stages(stream(), make_rule(rule), task, config, seed=3):
        finished.append(result.metrics())
        checkpoints.save(result.stage, result.learner, finished, result.state)
        if result.stage == stop_after:
            break
    torch.manual_seed(99)  # what the second call finds in the global stream must not matter
    return run(folder, rule) if go_on else finished


@pytest.mark.parametrize("rule", sorted(RULES))
def test_two_calls_give_what_one_gives(rule: str, tmp_path: Path) -> None:
    whole = run(None, rule)
    assert len(whole) == 5
    assert parts(rule, stop_after=2, folder=tmp_path) == whole


@pytest.mark.parametrize("rule", ["cold", "dash", "sp"])
def test_measures_do_not_change_the_run(rule: str) -> None:
    plain, measured = run(None, rule), run(None, rule, measures=ALL)
    for one, other in zip(plain, measured, strict=True):
        assert other.items() > one.items()
    assert "old_accuracy_reestimated_epoch2" in measured[1] or measured[1]["epochs"] < 2
    assert {"gradient_norm_old", "alignment_epoch1", "weight_norm", "effective_step"} < set(measured[2])


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    whole = run(tmp_path, "warm")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert run(tmp_path, "warm") == whole
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_damage_costs_a_stage_and_is_told(tmp_path: Path) -> None:
    whole = run(tmp_path, "dash")
    path = Checkpoints(tmp_path, {"rule": "dash"}).path(5)
    path.write_bytes(path.read_bytes()[:-7])
    told: list[str] = []
    epochs: list[tuple[int, int]] = []
    task = Task(make_model=network, make_optimizer=optimizer)
    again = run_resumable(
        stream(),
        make_rule("dash"),
        task,
        TrainConfig(batch_size=8, threshold=0.7, max_epochs=15),
        seed=3,
        checkpoints=Checkpoints(tmp_path, {"rule": "dash"}),
        on_epoch=lambda stage, epoch, scores: epochs.append((stage, epoch)),
        on_problem=told.append,
    )
    assert again == whole
    assert len(told) == 1
    assert str(path) in told[0]
    assert epochs == [(5, epoch + 1) for epoch in range(int(whole[4]["epochs"]))]
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert run(tmp_path, "dash") == whole  # from the beginning


def test_a_run_does_not_take_another_one_s_checkpoints(tmp_path: Path) -> None:
    run(tmp_path, "warm")
    with pytest.raises(ValueError, match="must be of this run and stage"):
        run(tmp_path, "cold")


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL after a random time, again and again, until a call ends by itself."""
    whole, draws = run(None, "dash"), random.Random(0)
    kills, patience = 0, 0.0
    while not (tmp_path / "finished.json").exists():
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.protocol.killed_run", str(tmp_path), "dash"], cwd=ROOT
        )
        deadline = time.monotonic() + draws.uniform(0.5, 2.5) + patience
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        kills += process.poll() is None
        process.kill()
        process.wait()
        patience += 0.4  # a slow machine needs longer calls, else no stage ever ends
    assert kills > 0
    assert json.loads((tmp_path / "finished.json").read_text()) == whole
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert left == {"finished.json", "stage-0004.checkpoint", "stage-0005.checkpoint"}


@pytest.mark.parametrize("rule", ["l2_init", "sp", "si", "hare_tortoise", "inject"])
def test_so_do_other_rules(rule: str, tmp_path: Path) -> None:
    """The same in processes that are forked after torch was imported, so that more kills fall into the stages."""
    whole, draws = run(None, rule), random.Random(rule)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.protocol.killed_run", "torch._dynamo"])
    kills, patience = 0, 0.0
    while True:
        process = context.Process(target=run, args=(tmp_path, rule))
        process.start()
        process.join(draws.uniform(0.0, 0.2) + patience)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
        patience += 0.1  # as above
    assert process.exitcode == 0
    assert kills > 0
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert left == {"stage-0004.checkpoint", "stage-0005.checkpoint"}
    assert run(tmp_path, rule) == whole  # read from the last checkpoint


def test_a_kill_between_writing_and_dropping_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = Checkpoints.drop_others

    def killed(self: Checkpoints, stage: int) -> None:
        if self.stages() == [3, 4, 5]:
            raise KeyboardInterrupt
        drop(self, stage)

    def names() -> set[str]:
        return {path.name for path in tmp_path.iterdir()}

    monkeypatch.setattr(Checkpoints, "drop_others", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "warm")
    assert names() == {f"stage-000{stage}.checkpoint" for stage in (3, 4, 5)}
    monkeypatch.undo()
    assert len(run(tmp_path, "warm")) == 5
    assert names() == {f"stage-000{stage}.checkpoint" for stage in (4, 5)}


def test_a_run_that_begins_anew_keeps_its_stages_although_damaged_later_ones_lie_there(tmp_path: Path) -> None:
    """They were the newest two, and the stage that had just been written was dropped."""
    whole = run(tmp_path, "warm")
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    parts("warm", stop_after=2, folder=tmp_path, go_on=False)
    assert Checkpoints(tmp_path, {"rule": "warm"}).stages() == [1, 2]
    assert run(tmp_path, "warm") == whole


class Counting(Rule):
    """Remembers how often it was applied, and scales all weights by it."""

    name = "counting"

    def start(self, learner: Learner) -> RuleState:
        return {"count": torch.ones(())}

    def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
        context.state["count"] += 1
        with torch.no_grad():
            for parameter in learner.model.parameters():
                parameter.div_(context.state["count"])
        return learner, None


def test_a_rule_s_memory_goes_on_too(tmp_path: Path) -> None:
    task = Task(make_model=network, make_optimizer=optimizer)
    config = TrainConfig(batch_size=8, max_epochs=2)
    checkpoints, finished, cut = Checkpoints(tmp_path, {}), [], []
    for result in run_stages(stream(), Counting(), task, config, seed=0):
        finished.append(result.metrics())
        assert float(result.state["count"]) == result.stage
        if result.stage <= 3:
            checkpoints.save(result.stage, result.learner, finished, result.state)
    for result in run_stages(stream(), Counting(), task, config, seed=0, resume=checkpoints.load(3)):
        cut.append(result.metrics())
        assert float(result.state["count"]) == result.stage
    assert cut == finished[3:]


@pytest.mark.parametrize("rule", ["warm", "l2_init"])
def test_a_full_folder_leaves_the_finished_stages(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, written = run(None, rule), Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if b'"stage": 3' in data[:300]:
            raise OSError(28, "No space left on device")
        return written(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            run(tmp_path, rule)
    assert Checkpoints(tmp_path, {"rule": rule}).stages() == [1, 2]
    assert run(tmp_path, rule) == whole
