"""Statistics taken anew: the moments over all examples, however these are cut into batches."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dashtheory import batchnorm
from dashtheory.batchnorm import StaleStatistics, has_statistics, reestimated

NAMES = ("running_mean", "running_var")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
    )


def by_class(number: int) -> Tensor:
    """Inputs in the order of three far-away classes."""
    labels = torch.arange(number) * 3 // number
    return torch.randn(number, 4, generator=generator()) + 4.0 * labels[:, None]


def at_once(model: nn.Module, inputs: Tensor) -> nn.Module:
    """By hand: torch's training-mode statistics of one whole batch, all else in evaluation mode."""
    again = copy.deepcopy(model).eval()
    for part in again.modules():
        if isinstance(part, nn.modules.batchnorm._NormBase):
            part.reset_running_stats()
            part.momentum = None if isinstance(part, nn.modules.batchnorm._BatchNorm) else 1.0
            part.train()
    again(inputs)
    return again.eval()


def apart(one: nn.Module, other: nn.Module) -> float:
    """Largest relative distance of their statistics."""
    theirs = dict(other.named_buffers())
    pairs = [(value, theirs[name]) for name, value in one.named_buffers() if name.endswith(NAMES)]
    return max(float(((a - b).abs() / (b.abs() + 1e-3)).max()) for a, b in pairs)


@pytest.fixture(params=[(0, 0), (0, 2**26), (2**26, 0)], ids=["layer by layer", "together", "in torch's pass"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    torchs, most = request.param
    monkeypatch.setattr(batchnorm, "ONE_PASS", torchs)
    monkeypatch.setattr(batchnorm, "most_numbers", lambda device: most)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("batch_size", [1, 7, 50, 51, 99, 100, 1000])
def test_batches_of_any_size_and_order_give_the_moments_over_all_examples(batch_size: int) -> None:
    model, inputs = flat(), by_class(100)
    found = reestimated(model, inputs, batch_size=batch_size)
    assert apart(found, at_once(model, inputs)) < 1e-4  # float32 sums in another order
    assert not any(part.training for part in found.modules())
    assert found.get_submodule("1").momentum == 0.1


@settings(max_examples=20, deadline=None)
@given(
    number=st.integers(2, 40),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 100),
    most=st.sampled_from([0, 2**26]),
)
def test_how_examples_are_cut_plays_no_part(number: int, batch_size: int, seed: int, most: int) -> None:
    model, inputs = flat(), torch.randn(number, 4, generator=generator(seed)).cumsum(dim=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batchnorm, "ONE_PASS", 0)
        patch.setattr(batchnorm, "most_numbers", lambda device: most)
        found = reestimated(model, inputs, batch_size=batch_size)
    assert apart(found, at_once(model, inputs)) < 2e-3  # few examples: small variances of large numbers


def test_all_examples_in_one_batch_give_the_bits_of_torch() -> None:
    model, inputs = flat(), by_class(100)
    found, want = reestimated(model, inputs).state_dict(), at_once(model, inputs).state_dict()
    assert all(torch.equal(value, want[name]) for name, value in found.items())


class Pictures(nn.Module):
    """Branches, a layer that is used twice, and one that is not used."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem, self.one, self.two, self.unused = nn.Conv2d(1, 4, 3), norm(4), norm(4), norm(4)
        self.body, self.shared = nn.Conv2d(4, 4, 3, padding=1), norm(4)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps."""
        x = self.stem(x)
        x = self.one(x).relu() + self.two(x * 2)
        x = self.shared(self.body(x)).relu()
        out: Tensor = self.shared(self.body(x)).mean(dim=(2, 3))
        return out


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("norm", ["batch", "instance", "both"])
def test_branches_shared_and_unused_layers(norm: str) -> None:
    def make(channels: int) -> nn.Module:
        batch = nn.BatchNorm2d(channels)
        instance = nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)
        return {"batch": batch, "instance": instance, "both": nn.Sequential(instance, nn.Conv2d(4, 4, 1), batch)}[
            norm
        ]

    model = Pictures(make)
    for name, buffer in model.named_buffers():
        if name.endswith(NAMES):
            buffer.uniform_(1, 2, generator=generator())
    inputs = torch.randn(30, 1, 6, 6, generator=generator()) * torch.arange(1, 31)[:, None, None, None]
    found, want = reestimated(model, inputs, batch_size=11), at_once(model, inputs)
    wanted = dict(want.named_buffers())
    for name, value in found.named_buffers():
        if name.endswith(NAMES):
            if name.startswith("unused"):
                wanted[name] = model.get_buffer(name)
            if norm != "batch" and name.startswith("shared"):
                continue  # torch's own keep the last call alone, ours the mean over calls
            torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5)


def test_instance_statistics_are_the_mean_of_each_examples_own() -> None:
    norm = nn.InstanceNorm1d(2, track_running_stats=True)
    inputs = torch.randn(9, 2, 5, generator=generator())
    for batch_size in (2, 100):
        found = reestimated(norm, inputs, batch_size=batch_size)
        torch.testing.assert_close(found.get_buffer("running_mean"), inputs.mean(dim=2).mean(dim=0))
        torch.testing.assert_close(found.get_buffer("running_var"), inputs.var(dim=2).mean(dim=0))
    assert has_statistics(norm)
    assert not has_statistics(nn.InstanceNorm1d(2))


def test_one_value_per_channel_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="inputs must have a variance in 1, got one value per channel"):
        reestimated(flat(), by_class(1))


def test_the_model_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchnorm, "ONE_PASS", 0)
    monkeypatch.setattr(batchnorm, "most_numbers", lambda device: 0)
    model = flat().train()
    before, stream = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    reestimated(model, by_class(20), batch_size=6)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert torch.equal(torch.get_rng_state(), stream)


@pytest.mark.usefixtures("way")
def test_compiled_models_are_looked_at_layer_by_layer() -> None:
    model, inputs = flat().eval(), by_class(30)
    compiled = torch.compile(model, backend="eager")
    compiled(inputs)
    found = reestimated(compiled, inputs, batch_size=7)  # type: ignore[arg-type]
    want = at_once(model, inputs)
    torch.testing.assert_close(found(inputs), want(inputs), rtol=1e-4, atol=1e-5)


def test_layers_of_ones_own_with_statistics_are_told() -> None:
    own = nn.Module()
    for name in NAMES:
        own.register_buffer(name, torch.ones(3))
    with pytest.warns(StaleStatistics, match="running statistics of Module cannot be taken anew"):
        assert not has_statistics(nn.Sequential(nn.Linear(3, 3), own))


@pytest.mark.parametrize(
    ("memory", "cores", "most"),
    [
        (24 << 30, 2, 402_653_184),  # a core has 12 GiB: eight tensors of 1.5 GiB
        (4 << 30, 8, 2**26),  # never fewer than torch's pass may have
        (1 << 50, 4, 2**31 - 1),  # torch counts no further in places
    ],
)
def test_as_many_numbers_go_together_as_a_core_s_share_of_memory_holds(
    memory: int, cores: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batchnorm, "machine_memory", lambda: memory)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert batchnorm.most_numbers(torch.device("cpu")) == most
    assert batchnorm.most_numbers(torch.device("meta")) == 2**26  # devices that do not say


def test_more_examples_than_fit_go_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = flat(), list[int]()
    model.register_forward_pre_hook(lambda module, given: passes.append(len(given[0])))
    monkeypatch.setattr(batchnorm, "ONE_PASS", 0)
    two_layers_then_through = 3 * [6, 6, 6, 2]
    for most, want in ((20 * 8, [20]), (20 * 8 - 1, two_layers_then_through)):
        monkeypatch.setattr(batchnorm, "most_numbers", lambda device, most=most: most)
        passes.clear()
        reestimated(model, by_class(20), batch_size=6)
        assert passes == [2, 2, *want]  # two looks at two examples


def test_a_wide_layer_without_statistics_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Linear(50, 3), nn.BatchNorm1d(3)).double()
    assert batchnorm._largest(model, by_class(20).double()) == 20 * 50 * 2  # of eight bytes: two numbers of four
