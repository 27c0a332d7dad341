"""Further laws of fast training: what an engine may not do, and where devices and memory end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dashtheory.evaluate import Sums, cross_entropy
from dashtheory.protocol import (
    PlainEngine,
    Schedule,
    TrainConfig,
    Work,
    describe_device,
    exact_or_fast,
    find_device,
    fitting_batch,
    memory_ran_out,
    train,
)
from dashtheory.protocol.engine import set_rates, take_step
from dashtheory.protocol.fast_engine import CudaGraphs
from dashtheory.rules import Learner
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples


@pytest.mark.parametrize("name", ["cpu:", "cpu:0", "cuda:", "auto:", "auto:1"])
def test_a_number_belongs_to_cuda_and_must_be_there(name: str) -> None:
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or cuda:N, got"):
        find_device(name)


def test_a_cpu_is_called_so() -> None:
    assert find_device("cpu") == describe_device("cpu") == "cpu"


def test_a_smallest_batch_ends_the_search() -> None:
    tried: list[int] = []

    def step(size: int) -> None:
        tried.append(size)
        raise MemoryError

    assert fitting_batch(step, 20, least=2) == 0
    assert tried == [10, 5, 2]
    tried.clear()
    assert fitting_batch(step, 20) == 0
    assert tried == [10, 5, 2, 1]


def test_settings_of_cuda_are_put_back_after_an_error_too() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    seen = []

    def fails() -> None:
        with exact_or_fast("bfloat16"):
            seen.append((cudnn.benchmark, cudnn.allow_tf32))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [(True, True)]
    assert (cudnn.benchmark, cudnn.allow_tf32) == before
    with pytest.raises(ValueError, match="precision must be one of"), exact_or_fast("half"):
        pass


def learner() -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(2, 3)
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))


def examples(number: int) -> Examples:
    generator = torch_stream(0, "data")
    return Examples(torch.randn(number, 2, generator=generator), torch.randint(3, (number,), generator=generator))


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
    found = sums.read(2)
    assert (found.loss, found.accuracy) == (0.5, 0.0)


def test_step_sizes_are_set_group_by_group() -> None:
    model = nn.Linear(2, 3)
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.2}])
    set_rates(optimizer, [0.3, 0.4])
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.4]
    set_rates(optimizer, None)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.4]
    seen: list[list[float]] = []
    train(
        Learner(model, optimizer),
        examples(4),
        TrainConfig(batch_size=4, criterion="epochs", max_epochs=2),
        torch_stream(0, "order"),
        schedule=Schedule(milestones=(1,), decay=0.5),
        on_epoch=lambda *_: seen.append([group["lr"] for group in optimizer.param_groups]),
    )
    assert seen == [[0.3, 0.4], [0.15, 0.2]]


def test_a_schedule_warms_up_over_steps_of_every_epoch_of_it() -> None:
    schedule = Schedule(milestones=(1,), decay=0.5, warmup_epochs=2)
    assert schedule.factors(1, 2) == [0.25, 0.5]
    assert schedule.factors(2, 2) == [0.375, 0.5]  # the fall holds in the warm-up, too
    assert schedule.factors(3, 2) == [0.5, 0.5]


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


def test_an_error_that_memory_led_to_counts_as_memory() -> None:
    def recording() -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    with pytest.raises(RuntimeError) as caught:
        recording()
    assert memory_ran_out(caught.value)
    assert memory_ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    assert not memory_ran_out(RuntimeError("operation failed"))


def test_an_optimizer_that_counts_on_the_host_is_not_recorded() -> None:
    adam = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match="optimizer must count its steps on the device, got Adam"):
        CudaGraphs()(lambda: None, adam)
