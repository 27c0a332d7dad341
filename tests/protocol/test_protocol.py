"""The warm-start protocol: stages, seeds, streams, and measuring that never changes the run."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashtheory.protocol.stages as module
from dashtheory.evaluate import Scores, evaluate
from dashtheory.protocol import (
    Measures,
    StageResult,
    Task,
    TrainConfig,
    measure_at_end,
    measure_at_start,
    part,
    run_stages,
)
from dashtheory.rules import Cold, Dash, L2Init, Rule, ShrinkPerturb, Warm
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples, Stream, cut, join
from tests.protocol.protocol_cases import STREAM, TASK, bits, blobs, make_sgd

CONFIG = TrainConfig(batch_size=8, criterion="accuracy", threshold=0.9, max_epochs=30)


def run(rule: Rule, *, seed: int = 0, **options: Any) -> list[StageResult]:
    return list(run_stages(STREAM, rule, TASK, CONFIG, seed=seed, **options))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_refuses_to_train_where_gradients_are_switched_off(context: Any) -> None:
    with context(), pytest.raises(ValueError, match=r"run_stages .*gradients.*Leave it before"):
        run(Warm())


def test_stage_j_trains_on_chunks_1_to_j() -> None:
    seen: list[set[float]] = []

    class Spy(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if self.training and torch.is_grad_enabled():
                seen[-1].update(inputs[:, 0].tolist())
            return super().forward(inputs)

    task = Task(make_model=lambda generator: Spy(2, 2), make_optimizer=make_sgd)
    config = TrainConfig(batch_size=8, criterion="accuracy", threshold=1.0, max_epochs=1)
    seen.append(set())
    for result in run_stages(STREAM, Warm(), task, config, seed=0):
        assert seen[-1] == set(join(STREAM.chunks[: result.stage]).inputs[:, 0].tolist())
        seen.append(set())


def test_rules_of_one_seed_share_their_first_stage_to_the_bit() -> None:
    firsts = []
    for rule in (Cold(), Warm(), ShrinkPerturb(), Dash()):
        first = next(iter(run_stages(STREAM, rule, TASK, CONFIG, seed=3)))
        firsts.append((bits(first.learner.model), first.training, first.test))
    assert all(first == firsts[0] for first in firsts)


@pytest.mark.parametrize("rule", [Cold(), Warm(), ShrinkPerturb(), Dash()], ids=lambda rule: rule.name)
def test_the_same_seed_gives_the_same_bits_whatever_the_global_streams(rule: Rule) -> None:
    torch.manual_seed(1)
    first = run(rule)
    torch.manual_seed(2)
    again = run(rule)
    assert [r.metrics() for r in first] == [r.metrics() for r in again]
    assert bits(first[-1].learner.model) == bits(again[-1].learner.model)
    other = run(rule, seed=1)
    assert bits(other[-1].learner.model) != bits(first[-1].learner.model)


def test_a_run_leaves_the_global_streams_alone() -> None:
    random.seed(0)
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    run(Dash())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index]  # noqa: NPY002


def test_a_factory_that_draws_globally_is_reproducible_too() -> None:
    task = Task(make_model=lambda generator: nn.Linear(2, 2), make_optimizer=make_sgd)
    first, again = (task.fresh(torch.Generator().manual_seed(5)).model.weight for _ in range(2))
    other = task.fresh(torch.Generator().manual_seed(6)).model.weight
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]


def test_cold_starts_anew_and_warm_goes_on() -> None:
    models = {rule.name: [id(r.learner.model) for r in run(rule)] for rule in (Cold(), Warm())}
    assert len(set(models["warm"])) == 1
    assert len(set(models["cold"])) > 1


def test_measuring_every_epoch_gives_the_same_bits_as_not_measuring() -> None:
    calls: list[tuple[int, int]] = []

    def watch(stage: int, epoch: int, scores: Scores) -> None:
        calls.append((stage, epoch))

    def evaluate_often(result: StageResult) -> StageResult:
        for _ in range(3):
            evaluate(result.learner.model, STREAM.test)
        return result

    plain = run(Dash())
    watched = [
        evaluate_often(result) for result in run_stages(STREAM, Dash(), TASK, CONFIG, seed=0, on_epoch=watch)
    ]
    assert bits(plain[-1].learner.model) == bits(watched[-1].learner.model)
    expected = [(r.stage, epoch) for r in plain for epoch in range(1, r.training.epochs + 1)]
    assert calls == expected


def test_shrinking_rules_report_what_they_did() -> None:
    results = run(Dash(lam=0.2))
    assert results[0].shrink is None
    assert "mean_scale" not in results[0].metrics()
    assert 0.2 <= results[1].metrics()["mean_scale"] <= 1.0
    assert results[1].shrink is not None
    assert results[1].shrink.num_batches == 2  # the gradient pass sees the new chunk too
    assert results[2].shrink is not None
    assert results[2].shrink.num_batches == 3
    assert "mean_scale" not in run(Warm())[1].metrics()


def test_cutting_and_joining_are_inverse() -> None:
    data = blobs(12, 0)
    again = join(cut(data, 4))
    assert torch.equal(again.inputs, data.inputs)
    assert torch.equal(again.targets, data.targets)
    assert [len(part) for part in cut(data, 4)] == [3] * 4


BAD: list[tuple[str, Any, str]] = [
    ("config", {"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
    ("config", {"max_epochs": 0}, "max_epochs must be an integer >= 1, got 0"),
    ("config", {"criterion": "speed"}, "criterion must be one of loss, accuracy, epochs, got 'speed'"),
    ("config", {"threshold": 1.5}, r"threshold must be a number in \[0, 1\], got 1.5"),
    ("config", {"criterion": "loss", "threshold": -1.0}, "threshold must be a number"),
    ("config", {"threshold": float("nan")}, "got nan"),
]


@pytest.mark.parametrize(("_", "options", "message"), BAD)
def test_bad_configurations_name_field_rule_and_value(_: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


def test_bad_streams_are_refused() -> None:
    data = blobs(6, 0)
    with pytest.raises(ValueError, match=r"\(6, 2\) and \(5,\)"):
        Examples(data.inputs, data.targets[:5])
    with pytest.raises(ValueError, match="at least one example"):
        Examples(data.inputs[:0], data.targets[:0])
    with pytest.raises(ValueError, match="at least one chunk"):
        Stream((), data)
    with pytest.raises(ValueError, match="divide the 6 examples, got 4"):
        cut(data, 4)
    with pytest.raises(ValueError, match="at least one part"):
        join([])


def test_seconds_are_those_of_the_rule_and_of_the_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only the parts move: rule 10, measures 1000, each epoch 1, evaluation 100,000."""
    now = [0.0]

    def takes(seconds: float, function: Any) -> Any:
        def slower(*args: Any, **options: Any) -> Any:
            now[0] += seconds
            return function(*args, **options)

        return slower

    for place in (module, part):
        monkeypatch.setattr(place, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Dash, "apply", takes(10.0, Dash.apply))
    monkeypatch.setattr(module, "measure_at_start", takes(1000.0, measure_at_start))
    monkeypatch.setattr(module, "measure_at_end", takes(1000.0, measure_at_end))
    monkeypatch.setattr(module, "evaluate", takes(1e5, evaluate))
    results = run(Dash(), measures=Measures(seconds=True), on_epoch=takes(1.0, lambda *_: None))
    assert [r.measured["rule_seconds"] for r in results] == [0.0, 10.0, 10.0]
    assert [r.measured["train_seconds"] for r in results] == [r.training.epochs for r in results]


def test_a_rule_s_penalty_is_in_every_stage() -> None:
    def weights(rule: Rule) -> list[list[bytes]]:
        return [bits(result.learner.model) for result in run_stages(STREAM, rule, TASK, CONFIG, seed=0)]

    assert weights(L2Init(l2=0.0)) == weights(Warm())
    start = TASK.fresh(torch_stream(0, "init", 1)).model.get_parameter("0.weight").detach()
    far = run(Warm())[-1].learner.model.get_parameter("0.weight").detach() - start
    for result in run_stages(STREAM, L2Init(l2=1.0, form="textbook"), TASK, CONFIG, seed=0):
        near = result.learner.model.get_parameter("0.weight").detach() - start
        assert 3 * float(near.norm()) < float(far.norm()), result.stage
