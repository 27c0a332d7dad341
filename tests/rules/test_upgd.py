"""UPGD: the paper's formula, what becomes of SGD, the trap of the maximum, and noise of its own."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dashtheory.rules import UPGD, make_rule, upgd
from tests.oracles.optimizers import upgd_by_hand
from tests.protocol.optimizer_cases import batches, bits, net, step

SHAPES = ((2, 3), (4,), (2, 1, 2))


def tensors(generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def stepped(
    weights: list[Tensor], gradients: list[list[Tensor]], **options: Any
) -> tuple[UPGD, list[nn.Parameter]]:
    """Weights after steps along given gradients."""
    parameters = [nn.Parameter(one.clone()) for one in weights]
    optimizer = UPGD(parameters, **options)
    for each in gradients:
        for parameter, gradient in zip(parameters, each, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return optimizer, parameters


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    beta=st.floats(0, 0.99),
    decay=st.floats(0, 1),
    published=st.booleans(),
    protecting=st.booleans(),
)
def test_it_is_the_formula(seed: int, beta: float, decay: float, published: bool, protecting: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights, gradients = tensors(generator), [tensors(generator) for _ in range(4)]
    _, found = stepped(
        weights,
        gradients,
        learning_rate=0.1,
        weight_decay=decay,
        beta=beta,
        sigma=0.2,
        protecting=protecting,
        maximum="published" if published else "corrected",
    )
    stream = torch.Generator().manual_seed(upgd._seed_of(weights))
    noise = [[0.2 * one for one in tensors(stream)] for _ in gradients]
    expected = upgd_by_hand(
        [one.numpy() for one in weights],
        [[one.numpy() for one in each] for each in gradients],
        eta=0.1,
        decay=decay,
        beta=beta,
        published=published,
        protecting=protecting,
        noise=[[one.numpy() for one in each] for each in noise],
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("protecting", [True, False])
def test_its_noise_is_gated_and_has_the_size_it_says(protecting: bool) -> None:
    """Without a gradient no weight is useful: S = 1/2, and what moves is the noise."""
    weights = [torch.ones(200, 200, dtype=torch.float64)]
    zeros = torch.zeros(200, 200, dtype=torch.float64)
    _, found = stepped(weights, [[zeros]], learning_rate=0.5, beta=0.9, sigma=0.2, protecting=protecting)
    moved = found[0].detach() - 1
    n = moved.numel()
    assert float(moved.std()) == pytest.approx(0.5 * 0.2 / 2, rel=5 / math.sqrt(2 * n))
    assert abs(float(moved.mean())) < 5 * 0.05 / math.sqrt(n)


def test_without_noise_and_protection_it_is_descent_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(make: Any) -> list[bytes]:
        model = net()
        optimizer = make(model.parameters())
        for batch in batches(4):
            step(model, optimizer, batch)
        return bits(model)

    descent = run(lambda p: torch.optim.SGD(p, lr=0.1))
    assert run(lambda p: UPGD(p, learning_rate=0.1, sigma=0.0, protecting=False)) == descent
    assert run(lambda p: UPGD(p, learning_rate=0.1, sigma=0.0)) != descent
    monkeypatch.setattr(upgd, "protection", lambda utility, largest, sign_kept: torch.zeros_like(utility))
    assert run(lambda p: UPGD(p, learning_rate=0.1, sigma=0.0)) == descent


def test_the_most_useful_weight_is_held_alike_at_every_step_and_not_as_published() -> None:
    one, gradient = torch.ones(1, dtype=torch.float64), -torch.ones(1, dtype=torch.float64)

    def moved(sign: float, maximum: str, steps: int) -> float:
        """What the last step moved, the gradient being 1 and no weight decaying."""
        places = [
            stepped([one], [[sign * gradient]] * n, learning_rate=1e-9, sigma=0.0, maximum=maximum)[1][0].item()
            for n in (steps - 1, steps)
        ]
        return abs(places[1] - places[0]) / 1e-9

    held = 1 - 1 / (1 + math.exp(-1))
    for steps in (1, 2, 50):
        assert moved(1, "corrected", steps) == pytest.approx(held, rel=1e-5)
        assert moved(-1, "corrected", steps) == pytest.approx(1 - held, rel=1e-5)  # useless stays useless
    assert moved(1, "published", 1) < 1e-6  # 1 / (1 - 0.999) in the sigmoid: held fast
    assert moved(1, "published", 1) < moved(1, "published", 2000)
    late = 1 / (1 - 0.999**2000)
    assert moved(-1, "published", 2000) == pytest.approx(
        1 - 1 / (1 + math.exp(-late)), rel=1e-4
    )  # the sign is lost


def test_weights_that_are_all_zero_are_no_trouble() -> None:
    _, found = stepped([torch.zeros(3)], [[torch.ones(3)]], learning_rate=1.0, sigma=0.0)
    assert torch.equal(found[0].detach(), torch.full((3,), -0.5))


def test_the_noise_goes_on_where_it_was_and_leaves_global_streams_alone() -> None:
    def run(model: nn.Module, optimizer: torch.optim.Optimizer, which: slice) -> None:
        for batch in batches(6)[which]:
            step(model, optimizer, batch)

    whole = net()
    before = torch.get_rng_state()
    run(whole, UPGD(whole.parameters(), learning_rate=0.1), slice(0, 6))
    assert torch.equal(torch.get_rng_state(), before)
    first = net()
    optimizer = UPGD(first.parameters(), learning_rate=0.1)
    run(first, optimizer, slice(0, 3))
    again, other = copy.deepcopy((first, optimizer)), net(seed=5)
    loaded = UPGD(other.parameters(), learning_rate=0.7)
    other.load_state_dict(first.state_dict())
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, its in (again, (other, loaded)):
        run(model, its, slice(3, 6))
        assert bits(model) == bits(whole)


def test_two_networks_have_two_noises() -> None:
    def noise(seed: int) -> Tensor:
        start = torch.full((4, 4), float(seed))
        _, found = stepped([start], [[torch.zeros(4, 4)]], learning_rate=1.0, sigma=1.0)
        return found[0].detach() - start

    assert torch.allclose(noise(1), noise(1))
    assert not torch.allclose(noise(1), noise(2), atol=1e-2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beta": 1}, r"^beta must be below 1, got 1\."),
        ({"beta": -0.1}, r"^beta must be a number in \[0, 1\]"),
        ({"sigma": -1}, r"^sigma must be "),
        ({"maximum": "raw"}, r"^maximum must be one of corrected, published, got 'raw'"),
        ({"protecting": 1}, r"^protecting must be True or False"),
        ({"factor": 0}, r"^factor must be "),
        ({"state": "lost"}, r"^state must be one of kept, renewed"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_rule("upgd", **options)
