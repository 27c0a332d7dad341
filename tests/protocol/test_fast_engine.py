"""Fast training: the same bits as the readable engine, and pictures changed as said."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dashtheory.deep.data import PictureAugmentation
from dashtheory.deep.models import PictureNetwork, build_model
from dashtheory.evaluate import cross_entropy, evaluate
from dashtheory.protocol import (
    FastEngine,
    MakeEngine,
    PlainEngine,
    Schedule,
    TrainConfig,
    Training,
    exact_or_fast,
    find_device,
    fitting_batch,
    make_fast_engine,
    memory_ran_out,
    train,
)
from dashtheory.protocol.fast_engine import capturable
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Learner, dash_
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)


def pictures(number: int, size: int = 8) -> Examples:
    generator = torch_stream(0, "data")
    images = torch.randint(0, 256, (number, 3, size, size), generator=generator, dtype=torch.uint8)
    return Examples(images, torch.randint(0, 4, (number,), generator=generator))


def network(**options: Any) -> PictureNetwork:
    inner = build_model("narrow_resnet", (3, 8, 8), 4, torch_stream(0, "init"), width=4)
    return PictureNetwork(inner, MEAN, STD, **options)


def trained(make: MakeEngine, optimizer: str = "sgd", **options: Any) -> tuple[Learner, Training]:
    model = network()
    learner = Learner(model, make_optimizer(optimizer, model.parameters(), learning_rate=0.01))
    config = TrainConfig(batch_size=options.pop("batch_size", 16), criterion="epochs", max_epochs=3)
    draws = torch_stream(0, "augmentation")
    return learner, train(
        learner, pictures(39), config, torch_stream(0, "order"), make_engine=make, draws=draws, **options
    )


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


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
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "sam"])
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


# --- networks of bytes ------------------------------------------------------------------------------------------


def test_normalisation_is_that_of_the_float_stream_to_the_bit() -> None:
    images = pictures(5).inputs
    shift, scale = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    model = network(channels_last=False).eval()
    assert torch.equal(model(images), model.network(images.float().sub_(shift).div_(scale)))


def test_memory_layout_and_precision_change_rounding_alone() -> None:
    images = pictures(9).inputs
    plain = network(channels_last=False).eval()(images)
    torch.testing.assert_close(network().eval()(images), plain, rtol=1e-4, atol=1e-5)
    rough = network(precision="bfloat16").eval()(images)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, plain)
    assert (rough - plain).norm() < 0.05 * plain.norm()  # bfloat16 has 8 bits; some 20 layers


@pytest.mark.parametrize("number", [1, 4, 9])
def test_parts_give_the_logits_and_gradients_of_the_whole(number: int) -> None:
    batch = pictures(number)
    found = []
    for part in (4, 100):
        model = network(part=part).eval()
        loss = cross_entropy(model(batch.inputs), batch.targets)
        loss.backward()
        with torch.no_grad():
            torch.testing.assert_close(model(batch.inputs), network().eval()(batch.inputs))
        found.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)  # sums in another order


def test_training_mode_never_takes_parts() -> None:
    batch = pictures(9)
    ours, theirs = network(part=4), network(part=100)
    assert torch.equal(ours(batch.inputs), theirs(batch.inputs))


def test_dash_acts_on_bytes_as_on_normalised_pictures() -> None:
    batch = pictures(20)
    shift, scale = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    ours, plain = network(), network(channels_last=False).network
    dash_(ours, [(batch.inputs, batch.targets)], cross_entropy)
    dash_(plain, [(((batch.inputs - shift) / scale), batch.targets)], cross_entropy)
    for mine, other in zip(ours.network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)  # layouts round differently


def test_a_copy_and_a_checkpoint_hold_the_network_alone() -> None:
    model = network()
    assert all(name.startswith("network.") for name in model.state_dict())
    assert same(model, copy.deepcopy(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (1.0,), "std": (1.0, 1.0)}, "mean and std must be one number per channel"),
        ({"mean": (1.0,), "std": (0.0,)}, "mean and std must be one number per channel"),
        ({"precision": "half"}, "precision must be one of float32, tf32, bfloat16"),
        ({"part": 0}, "part must be"),
    ],
)
def test_bad_networks_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PictureNetwork(nn.Identity(), **{"mean": MEAN, "std": STD, **options})


# --- augmentation -----------------------------------------------------------------------------------------------


def naive(image: Tensor, down: int, right: int, mirrored: bool, angle: float) -> Tensor:
    """Crop, mirror, rotate one picture, pixel by pixel."""
    _, height, width = image.shape
    cropped = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                cropped[:, y, x] = image[:, y + down, x + right]
    if mirrored:
        cropped = cropped.flip(2)
    result = torch.zeros_like(image)
    cos, sin = math.cos(angle), math.sin(angle)
    for y in range(height):
        for x in range(width):
            v, u = y - (height - 1) / 2, x - (width - 1) / 2
            row, column = (
                round(cos * v + sin * u + (height - 1) / 2),
                round(cos * u - sin * v + (width - 1) / 2),
            )
            if 0 <= row < height and 0 <= column < width:
                result[:, y, x] = cropped[:, row, column]
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.booleans()),
    st.sampled_from([0.0, 0.1, -0.2, 0.26, 1.0]),
    st.sampled_from([(5, 6), (6, 5), (7, 7)]),
)
def test_a_picture_is_changed_as_one_by_one(
    moves: tuple[int, int, bool], angle: float, shape: tuple[int, int]
) -> None:
    images = torch.arange(1, 2 * 3 * math.prod(shape) + 1).view(2, 3, *shape).to(torch.uint8)
    down, right, mirrored = moves
    augmentation = PictureAugmentation(pad=3, rotation=60.0)
    draws = torch.tensor([[0.0, 0.0, 0.0, 0.0], [down, right, mirrored, angle]])
    changed = augmentation(images, draws)
    assert changed.dtype == torch.uint8
    assert torch.equal(changed[0], images[0])
    assert torch.equal(changed[1], naive(images[1], down, right, mirrored, angle))


def test_draws_are_uniform_over_what_they_may_be() -> None:
    draws = PictureAugmentation(pad=2, rotation=90.0).draw(20_000, torch_stream(0, "augmentation"))
    for column in (0, 1):
        values, counts = draws[:, column].unique(return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert counts.min() > 3700  # 4000 expected; 5 standard deviations are 283
    assert draws[:, 2].mean() == pytest.approx(0.5, abs=0.02)
    assert draws[:, 3].abs().max() <= math.pi / 2
    assert draws[:, 3].abs().mean() == pytest.approx(math.pi / 4, abs=0.02)
    off = PictureAugmentation(pad=0, flip=False).draw(10, torch_stream(0, "augmentation"))
    assert not off.any()


@pytest.mark.parametrize(
    ("options", "message"), [({"pad": -1}, "pad must be"), ({"rotation": 200.0}, "rotation must be")]
)
def test_bad_augmentations_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PictureAugmentation(**options)


# --- schedules --------------------------------------------------------------------------------------------------


def test_a_schedule_rises_then_falls() -> None:
    schedule = Schedule(milestones=(2, 3), decay=0.5, warmup_epochs=1)
    assert schedule.factors(1, 4) == [0.25, 0.5, 0.75, 1.0]
    assert [schedule.factors(epoch, 2) for epoch in (2, 3, 4, 9)] == [[1, 1], [0.5, 0.5], [0.25] * 2, [0.25] * 2]
    assert Schedule(warmup_epochs=2).factors(2, 2) == [0.75, 1.0]


def test_every_stage_starts_from_the_optimizer_s_own_step_size() -> None:
    model = network()
    learner = Learner(model, make_optimizer("sgd", model.parameters(), learning_rate=0.01))
    config = TrainConfig(batch_size=39, criterion="epochs", max_epochs=2)
    seen: list[float] = []
    for _ in range(2):
        train(
            learner,
            pictures(39),
            config,
            torch_stream(0, "order"),
            schedule=Schedule(milestones=(1,), decay=0.5),
            on_epoch=lambda *_: seen.append(learner.optimizer.param_groups[0]["lr"]),
        )
    assert seen == [0.01, 0.005, 0.01, 0.005]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"milestones": (3, 2)}, "milestones must rise"),
        ({"milestones": (0,)}, "milestones must be"),
        ({"decay": 0.0}, "decay must be"),
        ({"warmup_epochs": -1}, "warmup_epochs must be"),
    ],
)
def test_bad_schedules_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(**options)


def test_a_number_of_epochs_is_run_whatever_the_scores() -> None:
    model = network()
    learner = Learner(model, make_optimizer("sgd", model.parameters(), learning_rate=0.01))
    config = TrainConfig(batch_size=16, criterion="epochs", threshold=0.0, max_epochs=3)
    found = train(learner, pictures(39), config, torch_stream(0, "order"))
    assert (found.status, found.epochs, found.steps) == ("all_epochs", 3, 9)


def test_an_augmentation_needs_its_stream() -> None:
    model = network()
    learner = Learner(model, make_optimizer("sgd", model.parameters(), learning_rate=0.01))
    with pytest.raises(ValueError, match="draws must be a generator"):
        train(learner, pictures(4), TrainConfig(), torch_stream(0, "order"), augmentation=PictureAugmentation())


# --- devices and memory -----------------------------------------------------------------------------------------


def test_devices_are_found_or_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == "cpu"
    with pytest.raises(ValueError, match=r"device must be there, got 'cuda', but .*Say --device cpu"):
        find_device("cuda")
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda"):
        find_device("tpu")
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or cuda:N"):
        find_device("cpu:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == "cuda"
    assert find_device("cuda:1") == "cuda:1"
    with pytest.raises(ValueError, match="device must be one of 2, got 'cuda:2'"):
        find_device("cuda:2")


def test_settings_of_cuda_are_put_back() -> None:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32
    with exact_or_fast("float32"):
        assert (cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32) == (True, False, False)
    with exact_or_fast("tf32"):
        assert (cudnn.allow_tf32, products.allow_tf32) == (True, True)
    assert (cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32) == before


@pytest.mark.parametrize(("limit", "fits"), [(100, 64), (64, 64), (63, 32), (1, 1), (0, 0)])
def test_the_batch_that_fits_is_found_by_halving(limit: int, fits: int) -> None:
    def step(size: int) -> None:
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    assert fitting_batch(step, 128) == fits


def test_other_errors_are_not_taken_for_memory() -> None:
    def step(size: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        fitting_batch(step, 128)
    assert memory_ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert memory_ran_out(MemoryError())
    assert not memory_ran_out(ValueError("out of memory"))


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
