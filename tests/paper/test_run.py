"""A run of the paper is a run of the protocol; time, memory and measures change none of its numbers."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import pickle
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from dashtheory.deep.paper_config import PaperConfig
from dashtheory.deep.run_paper import PROBLEM, OutOfTime, _Watch
from torch import Tensor, nn

from dashtheory.deep import run_paper as run_module
from dashtheory.deep.data import digits, make_stream
from dashtheory.deep.models import build_model
from dashtheory.evaluate import Scores, cross_entropy
from dashtheory.measure import BINS
from dashtheory.measure.network import cosine_histogram
from dashtheory.protocol import Measures, PictureMeasures, Schedule, Task, TrainConfig, fitting_batch, run_stages
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.record import Run, missing_runs
from dashtheory.rules import Learner
from dashtheory.rules.spec import parse_spec
from dashtheory.seeds import numpy_stream, torch_stream
from dashtheory.stream import Examples, join
from tests.paper.toys import run_toy, run_until, stages_of, toy

BARE: dict[str, Any] = {"histograms": 0, "retention": -1}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- a run is a run of the protocol -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "seed"), [("warm", 0), ("dash", 0), ("sp", 1), ("cold:weight_decay=0.01:learning_rate=0.1", 0)]
)
def test_a_plain_run_is_the_protocol_on_the_float_stream_to_the_bit(rule: str, seed: int, tmp_path: Path) -> None:
    config = toy(engine="plain", rules=(rule,), **BARE)
    made = make_stream(digits(), num_chunks=3, chunk_size=70, generator=numpy_stream(seed, "data"))
    spec = parse_spec(rule)
    options: dict[str, Any] = {"learning_rate": 0.01, **spec.training}
    task = Task(
        make_model=lambda generator: build_model("mlp", (1, 8, 8), 10, generator, widths=(16, 16)),
        make_optimizer=lambda parameters: make_optimizer("sgd", parameters, **options),
    )
    training = TrainConfig(batch_size=70, criterion="accuracy", threshold=0.999, max_epochs=2)
    results = run_stages(
        made.stream, spec.rule, task, training, seed=seed, measures=Measures(retention=-1, weights=True)
    )
    assert stages_of(run_toy(config, tmp_path, rule, seed=seed)) == [result.metrics() for result in results]


def test_schedule_and_augmentation_reach_the_training(tmp_path: Path) -> None:
    changed: dict[str, Any] = {"milestones": (1,), "decay": 0.5, "warmup_epochs": 1, "pad": 1, "flip": True}
    config = toy(engine="plain", criterion="epochs", optimizer="sam", rho=0.2, momentum=0.5, **changed, **BARE)
    source = config.source(0)
    given = config.task_on("cpu", source)
    task = Task(
        make_model=given.make_model,
        make_optimizer=lambda parameters: make_optimizer(
            "sam", parameters, learning_rate=0.01, momentum=0.5, rho=0.2
        ),
        schedule=Schedule(milestones=(1,), decay=0.5, warmup_epochs=1),
        augmentation=config.augmentation(),
    )
    training = TrainConfig(batch_size=70, criterion="epochs", threshold=0.999, max_epochs=2)
    results = run_stages(
        source.stream, parse_spec("warm").rule, task, training, seed=0, measures=Measures(retention=-1)
    )
    ours = stages_of(run_toy(config, tmp_path, "warm"))
    assert ours == [result.metrics() for result in results]
    assert [stage["epochs"] for stage in ours] == [2, 2, 2]
    for leave in ("milestones", "warmup_epochs", "pad", "flip"):  # each of them does something
        without = dataclasses.replace(config, **{leave: type(changed[leave])()})
        assert stages_of(run_toy(without, tmp_path / leave, "warm")) != ours


@pytest.mark.parametrize("rule", ["warm", "dash"])
def test_both_engines_give_the_same_bits_with_the_same_optimizer(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfused(name: str, parameters: Any, *, fused: bool, **options: Any) -> torch.optim.Optimizer:
        return make_optimizer(name, parameters, **options)

    monkeypatch.setattr("dashtheory.deep.paper_config.make_optimizer", unfused)
    plain, fast = (run_toy(toy(engine=engine), tmp_path / engine, rule) for engine in ("plain", "fast"))
    pd.testing.assert_frame_equal(plain, fast, check_exact=True)


def test_rows_say_what_they_are_of(tmp_path: Path) -> None:
    table = run_toy(toy(seconds=True), tmp_path, "dash", seed=2)
    assert set(table["level"]) == {"deep"}
    assert set(table["experiment"]) == {"toy"}
    assert set(table["rule"]) == {"dash"}
    assert set(table["seed"]) == {2}
    assert list(table["stage"].unique()) == [1, 2, 3]
    assert {"train_seconds", "rule_seconds"} < set(table["metric"])


def test_seeds_differ_in_everything_and_rules_of_a_seed_share_the_first_stage(tmp_path: Path) -> None:
    config = toy(num_chunks=1)
    first, other = (run_toy(config, tmp_path / rule, rule) for rule in ("cold", "dash"))
    assert stages_of(first) == stages_of(other)
    again = run_toy(config, tmp_path / "1", "cold", seed=1)
    assert stages_of(again) != stages_of(first)


# --- time -------------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


SCORES = Scores(loss=1.0, accuracy=0.5)


def watch_with(deadline: float | None) -> tuple[_Watch, Clock, list[tuple[float, str]]]:
    clock, told = Clock(), list[tuple[float, str]]()
    return _Watch(4, deadline, lambda share, text: told.append((share, text)), clock), clock, told


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


@pytest.mark.parametrize("rule", ["warm", "dash", "cold"])
@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_run_that_ran_out_of_time_goes_on_to_the_same_bits(
    rule: str, last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still until the first epoch after stage `last`; then the budget is over."""
    config = toy(milestones=(1,), criterion="epochs", optimizer="adam", pad=1, label_noise=0.1)
    whole = run_toy(config, tmp_path / "whole", rule)
    clock = Clock()
    monkeypatch.setattr(
        run_module, "_Watch", lambda number, deadline, report: _Watch(number, deadline, report, clock)
    )

    def report(share: float, text: str) -> None:
        told.append(text)
        if text.startswith(f"stage {last + 1}/"):
            clock.now = 100.0

    told: list[str] = []
    part = run_toy(config, tmp_path / "part", rule, report=report, deadline=50.0)
    assert told[-1] == "out of time"
    assert told[-2].startswith(f"stage {last + 1}/3, epoch 1")
    pd.testing.assert_frame_equal(part, whole[whole["stage"] <= last], check_dtype=bool(last), check_exact=True)
    clock.now = 0.0
    rest: list[str] = []
    again = run_toy(config, tmp_path / "part", rule, report=lambda share, text: rest.append(text), deadline=50.0)
    assert rest[0].startswith(f"stage {last + 1}/3, epoch 1")
    pd.testing.assert_frame_equal(again, whole, check_exact=True)


def test_a_deadline_that_is_over_begins_nothing_and_reads_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, told = toy(), []
    whole = run_toy(config, tmp_path / "whole", "warm")
    with monkeypatch.context() as patch:
        patch.setattr(PaperConfig, "source", lambda *_: pytest.fail("the data were read"))
        table = run_toy(
            config, tmp_path / "none", "warm", deadline=0.0, report=lambda share, text: told.append((share, text))
        )
        kept = run_toy(config, tmp_path / "whole", "warm", deadline=0.0)
    assert table.empty
    assert told == [(0.0, "out of time")]
    assert not (tmp_path / "none").exists()
    pd.testing.assert_frame_equal(kept, whole, check_exact=True)  # what is there is still handed over


def test_tuning_is_watched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy(rules=("cold:weight_decay=tuned",), decays=(0.0, 0.1), **BARE)
    clock, told = Clock(), []
    monkeypatch.setattr(
        run_module, "_Watch", lambda number, deadline, report: _Watch(number, deadline, report, clock)
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
    assert stages_of(tuned) in [stages_of(one) for one in fixed]
    scores = [float(text.split(": ")[1].removesuffix("%")) for text in told[:2]]
    assert stages_of(tuned) == stages_of(fixed[scores.index(max(scores))])


def test_what_tuning_has_chosen_is_trained_with(tmp_path: Path) -> None:
    told: list[str] = []
    config = toy(rates=(0.001, 0.1), num_chunks=1, **BARE)
    run_toy(
        config, tmp_path, "cold:learning_rate=tuned", report=lambda share, text: told.append(text.split(":")[0])
    )
    assert told[:2] == ["learning_rate 0.001", "learning_rate 0.1"]
    only = toy(decays=(0.5,), **BARE)
    tuned, fixed = (run_toy(only, tmp_path / how, f"cold:weight_decay={how}") for how in ("tuned", "0.5"))
    assert stages_of(tuned) == stages_of(fixed)


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


def test_missing_runs_go_seed_by_seed() -> None:
    config = toy(rules=("cold", "dash:lam=0.05"))
    done = {Run(rule="cold", seed=1), Run(rule="warm", seed=0)}
    missing = missing_runs(config.rules, [0, 1, 2], done)
    names = ["cold-seed0", "dash-lam=0.05-seed0", "dash-lam=0.05-seed1", "cold-seed2", "dash-lam=0.05-seed2"]
    assert [run.name for run in missing] == names


# --- memory -----------------------------------------------------------------------------------------------------


class Full:
    """A device with room for so many pictures in a step, from a moment on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, error: Exception, patience: int = 0) -> None:
        self.room, self.error, self.patience, self.tried = room, error, patience, []  # type: ignore[var-annotated]
        self.forward = nn.BatchNorm1d.forward
        monkeypatch.setattr(nn.BatchNorm1d, "forward", lambda norm, inputs: self(norm, inputs))

    def __call__(self, norm: nn.BatchNorm1d, inputs: Tensor) -> Tensor:
        if norm.training:
            self.patience -= 1
            self.tried.append(len(inputs))
            if self.patience < 0 and len(inputs) > self.room:
                raise self.error
        return self.forward(norm, inputs)


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (40, r"Say --batch-size 35\."),
        (9, r"Say --batch-size 8\."),
        (2, r"Say --batch-size 2\."),
        (1, r"Not even two pictures fit: choose a smaller model\."),
        (0, r"Not even two pictures fit: choose a smaller model\."),
    ],
)
@pytest.mark.parametrize("error", [OUT, MemoryError()], ids=["device", "host"])
def test_when_memory_runs_out_the_batch_that_fits_is_named(
    error: Exception, room: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Full(monkeypatch, room, error)
    message = rf"memory must hold a step and a rule's pass, got batches of 70 on cpu\. {words} Finished stages"
    with pytest.raises(ValueError, match=message) as caught:
        run_toy(toy(), tmp_path, "warm")
    assert "\n" not in str(caught.value)


def test_finished_stages_are_intact_when_memory_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_toy(toy(), tmp_path / "whole", "warm")
    with monkeypatch.context() as patch:
        # stage 1 takes two steps of two norms each, and re-estimates once at its end; stage 2 as much before
        Full(patch, 35, OUT, patience=9)
        with pytest.raises(ValueError, match="--batch-size 35"):
            run_toy(toy(), tmp_path / "part", "warm")
    assert "stage-0001.checkpoint" in [path.name for path in (tmp_path / "part").iterdir()]
    pd.testing.assert_frame_equal(run_toy(toy(), tmp_path / "part", "warm"), whole, check_exact=True)


def test_where_a_step_fits_smaller_chunks_are_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowded(*_: object, **__: object) -> None:
        raise OUT

    monkeypatch.setattr(run_module, "run_resumable", crowded)
    with pytest.raises(ValueError, match=r"A step fits: choose smaller chunks \(--chunk-size\), or run fewer"):
        run_toy(toy(), tmp_path, "warm")


def test_what_filled_the_memory_is_let_go_before_another_batch_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Tensor]] = []
    still: list[bool] = []

    def crowded(*_: object, **__: object) -> None:
        large, circle = torch.zeros(3), [torch.zeros(3)]
        circle.append(circle)  # type: ignore[arg-type]
        held.extend((weakref.ref(large), weakref.ref(circle[0])))
        raise OUT

    def look(try_step: Callable[[int], object], size: int, *, least: int) -> int:
        still.extend(one() is not None for one in held)
        return fitting_batch(try_step, size, least=least)

    monkeypatch.setattr(run_module, "run_resumable", crowded)
    monkeypatch.setattr(run_module, "fitting_batch", look)
    with pytest.raises(ValueError, match="A step fits"):
        run_toy(toy(), tmp_path, "warm")
    assert still == [False, False]


def test_other_errors_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Full(monkeypatch, 0, RuntimeError("an illegal instruction was met"))
    with pytest.raises(RuntimeError, match="illegal instruction"):
        run_toy(toy(), tmp_path, "warm")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(run_module, "run_resumable", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):  # though a step by itself would fit
        run_toy(toy(), tmp_path, "warm")


def test_a_loss_that_is_not_finite_ends_the_run_and_says_so(tmp_path: Path) -> None:
    found = run_toy(toy(learning_rate=1e30, rules=("warm",)), tmp_path, "warm")
    assert found.empty
    assert pickle.loads(pickle.dumps(found)).attrs[PROBLEM].startswith("loss must")
    assert PROBLEM not in run_toy(toy(), tmp_path / "fine", "warm").attrs


# --- measures ---------------------------------------------------------------------------------------------------


def network(seed: int = 0) -> nn.Sequential:
    """A linear layer and a convolution on 3 x 3 pictures, with batch norm."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.Linear(6, 3)
        )


def chunks_of(*sizes: int) -> list[Examples]:
    generator = torch_stream(0, "data")
    return [
        Examples(torch.randn(size, 1, 3, 3, generator=generator), torch.randint(3, (size,), generator=generator))
        for size in sizes
    ]


def test_canaries_are_the_flagged_pictures_one_by_one() -> None:
    chunks, model = chunks_of(30, 20, 25), network(1).eval()
    chunks[2] = Examples(3 * chunks[2].inputs + 2, chunks[2].targets)  # so that statistics differ
    noisy = tuple(torch.rand(len(chunk), generator=torch_stream(1, "data")) < 0.4 for chunk in chunks)
    measures = PictureMeasures(noisy=(*noisy, torch.ones(9, dtype=torch.bool)))

    def naive(parts: int) -> float:
        right = count = 0
        for chunk, mask in zip(chunks[:parts], noisy[:parts], strict=True):
            for picture, label, wrong in zip(chunk.inputs, chunk.targets, mask, strict=True):
                if wrong:
                    count += 1
                    right += int(model(picture[None]).argmax()) == int(label)
        return right / count

    assert 0 < naive(3) < 1
    start, end = measures.at_start(model, chunks), measures.at_end(model, chunks, chunks[0])
    assert start["canary_accuracy_at_start"] == naive(2)
    assert end["canary_accuracy"] == naive(3)
    assert "canary_accuracy" not in start
    assert "canary_accuracy_at_start" not in measures.at_start(model, chunks[:1])
    # With statistics of the stage's data, in one batch, as batch norm in training mode has them.
    again = network(1)
    again.train()
    for part in again:
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    again(join(chunks).inputs)
    model = again.eval()
    assert end["canary_accuracy_reestimated"] == naive(3)
    assert start["canary_accuracy_at_start_reestimated"] == naive(2)
    assert naive(3) != end["canary_accuracy"]  # so that the two could be told apart
    again.train()
    again(join(chunks[:2]).inputs)
    again.eval()
    assert naive(2) != start["canary_accuracy_at_start_reestimated"]  # which is not on old data alone


def test_canaries_need_flags() -> None:
    chunks, model = chunks_of(4, 4), network()
    none = torch.zeros(4, dtype=torch.bool)
    absent: tuple[Tensor, ...] = ()
    for flags in (absent, (none, none)):
        found = PictureMeasures(noisy=flags).at_end(model, chunks, chunks[0])
        assert not any(name.startswith("canary") for name in found)
    one = PictureMeasures(noisy=(none, ~none)).at_end(model, chunks, chunks[0])
    assert "canary_accuracy" in one
    plain = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    bare = PictureMeasures(noisy=(~none, none)).at_end(plain, chunks, chunks[0])
    assert "canary_accuracy" in bare
    assert "canary_accuracy_reestimated" not in bare
    for flags in ((none[:3], none), (none,)):
        with pytest.raises(ValueError, match="noisy must have one entry per example of every chunk"):
            PictureMeasures(noisy=flags).at_end(model, chunks, chunks[0])


def naive_histogram(model: nn.Sequential, examples: Examples) -> list[float]:
    """Group by group: kernels of a convolution, rows of a linear layer, whole biases; weighed by entries."""
    model = model.eval()
    model.zero_grad()
    cross_entropy(model(examples.inputs), examples.targets).backward()
    shares, total = [0.0] * BINS, 0
    for part in model:
        if not isinstance(part, nn.Conv2d | nn.Linear):
            continue
        assert part.weight.grad is not None
        assert part.bias is not None
        assert part.bias.grad is not None
        groups: list[tuple[Tensor, Tensor]] = [(part.bias, part.bias.grad)]
        for weight, slope in zip(part.weight, part.weight.grad, strict=True):
            if isinstance(part, nn.Conv2d):
                groups += zip(weight, slope, strict=True)
            else:
                groups.append((weight, slope))
        for group, slope in groups:
            ours, theirs = group.detach().double().flatten(), -slope.double().flatten()
            cosine = float(ours @ theirs / (ours.norm() * theirs.norm()))
            shares[min(int((cosine + 1) / 2 * BINS), BINS - 1)] += ours.numel()
            total += ours.numel()
    return [share / total for share in shares]


@pytest.mark.parametrize("seed", range(4))
def test_a_histogram_of_cosines_is_the_naive_one(seed: int) -> None:
    examples, model = join(chunks_of(8, 5)), network(seed)
    found = cosine_histogram(model, examples, "before")
    assert list(found) == [f"cosine_before_{place:02d}" for place in range(BINS)]
    assert sum(found.values()) == pytest.approx(1.0)
    assert list(found.values()) == pytest.approx(naive_histogram(network(seed), examples))
    assert len({value for value in found.values() if value}) > 3


def test_the_outermost_bins_hold_cosines_of_one() -> None:
    """Two weights of one entry: for label 0 of two, descent raises the first weight and lowers the second."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    example = Examples(torch.ones(1, 1, 1, 1), torch.tensor([0]))
    for signs, places in (((1.0, 1.0), {19: 0.5, 0: 0.5}), ((1.0, -1.0), {19: 1.0}), ((-1.0, 1.0), {0: 1.0})):
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor(signs)[:, None])  # type: ignore[operator]
        found = cosine_histogram(model, example, "after")
        assert {int(name[-2:]): share for name, share in found.items() if share} == places


def test_cosines_before_and_after_a_rule_are_on_the_same_data(tmp_path: Path) -> None:
    def cosines(stage: dict[str, float], when: str) -> list[float]:
        return [value for name, value in stage.items() if name.startswith(f"cosine_{when}_")]

    warm = stages_of(run_toy(toy(), tmp_path / "warm", "warm"))
    for one, following in itertools.pairwise(warm):
        assert len(cosines(one, "before")) == BINS
        assert cosines(one, "before") == cosines(following, "after")
    assert not cosines(warm[0], "after")
    cold = stages_of(run_toy(toy(), tmp_path / "cold", "cold"))
    assert cosines(cold[0], "before") != cosines(cold[1], "after")
    second = stages_of(run_toy(toy(histograms=2), tmp_path / "second", "warm"))
    assert [bool(cosines(stage, "before")) for stage in second] == [False, True, False]
    assert [bool(cosines(stage, "after")) for stage in second] == [False, False, True]


@pytest.mark.parametrize("rule", ["sp", "dash"])
def test_measuring_changes_no_number_of_the_run(rule: str, tmp_path: Path) -> None:
    bare = stages_of(run_toy(toy(label_noise=0.1, **BARE), tmp_path / "bare", rule))
    full = toy(label_noise=0.1, retention=1, alignment=1, gradients=True, seconds=True)
    measured = stages_of(run_toy(full, tmp_path / "full", rule))
    for one, other in zip(bare, measured, strict=True):
        assert one.items() <= other.items()
        assert "canary_accuracy" in other
    assert "canary_accuracy" in bare[0]  # wrong labels are always followed
    assert "canary_accuracy_at_start_reestimated" in measured[1]


def test_measuring_leaves_model_and_streams_alone() -> None:
    chunks, model = chunks_of(8, 5), network()
    learner = Learner(model, make_optimizer("sgd", model.parameters(), learning_rate=0.1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    flags = (torch.ones(8, dtype=torch.bool), torch.ones(5, dtype=torch.bool))
    measures = PictureMeasures(noisy=flags, histograms=1, alignment=0, gradients=True)
    measures.at_start(learner.model, chunks)
    measures.at_end(learner.model, chunks, chunks[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
