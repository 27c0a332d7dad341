"""A run of a preset is a run of the protocol, and when memory runs out a batch that fits is named."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from dashtheory.deep import run as run_module
from dashtheory.deep.data import PictureAugmentation, digits, make_stream
from dashtheory.deep.models import build_model
from dashtheory.deep.task import make_source, make_task
from dashtheory.protocol import (
    Measures,
    Schedule,
    Task,
    TrainConfig,
    fitting_batch,
    run_stages,
)
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.record import PROBLEM
from dashtheory.rules.spec import parse_spec
from dashtheory.seeds import numpy_stream
from tests.paper.toys import BARE, run_toy, stages_of, toy


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    source = make_source(config, 0)
    task = Task(
        make_model=make_task(config, source).make_model,
        make_optimizer=lambda parameters: make_optimizer(
            "sam", parameters, learning_rate=0.01, momentum=0.5, rho=0.2
        ),
        schedule=Schedule(milestones=(1,), decay=0.5, warmup_epochs=1),
        augmentation=PictureAugmentation(pad=1, flip=True),
    )
    training = TrainConfig(batch_size=70, criterion="epochs", threshold=0.999, max_epochs=2)
    results = run_stages(
        source.stream, parse_spec("warm").rule, task, training, seed=0, measures=Measures(retention=-1)
    )
    ours = stages_of(run_toy(config, tmp_path, "warm"))
    assert ours == [result.metrics() for result in results]
    assert [stage["epochs"] for stage in ours] == [2, 2, 2]
    for leave in ("milestones", "warmup_epochs", "pad", "flip"):  # each of them does something
        without = config.with_values(**{leave: type(changed[leave])()})
        assert stages_of(run_toy(without, tmp_path / leave, "warm")) != ours


@pytest.mark.parametrize("rule", ["warm", "dash"])
def test_both_engines_give_the_same_bits_with_the_same_optimizer(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfused(name: str, parameters: Any, *, fused: bool, **options: Any) -> torch.optim.Optimizer:
        return make_optimizer(name, parameters, **options)

    monkeypatch.setattr("dashtheory.deep.task.make_optimizer", unfused)
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


# --- memory ---


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
        (40, r"Say batch_size=35\."),
        (9, r"Say batch_size=8\."),
        (2, r"Say batch_size=2\."),
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
        with pytest.raises(ValueError, match="batch_size=35"):
            run_toy(toy(), tmp_path / "part", "warm")
    assert "stage-0001.checkpoint" in [path.name for path in (tmp_path / "part").iterdir()]
    pd.testing.assert_frame_equal(run_toy(toy(), tmp_path / "part", "warm"), whole, check_exact=True)


def test_where_a_step_fits_smaller_chunks_are_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowded(*_: object, **__: object) -> None:
        raise OUT

    monkeypatch.setattr(run_module, "run_resumable", crowded)
    with pytest.raises(ValueError, match="A step fits: lower chunk_size= or, where several run at once, jobs="):
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
