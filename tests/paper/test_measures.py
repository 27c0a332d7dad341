"""Canaries and cosines are the naive ones; measures change none of a run's numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dashtheory.evaluate import cross_entropy
from dashtheory.measure import BINS
from dashtheory.measure.network import cosine_histogram
from dashtheory.protocol import (
    Measures,
    measure_at_end,
    measure_at_start,
)
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Learner
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples, join
from tests.paper.toys import BARE, run_toy, stages_of, toy


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


CANARIES = Measures(canaries=True)


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
    flags = (*noisy, torch.ones(9, dtype=torch.bool))

    def naive(parts: int) -> float:
        right = count = 0
        for chunk, mask in zip(chunks[:parts], noisy[:parts], strict=True):
            for picture, label, wrong in zip(chunk.inputs, chunk.targets, mask, strict=True):
                if wrong:
                    count += 1
                    right += int(model(picture[None]).argmax()) == int(label)
        return right / count

    assert 0 < naive(3) < 1
    start = measure_at_start(CANARIES, model, chunks, noisy=flags)
    end = measure_at_end(CANARIES, model, chunks, chunks[0], noisy=flags)
    assert start["canary_accuracy_at_start"] == naive(2)
    assert end["canary_accuracy"] == naive(3)
    assert "canary_accuracy" not in start
    assert "canary_accuracy_at_start" not in measure_at_start(CANARIES, model, chunks[:1], noisy=flags)
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
        found = measure_at_end(CANARIES, model, chunks, chunks[0], noisy=flags)
        assert not any(name.startswith("canary") for name in found)
    one = measure_at_end(CANARIES, model, chunks, chunks[0], noisy=(none, ~none))
    assert "canary_accuracy" in one
    plain = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    bare = measure_at_end(CANARIES, plain, chunks, chunks[0], noisy=(~none, none))
    assert "canary_accuracy" in bare
    assert "canary_accuracy_reestimated" not in bare
    for flags in ((none[:3], none), (none,)):
        with pytest.raises(ValueError, match="noisy must have one entry per example of every chunk"):
            measure_at_end(CANARIES, model, chunks, chunks[0], noisy=flags)


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
    measures = Measures(canaries=True, histograms=1, alignment=0, gradients=True)
    assert "canary_accuracy_at_start" in measure_at_start(measures, learner.model, chunks, noisy=flags)
    assert "canary_accuracy" in measure_at_end(measures, learner.model, chunks, chunks[0], noisy=flags)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
