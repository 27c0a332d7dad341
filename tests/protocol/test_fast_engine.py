"""Fast training: the same bits as the readable engine, steps recorded once, scores of every epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dashtheory.deep.data import PictureAugmentation
from dashtheory.evaluate import Sums, cross_entropy, evaluate
from dashtheory.protocol import (
    FastEngine,
    MakeEngine,
    PlainEngine,
    Schedule,
    TrainConfig,
    Training,
    Work,
    make_fast_engine,
    train,
)
from dashtheory.protocol.engine import take_step
from dashtheory.protocol.fast_engine import CudaGraphs, capturable
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Learner
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples
from tests.protocol.fast_cases import examples, network, pictures, same


def trained(make: MakeEngine, optimizer: str = "sgd", **options: Any) -> tuple[Learner, Training]:
    model = network()
    learner = Learner(model, make_optimizer(optimizer, model.parameters(), learning_rate=0.01))
    config = TrainConfig(batch_size=options.pop("batch_size", 16), criterion="epochs", max_epochs=3)
    draws = torch_stream(0, "augmentation")
    return learner, train(
        learner, pictures(39), config, torch_stream(0, "order"), make_engine=make, draws=draws, **options
    )


class Recorder:
    """Stands for CUDA graphs: replays a step, and remembers what was recorded."""

    def __init__(self) -> None:
        self.recorded: list[float] = []
        self.replays = 0

    def __call__(self, step: Callable[[], object], optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        self.recorded.append(float(optimizer.param_groups[0]["lr"]))

        def replay() -> None:
            self.replays += 1
            step()

        return replay


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "augmented": {"augmentation": PictureAugmentation(pad=2, rotation=15.0)},
    "scheduled": {"schedule": Schedule(milestones=(2,), warmup_epochs=1)},
    "even batches": {"batch_size": 13},
    "one batch": {"batch_size": 64},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "sam", "upgd", "trac", "muon"])
def test_the_fast_engine_gives_the_bits_of_its_readable_twin(optimizer: str, case: str) -> None:
    plain, one = trained(PlainEngine, optimizer, **CASES[case])
    recorder = Recorder()
    for make in (make_fast_engine, lambda work: FastEngine(work, recorder)):
        fast, other = trained(make, optimizer, **CASES[case])
        assert one == other
        assert same(plain.model, fast.model)


def test_a_penalty_is_in_every_step_of_both() -> None:
    def with_penalty(make: MakeEngine) -> nn.Module:
        model = network()
        learner = Learner(model, make_optimizer("sgd", model.parameters(), learning_rate=0.01))
        config = TrainConfig(batch_size=16, criterion="epochs", max_epochs=2)
        train(
            learner,
            pictures(39),
            config,
            torch_stream(0, "order"),
            make_engine=make,
            penalty=lambda: sum((p.square().sum() for p in model.parameters()), torch.zeros(())),
        )
        return model

    plain = with_penalty(PlainEngine)
    assert same(plain, with_penalty(make_fast_engine))
    assert not same(plain, trained(PlainEngine)[0].model)


@pytest.mark.parametrize("optimizer", ["upgd", "trac", "muon"])
def test_an_optimizer_that_computes_on_the_host_is_not_recorded(optimizer: str) -> None:
    recorder = Recorder()
    trained(lambda work: FastEngine(work, recorder), optimizer)
    assert recorder.recorded == []


def test_each_size_is_taken_once_and_then_recorded_once() -> None:
    recorder = Recorder()
    trained(lambda work: FastEngine(work, recorder))  # 3 epochs of 2 full batches and one of 7
    assert len(recorder.recorded) == 2
    assert recorder.replays == 9 - 2


def test_each_step_size_is_recorded_and_a_warm_up_is_not() -> None:
    recorder = Recorder()
    schedule = Schedule(milestones=(2,), decay=0.5, warmup_epochs=1)
    trained(lambda work: FastEngine(work, recorder), schedule=schedule)
    # epoch 1 moves its step size; epochs 2 and 3 have one each, for two sizes
    assert recorder.recorded == [0.01, 0.01, 0.005, 0.005]
    assert recorder.replays == 6


def test_recording_lets_adam_count_on_the_device_and_puts_it_back() -> None:
    adam = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    with capturable(adam):
        assert adam.param_groups[0]["capturable"] is True
    assert adam.param_groups[0]["capturable"] is False
    with capturable(torch.optim.SGD([nn.Parameter(torch.ones(2))])):
        pass


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "sam"])
def test_recorded_steps_train_as_unrecorded_ones_do_on_cuda(optimizer: str, case: str) -> None:
    def on_cuda(make: MakeEngine) -> tuple[nn.Module, Training]:
        options = dict(CASES[case])
        model = network().cuda()
        learner = Learner(
            model, make_optimizer(optimizer, model.parameters(), learning_rate=0.01, fused=optimizer == "adam")
        )
        config = TrainConfig(batch_size=options.pop("batch_size", 16), criterion="epochs", max_epochs=3)
        found = train(
            learner,
            pictures(39).to("cuda"),
            config,
            torch_stream(0, "order"),
            make_engine=make,
            draws=torch_stream(0, "augmentation"),
            **options,
        )
        return model, found

    (plain, one), (fast, other) = on_cuda(PlainEngine), on_cuda(make_fast_engine)
    assert other.last_epoch.loss == pytest.approx(one.last_epoch.loss, rel=1e-3)  # kernels may differ in rounding
    for ours, theirs in zip(plain.state_dict().values(), fast.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)


def test_a_number_of_epochs_is_run_whatever_the_scores() -> None:
    model = network()
    learner = Learner(model, make_optimizer("sgd", model.parameters(), learning_rate=0.01))
    config = TrainConfig(batch_size=16, criterion="epochs", threshold=0.0, max_epochs=3)
    found = train(learner, pictures(39), config, torch_stream(0, "order"))
    assert (found.status, found.epochs, found.steps) == ("all_epochs", 3, 9)


def test_an_optimizer_in_one_kernel_is_the_same_up_to_rounding() -> None:
    models = []
    for fused in (False, True):
        model = network()
        optimizer = make_optimizer("sgd", model.parameters(), learning_rate=0.01, weight_decay=0.01, fused=fused)
        config = TrainConfig(batch_size=16, criterion="epochs", max_epochs=2)
        train(Learner(model, optimizer), pictures(39), config, torch_stream(0, "order"))
        models.append(model)
    for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert evaluate(models[0], pictures(39)).accuracy == evaluate(models[1], pictures(39)).accuracy


def learner() -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(2, 3)
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_optimizer_that_never_looks_is_refused() -> None:
    class Blind(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            """Does not call the closure."""

    model = nn.Linear(2, 3)
    blind = Learner(model, Blind(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"optimizer must call the closure of its step, got Blind\."):
        take_step(Work(learner=blind, examples=examples(4), batch_size=4, loss_fn=cross_entropy), examples(4))


def test_scores_of_a_step_are_of_the_weights_before_it() -> None:
    one, batch = learner(), examples(5)
    logits = one.model(batch.inputs).detach()
    loss, found = take_step(Work(learner=one, examples=batch, batch_size=5, loss_fn=cross_entropy), batch)
    assert torch.equal(found, logits)
    assert torch.equal(loss, cross_entropy(logits, batch.targets))
    assert not loss.requires_grad
    assert not torch.equal(one.model(batch.inputs), logits)


def test_means_of_an_epoch_weigh_each_target_the_same() -> None:
    one = learner()
    batch = examples(7)
    with torch.no_grad():
        logits = one.model(batch.inputs)
    one.optimizer.param_groups[0]["lr"] = 0.0  # so that all batches meet the same weights
    work = Work(learner=one, examples=batch, batch_size=3, loss_fn=cross_entropy)
    assert work.num_steps == 3
    found = train(one, batch, TrainConfig(batch_size=3, max_epochs=1), torch_stream(0, "order"))
    assert found.last_epoch.loss == pytest.approx(float(cross_entropy(logits, batch.targets)))
    assert found.last_epoch.accuracy == pytest.approx(float((logits.argmax(1) == batch.targets).float().mean()))
    assert found.steps == 3


def test_sums_begin_anew() -> None:
    sums, targets = Sums(torch.device("cpu")), torch.tensor([0, 1])
    sums.add(torch.tensor(2.0), torch.eye(2), targets)
    sums.clear()
    sums.add(torch.tensor(0.5), torch.eye(2).flip(0), targets)
    found = sums.read()
    assert (found.loss, found.accuracy) == (0.5, 0.0)


def test_examples_are_visited_in_the_order_given_each_with_its_draw() -> None:
    class Marking:
        """Adds its draw to a picture."""

        def draw(self, number: int, generator: torch.Generator) -> Tensor:
            return torch.arange(number)[:, None] * 100.0

        def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
            seen.append((inputs[:, 0] + draws[:, 0]).tolist())
            return inputs

    seen: list[list[float]] = []
    batch = Examples(torch.arange(5.0)[:, None].expand(5, 2), torch.zeros(5, dtype=torch.int64))
    order = torch.randperm(5, generator=torch_stream(0, "order")).tolist()
    train(
        learner(),
        batch,
        TrainConfig(batch_size=2, max_epochs=1),
        torch_stream(0, "order"),
        make_engine=PlainEngine,
        augmentation=Marking(),
        draws=torch_stream(0, "augmentation"),
    )
    assert [value for part in seen for value in part] == [
        100.0 * place + which for place, which in enumerate(order)
    ]


def test_an_optimizer_that_counts_on_the_host_is_not_recorded() -> None:
    adam = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match="optimizer must count its steps on the device, got Adam"):
        CudaGraphs()(lambda: None, adam)
