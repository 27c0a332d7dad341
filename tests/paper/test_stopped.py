"""Runs that are stopped, by their budget, a kill or a full disk, go on to the same bits."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from dashtheory.deep import run as run_module
from dashtheory.deep.run import OutOfTime, Watch, WatchedPause, rule_jobs, run_rule
from dashtheory.evaluate import Scores
from dashtheory.parallel import Job
from dashtheory.record import Results
from dashtheory.record.results import identity_of
from tests.paper.toys import BARE, made_table, run_toy, run_until, stages_of, toy


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


SCORES = Scores(loss=1.0, accuracy=0.5)


def watch_with(deadline: float | None) -> tuple[Watch, Clock, list[tuple[float, str]]]:
    clock, told = Clock(), list[tuple[float, str]]()
    watch = Watch(toy(num_chunks=4), None, deadline, lambda share, text: told.append((share, text)), clock)
    return watch, clock, told


def test_a_stage_is_given_up_at_the_deadline() -> None:
    watch, clock, _ = watch_with(10.0)
    for epoch in range(1, 10):
        clock.now = float(epoch)
        watch.on_epoch(1, epoch, SCORES)
    clock.now = 10.0
    with pytest.raises(OutOfTime):
        watch.on_epoch(1, 10, SCORES)


def test_a_stage_that_would_end_too_late_is_given_up_after_an_epoch() -> None:
    """A stage takes (stage) / (stage - 1) times what the one before took: 4 seconds, then 8, then 12."""
    for deadline, fits in ((17.5, False), (18.5, True)):
        watch, clock, _ = watch_with(deadline)
        clock.now = 2.0
        watch.on_epoch(1, 1, SCORES)
        clock.now = 6.0
        watch.on_epoch(2, 1, SCORES)  # the first took 4 s from epoch to epoch, so this one ends at 14 s
        clock.now = 10.0
        watch.on_epoch(3, 1, SCORES)  # the second took 4 s, too: 10 + 4 * 3 / 2 = 16 s
        clock.now = 12.0
        watch.on_epoch(3, 2, SCORES)
        clock.now = 16.0  # the third took 6 s: 16 + 6 * 4 / 3 = 24 s
        with pytest.raises(OutOfTime):
            watch.on_epoch(4, 1, SCORES)
        watch, clock, _ = watch_with(deadline)
        watch.on_epoch(1, 1, SCORES)
        clock.now = 6.0
        if fits:
            watch.on_epoch(2, 1, SCORES)  # 6 + 6 * 2 = 18 s
        else:
            with pytest.raises(OutOfTime):
                watch.on_epoch(2, 1, SCORES)


def test_nothing_is_predicted_from_a_stage_that_was_not_watched_whole() -> None:
    watch, clock, _ = watch_with(10.0)
    clock.now = 9.0  # reading data, say
    watch.on_epoch(3, 1, SCORES)  # a run that goes on
    clock.now = 9.5
    watch.on_epoch(3, 2, SCORES)
    free, clock, _ = watch_with(None)
    clock.now = 1e9
    free.on_epoch(1, 1, SCORES)
    free.check(1e9)


def test_shares_rise_to_one() -> None:
    watch, _, told = watch_with(None)
    for stage in range(1, 5):
        for epoch in (1, 15, 30, 100):
            watch.on_epoch(stage, epoch, SCORES)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.01
    assert 0.95 < shares[-1] < 1
    assert told[0][1] == "stage 1/4, epoch 1, accuracy 50.0%"


def test_a_stage_that_is_kept_is_begun_although_it_will_not_end_in_time() -> None:
    """It ends with the last epoch whose like fits: epochs take a second, then two."""
    watch, clock, _ = watch_with(12.0)
    watch.keeps, pause = True, WatchedPause(watch)

    def epoch(stage: int, number: int, now: float) -> bool:
        clock.now = now
        due = pause.is_due()
        watch.on_epoch(stage, number, SCORES)
        return due

    assert [epoch(1, number, float(number)) for number in range(1, 7)] == [False] * 6
    assert not epoch(2, 1, 7.0)  # the first took 5 s: 12 in all, and 24 are needed
    assert not epoch(2, 2, 9.0)
    with pytest.raises(OutOfTime):
        epoch(2, 3, 11.0)
    assert watch.ending


def test_a_stage_that_cannot_be_kept_is_given_up_as_ever(tmp_path: Path) -> None:
    watch, clock, _ = watch_with(12.0)
    watch.keeps, pause = True, WatchedPause(watch)
    for now in (4.0, 8.0):  # the next would end in time to the second, so that the stage is due
        clock.now = now
        due = pause.is_due()
        if due:
            pause.cannot()
        watch.on_epoch(1, int(now), SCORES)
    assert due
    assert not watch.keeps
    clock.now = 9.0
    with pytest.raises(OutOfTime):
        watch.on_epoch(2, 1, SCORES)  # 5 s, and then 10


def test_the_end_is_foreseen_by_all_calls_of_a_stage() -> None:
    """Two seconds in the first stage after 98 of an earlier call: 100, so that the second stage will take 200."""
    for earlier, epochs, left in ((98.0, (1.0, 2.0, 3.0), 200), (0.0, (1.0, 2.0, 3.0), 4), (98.0, (), 200)):
        watch, clock, told = watch_with(None)
        WatchedPause(watch).goes_on(earlier)
        for clock.now in epochs:
            watch.on_epoch(1, int(clock.now), SCORES)
        clock.now = clock.now or 2.0  # without an epoch: it had reached its end in the earlier call
        watch.num_stages = 2
        before = time.time()
        watch.on_stage(1, {"test_accuracy": 0.5, "steps": 10.0})
        until = [time.strftime("%a %H:%M", time.localtime(before + left + more)) for more in (0, 1)]
        assert str(told[-1][1]).split("end about ")[1] in until
        assert watch.earlier == 0


def test_a_stage_is_due_every_ten_minutes() -> None:
    watch, clock, _ = watch_with(None)
    pause, due = WatchedPause(watch), []
    for clock.now in (0.0, 599.0, 600.0, 601.0, 1199.0, 1300.0, 1899.0, 1900.0):
        due.append((clock.now, pause.is_due()))
    assert [now for now, one in due if one] == [600.0, 1300.0, 1900.0]


@pytest.mark.parametrize(("rule", "done"), [("warm", 2), ("dash", 2), ("cold", 2), ("l2_init", 0), ("ema", 0)])
@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_run_that_ran_out_of_time_goes_on_to_the_same_bits(
    rule: str, done: int, last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still until the first epoch after stage `last`; then the budget is over.

    The next epoch's end is where it is kept; a rule that acts in the loss or after steps has its stage given up.
    """
    config = toy(milestones=(1, 3), criterion="epochs", optimizer="adam", pad=1, label_noise=0.1, max_epochs=4)
    whole = run_toy(config, tmp_path / "whole", rule)
    clock = Clock()
    monkeypatch.setattr(
        run_module,
        "Watch",
        lambda config, number, deadline, report: Watch(config, number, deadline, report, clock),
    )

    def report(share: float, text: str) -> None:
        told.append(text)
        if text.startswith(f"stage {last + 1}/"):
            clock.now = 100.0

    told: list[str] = []
    part = run_toy(config, tmp_path / "part", rule, report=report, deadline=50.0)
    assert told[-1] == "out of time"
    assert told[-2].startswith(f"stage {last + 1}/3, epoch {done or 1},")
    pd.testing.assert_frame_equal(part, whole[whole["stage"] <= last], check_dtype=bool(last), check_exact=True)
    clock.now = 0.0
    rest: list[str] = []
    again = run_toy(config, tmp_path / "part", rule, report=lambda share, text: rest.append(text), deadline=50.0)
    assert rest[0].startswith(f"stage {last + 1}/3, epoch {done + 1},")
    pd.testing.assert_frame_equal(again, whole, check_exact=True)


def test_a_deadline_that_is_over_begins_nothing_and_reads_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, told = toy(), []
    whole = run_toy(config, tmp_path / "whole", "warm")
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "make_source", lambda *_: pytest.fail("the data were read"))
        table = run_toy(
            config, tmp_path / "none", "warm", deadline=0.0, report=lambda share, text: told.append((share, text))
        )
        kept = run_toy(config, tmp_path / "whole", "warm", deadline=0.0)
    assert table.empty
    assert told == [(0.0, "out of time")]
    assert not (tmp_path / "none").exists()
    pd.testing.assert_frame_equal(kept, whole, check_exact=True)  # what is there is still handed over


def trained(table: pd.DataFrame) -> list[dict[str, float]]:
    """Metrics of each stage, but the value that was chosen."""
    return stages_of(table[~table["metric"].str.startswith("chosen_")])


def test_tuning_is_watched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy(rules=("cold:weight_decay=tuned",), decays=(0.0, 0.1), **BARE)
    clock, told = Clock(), []
    monkeypatch.setattr(
        run_module,
        "Watch",
        lambda config, number, deadline, report: Watch(config, number, deadline, report, clock),
    )

    def report(share: float, text: str) -> None:
        told.append(text)
        clock.now += 1.0

    rule = "cold:weight_decay=tuned"
    assert run_toy(config, tmp_path / "short", rule, report=report, deadline=0.5).empty
    assert [text.split(":")[0] for text in told] == ["weight_decay 0", "out of time"]
    told.clear()
    tuned = run_toy(config, tmp_path / "long", rule, report=report)
    assert [text.split(":")[0] for text in told[:2]] == ["weight_decay 0", "weight_decay 0.1"]
    fixed = [run_toy(config, tmp_path / str(decay), f"cold:weight_decay={decay}") for decay in (0.0, 0.1)]
    assert trained(tuned) in [stages_of(one) for one in fixed]
    scores = [float(text.split()[-1].removesuffix("%")) for text in told[:2]]
    assert trained(tuned) == stages_of(fixed[scores.index(max(scores))])


def test_what_tuning_has_chosen_is_trained_with(tmp_path: Path) -> None:
    told: list[str] = []
    config = toy(rates=(0.001, 0.1), num_chunks=1, **BARE)
    run_toy(
        config, tmp_path, "cold:learning_rate=tuned", report=lambda share, text: told.append(text.split(":")[0])
    )
    assert told[:2] == ["learning_rate 0.001", "learning_rate 0.1"]
    only = toy(decays=(0.5,), **BARE)
    tuned, fixed = (run_toy(only, tmp_path / how, f"cold:weight_decay={how}") for how in ("tuned", "0.5"))
    assert trained(tuned) == stages_of(fixed)
    assert {stage["chosen_weight_decay"] for stage in stages_of(tuned)} == {0.5}


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL within a stage, between two, and halfway through writing a checkpoint."""
    config = toy(criterion="epochs")
    whole = run_toy(config, tmp_path / "whole", "dash")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.paper.toys", "torch._dynamo", "sklearn.datasets"])
    for moment in ("stage 1/3, epoch 2", "stage 2", "stage 3/3, epoch 1", "stage 3"):
        process = context.Process(target=run_until, args=(config, tmp_path / "killed", "dash", moment))
        process.start()
        process.join()
        assert process.exitcode == -9, moment
    again = run_toy(config, tmp_path / "killed", "dash")
    pd.testing.assert_frame_equal(again, whole, check_exact=True)


def test_a_checkpoint_is_of_one_setting_one_seed_and_one_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_toy(toy(rules=("warm", "cold")), tmp_path, "warm")
    run_toy(toy(rules=("warm",)), tmp_path, "warm", report=lambda *_: pytest.fail("it was run again"))
    with pytest.raises(ValueError, match="checkpoint must be of this run and stage"):
        run_toy(toy(batch_size=35), tmp_path, "warm")
    with pytest.raises(ValueError, match="checkpoint must be of this run and stage"):
        run_toy(toy(), tmp_path, "cold")
    with pytest.raises(ValueError, match="checkpoint must be of this run and stage"):
        run_toy(toy(), tmp_path, "warm", seed=1)
    monkeypatch.setattr(run_module, "describe_device", lambda device: "another")
    with pytest.raises(ValueError, match="checkpoint must be of this run and stage"):
        run_toy(toy(), tmp_path, "warm")


def test_a_damaged_checkpoint_is_told_and_costs_a_stage(tmp_path: Path) -> None:
    whole = run_toy(toy(), tmp_path, "dash")
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-9])
    told: list[str] = []
    again = run_toy(toy(), tmp_path, "dash", report=lambda share, text: told.append(text))
    assert str(newest) in told[0]
    assert told[1].startswith("stage 3/3, epoch 1")
    pd.testing.assert_frame_equal(again, whole, check_exact=True)


def test_a_full_disk_leaves_the_finished_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, written = run_toy(toy(), tmp_path / "whole", "dash"), Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if b'"stage": 2' in data[:300]:
            raise OSError(28, "No space left on device")
        return written(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            run_toy(toy(), tmp_path / "full", "dash")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["stage-0001.checkpoint"]
    pd.testing.assert_frame_equal(run_toy(toy(), tmp_path / "full", "dash"), whole, check_exact=True)


def test_jobs_go_seed_by_seed_and_what_is_at_hand_is_not_among_those_to_do() -> None:
    jobs = rule_jobs(toy(rules=("cold", "dash:lam=0.05")), [0, 1, 2], "toy")
    results = Results(name="toy", config={})
    for job in (jobs[2], Job(name="warm-seed0", function=run_rule)):
        table = made_table(lambda *_: 0.5, ("cold",), (1,))
        results = results.with_run(job.name, table, identity=identity_of(job, {}), seconds=1.0)
    names = ["cold-seed0", "dash-lam=0.05-seed0", "dash-lam=0.05-seed1", "cold-seed2", "dash-lam=0.05-seed2"]
    assert [job.name for job in jobs if not results.reached(job.name)] == names
