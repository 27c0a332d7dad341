"""Shrinking as a step size: the law holds to 1e-10 over hundreds of steps, and fails without each assumption."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from dashtheory.theory import STEP_CLAIMS, NormedNet, nets_for, small_nets
from dashtheory.theory.normed_net import OPTIMIZERS, begin, gradient, outputs, step
from dashtheory.theory.step_size import TOLERANCE, pair

THEOREMS = [name for name, claim in STEP_CLAIMS.items() if claim.status == "theorem"]
REFUTED = [name for name, claim in STEP_CLAIMS.items() if claim.status == "refuted"]


def drawn(seed: int, **settings: Any) -> NormedNet:
    """A network of three filters with nothing special about it."""
    generator = np.random.default_rng(seed)

    def rows(count: int, width: int) -> tuple[tuple[float, ...], ...]:
        return tuple(map(tuple, generator.normal(size=(count, width)).tolist()))

    usual: dict[str, Any] = {
        "step_size": 0.01,
        "momentum": 0.9 if seed % 2 else 0.0,
        "decay": 0.05 if seed % 3 else 0.0,
        "eps": 0.01 if seed % 5 else 0.0,
        "history": 5,
        "num_steps": 200,
    }
    return NormedNet(
        inputs=rows(20, 4),
        targets=rows(1, 20)[0],
        weights=rows(3, 4),
        head=rows(1, 3)[0],
        bias=rows(1, 3)[0] if seed % 2 else (),
        scale=tuple(generator.uniform(0.2, 2, size=3).tolist()),
        factors=tuple(map(tuple, generator.uniform(0.1, 1, size=(3, 4)).tolist())),
        **{**usual, **settings},
    )


PLAIN: dict[str, Any] = {"momentum": 0.0, "decay": 0.0, "eps": 0.0}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", THEOREMS)
def test_theorems_hold_over_many_steps(name: str, seed: int) -> None:
    special: dict[str, dict[str, Any]] = {"scaled_adam": {"optimizer": "adam"}, "norm_grows": PLAIN}
    settings = special.get(name, {})
    net = drawn(seed if name != "scaled_statistics" else 2 * seed, **settings)
    verdict = STEP_CLAIMS[name].check(net)
    assert verdict.applies
    assert verdict.holds, verdict.explain()


@pytest.mark.parametrize("name", THEOREMS)
def test_theorems_hold_in_every_small_network(name: str) -> None:
    cases: list[dict[str, Any]] = [
        {},
        {"momentum": 0.5, "history": 2},
        {"decay": 0.5, "eps": 0.1},
        {"optimizer": "adam"},
    ]
    for settings in cases:
        verdict = STEP_CLAIMS[name].counterexample(itertools.islice(small_nets(**settings), 0, None, 7))
        assert verdict is None, verdict.explain()


SMALLEST = {  # weights of the filter, steps before and after the rule, samples
    "eps_kept": (1, 0, 0, 2),
    "buffer_kept": (2, 1, 1, 3),
    "decay_kept": (1, 0, 1, 2),
    "classifier_scaled": (1, 0, 0, 2),
    "without_norm": (1, 0, 0, 2),
    "adam_as_descent": (2, 0, 1, 3),
    "adam_eps_kept": (2, 0, 1, 3),
    "statistics_kept": (1, 0, 0, 2),
    "factor_per_kernel": (2, 0, 0, 3),
}


@pytest.mark.parametrize("name", REFUTED)
def test_without_an_assumption_the_law_fails_by_orders_of_magnitude(name: str) -> None:
    nets = nets_for(name)
    sizes = [(net.num_weights, net.num_steps, len(net.inputs)) for net in nets]
    assert sizes == sorted(sizes)  # the first that fails is a smallest
    verdict = STEP_CLAIMS[name].counterexample(nets)
    assert verdict is not None
    net, failure = verdict.universe, verdict.failure
    assert failure is not None
    assert (net.num_weights, net.history, net.num_steps, len(net.inputs)) == SMALLEST[name]
    assert isinstance(failure.left, float)
    assert failure.left > 1e6 * TOLERANCE
    assert f"after {failure.stage} steps" in verdict.explain()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("left_out", ["eps", "buffer", "decay", "classifier"])
def test_every_correction_is_needed_in_large_networks_too(left_out: str, seed: int) -> None:
    net = drawn(seed, momentum=0.9, decay=0.05, eps=0.01)
    small, large = pair(net, without=(left_out,))
    for _ in range(20):
        step(net, small)
        step(net, large)
    assert np.abs(outputs(net, small) - outputs(net, large)).max() > 1e4 * TOLERANCE


@pytest.mark.parametrize("normed", [True, False])
def test_the_gradient_by_hand_is_autograd_s(normed: bool) -> None:
    net = drawn(3)
    now = begin(net)
    values = {name: torch.tensor(value, requires_grad=True) for name, value in now.values.items()}
    pre = torch.tensor(net.inputs, dtype=torch.float64) @ values["W"].T + values["b"]
    if normed:
        pre = torch.nn.functional.batch_norm(pre, None, None, training=True, eps=net.eps)
    out = torch.tanh(pre) @ values["a"]
    (0.5 * (out - torch.tensor(net.targets, dtype=torch.float64)).square().mean()).backward()
    np.testing.assert_allclose(outputs(net, now, normed=normed), out.detach().numpy(), rtol=1e-12)
    for name, slope in gradient(net, now, normed=normed).items():
        found = values[name].grad
        assert found is not None
        np.testing.assert_allclose(slope, found.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_are_torch_s(optimizer: str) -> None:
    net = drawn(1, optimizer=optimizer, num_steps=0)
    now = begin(net)
    values = {name: torch.tensor(value, requires_grad=True) for name, value in now.values.items()}
    made: torch.optim.Optimizer = (
        torch.optim.SGD(values.values(), lr=net.step_size, momentum=net.momentum, weight_decay=net.decay)
        if optimizer == "descent"
        else torch.optim.Adam(values.values(), lr=net.step_size, eps=net.adam_eps, weight_decay=net.decay)
    )
    for _ in range(5):
        for name, slope in gradient(net, now).items():
            values[name].grad = torch.tensor(slope)
        made.step()
        step(net, now)
        for name, value in now.values.items():
            np.testing.assert_allclose(value, values[name].detach().numpy(), rtol=1e-12, atol=1e-15)


def test_bad_networks_are_refused_in_one_line() -> None:
    net = drawn(0)
    for changes, words in (
        ({"scale": (1.0, 1.0)}, "weights must have a head and a scale per row"),
        ({"scale": (0.0, 1.0, 1.0)}, "step_size and scale must be a number in"),
        ({"num_steps": -1}, "num_steps must be an integer >= 0"),
        ({"optimizer": "lion"}, "optimizer must be one of descent, adam"),
        ({"eps": -1.0}, "eps must be a number in"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(net, **changes)
