"""Which units each rule resets, against the formulas entry by entry; what a share of a reset does."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dashtheory.rules import ContinualBackprop, PartialReset, ReDo, ReGraMa, SelectiveReset, SelfNormalizedReset
from dashtheory.rules.snr import fired
from dashtheory.rules.unit_rule import UnitRule
from dashtheory.rules.unit_weights import units_in
from dashtheory.rules.units import unit_graph
from tests.oracles.shrink import Values, entries
from tests.oracles.units import Backprop, Silence, gradient_scores, mean_absolute, shares
from tests.rules.unit_cases import Steps, batch, network, silence_

LAYERS = {"0": (3, "4"), "4": (6, "7"), "7": (9, "9")}
"""Of the chain: behind which part the activation is, and who takes it."""


def activations(model: nn.Module, inputs: Tensor) -> dict[str, Values]:
    """Of every hidden layer of the chain, as they are now."""
    assert isinstance(model, nn.Sequential)
    twin = copy.deepcopy(model)
    return {name: entries(twin[:stop](inputs)) for name, (stop, _) in LAYERS.items()}


def weight(model: nn.Module, name: str) -> Values:
    return entries(model.get_submodule(name).get_parameter("weight"))


def gradient_of(model: nn.Module, name: str) -> Values:
    found = model.get_parameter(f"{name}.weight").grad
    assert found is not None
    return entries(found)


def resets(steps: Steps) -> dict[str, list[int]]:
    """How often each unit was reset, by layer."""
    return {name: steps.state[f"resets {name}"].tolist() for name in LAYERS}


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.8, 1.1])
@pytest.mark.parametrize("examples", [0, 5, 100])
def test_redo_resets_what_is_dormant_on_the_examples(tau: float, examples: int) -> None:
    steps = Steps(ReDo(tau=tau, every=3, examples=examples))
    silence_(steps.model, "4", [2])
    steps.take(2)
    assert not any(map(any, resets(steps).values()))
    inputs, _ = batch("chain", seed=102)
    model = steps.model
    if examples:
        steps.learn()
        inputs = torch.cat([batch("chain", seed=seed)[0] for seed in (2, 3)])
        model = copy.deepcopy(steps.model).eval()
    seen = activations(model, inputs)
    if not examples:
        steps.learn()
    modes = [module.training for module in steps.model.modules()]
    steps.act()
    assert [module.training for module in steps.model.modules()] == modes
    expected = {name: [int(score <= tau) for score in shares(mean_absolute(seen[name]))] for name in LAYERS}
    if examples != 5:
        assert resets(steps) == expected
    assert resets(steps)["4"][2] == 1


def test_a_unit_that_responds_with_both_signs_is_not_dormant() -> None:
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Tanh(), nn.Linear(2, 3)).double()
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.tensor([[3.0], [1e-3]]))
    steps = Steps(ReDo(tau=0.5, every=1, draw="torch"), "perceptron", model=model)
    model(torch.tensor([[1.0], [-1.0]], dtype=torch.float64))
    assert steps.hook is not None
    steps.hook.call(1)
    assert steps.state["resets 0"].tolist() == [0, 1]


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_regrama_resets_what_has_small_gradients(tau: float) -> None:
    steps = Steps(ReGraMa(tau=tau, every=2))
    silence_(steps.model, "7", [1, 3])
    steps.learn()
    steps.act()
    steps.learn()
    gradients = {name: gradient_of(steps.model, name) for name in LAYERS}
    expected = {name: [int(score <= tau) for score in gradient_scores(gradients[name])] for name in LAYERS}
    steps.act()
    assert resets(steps) == expected
    assert resets(steps)["7"][1] == resets(steps)["7"][3] == 1


@pytest.mark.parametrize("utility", ["contribution", "adaptable"])
def test_continual_backprop_keeps_its_books_as_by_hand(utility: str) -> None:
    rule = ContinualBackprop(rho=0.07, maturity=3, decay=0.8, utility=utility)
    steps = Steps(rule)
    books = {
        name: Backprop(len(weight(steps.model, name)), 0.07, 3, 0.8, utility == "adaptable") for name in LAYERS
    }
    happened: dict[str, list[int]] = {name: [0] * book.num_units for name, book in books.items()}
    for step in range(30):
        seen = activations(steps.model, batch("chain", seed=100 + step)[0])
        steps.learn()
        after = {name: weight(steps.model, name) for name in (*LAYERS, "9")}
        steps.act()
        for name, (_, taker) in LAYERS.items():
            for unit in books[name].step(seen[name], after[name], after[taker]):
                happened[name][unit] += 1
        assert resets(steps) == happened, step
    for name, book in books.items():
        np.testing.assert_allclose(steps.state[f"utility {name}"], book.utility, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(steps.state[f"mean {name}"], book.mean, rtol=1e-9, atol=1e-15)
        assert steps.state[f"age {name}"].tolist() == book.age
        assert sum(happened[name]) > 3


@pytest.mark.parametrize(("rho", "steps"), [(0.013, 50), (0.1, 20), (1.0, 4)])
def test_continual_backprop_resets_at_its_rate(rho: float, steps: int) -> None:
    taken = Steps(ContinualBackprop(rho=rho, maturity=0), "perceptron").take(steps)
    for name in ("0", "3"):
        units = len(weight(taken.model, name))
        assert abs(int(taken.state[f"resets {name}"].sum()) - math.floor(rho * units * steps)) <= 1


def test_nothing_is_reset_before_it_is_mature() -> None:
    steps = Steps(ContinualBackprop(rho=1.0, maturity=5))
    steps.take(5)
    assert not any(map(any, resets(steps).values()))
    steps.take(1)
    assert all(count == 1 for counts in resets(steps).values() for count in counts)


def test_self_normalized_resets_follow_each_unit_as_by_hand() -> None:
    generator = np.random.default_rng(3)
    rule = SelfNormalizedReset(eta=0.2, update=7, cap=60, times=9)
    steps = Steps(rule, "perceptron")
    by_hand = [Silence(0.2, 60, 9) for _ in range(5)]
    rates, expected = [0.9, 0.6, 0.4, 0.15, 0.0], [0] * 5
    for step in range(1, 200):
        samples = int(generator.integers(1, 4))
        fires = generator.random(5) < rates
        memory = {
            name.removesuffix(" 3"): value for name, value in steps.context.state.items() if name.endswith(" 3")
        }
        late = rule._late(memory, torch.as_tensor(fires), samples)
        memory["age"].masked_fill_(late, 0)
        if step % 7 == 0:
            rule._renew_(memory, least=samples)
        for unit, one in enumerate(by_hand):
            gone = one.step(bool(fires[unit]), samples, renew=step % 7 == 0)
            assert gone == bool(late[unit]), (step, unit)
            expected[unit] += gone
        assert memory["threshold"].tolist() == [one.threshold for one in by_hand], step
        assert memory["age"].tolist() == [one.age for one in by_hand]
    assert expected[0] < expected[3]
    assert min(expected[2:]) > 0


def test_one_positive_place_of_one_sample_is_firing() -> None:
    model = network("chain")
    units = units_in(model, unit_graph(model).layers[0])
    values = torch.zeros(3, 4, 10)
    values[1, 2, 7] = 1e-6
    values[:, 1] = -1
    which, samples = fired(units, values)
    assert which.tolist() == [False, False, True, False]
    assert samples == 3


def test_a_unit_is_reset_when_it_falls_silent() -> None:
    steps = Steps(SelfNormalizedReset(update=2, times=4), "perceptron")
    steps.take(2)
    always = steps.state["threshold 3"] == 8
    assert always.sum() >= 3
    unit = int(always.nonzero()[0])
    silence_(steps.model, "3", [unit])
    steps.take(1)
    assert [int(steps.state["resets 3"][unit]), int(steps.state["resets 3"].sum())] == [1, 1]
    assert float(steps.model.get_parameter("3.bias")[unit].detach()) == 0


def test_partial_resets_go_the_way_of_the_formula() -> None:
    rule = PartialReset(r=0.3, every=4, sharpness=2.0, threshold=0.9, momentum=0.7, draw="model")
    steps = Steps(rule)
    scores = {name: np.ones(len(weight(steps.model, name))) for name in LAYERS}
    for step in range(1, 9):
        steps.learn()
        before = {name: weight(steps.model, name) for name in (*LAYERS, "9")}
        others = {name: value.clone() for name, value in steps.model.state_dict().items() if "weight" not in name}
        for name in LAYERS:
            gradient = gradient_of(steps.model, name)
            scores[name] = 0.7 * scores[name] + 0.3 * np.array(gradient_scores(gradient))
        steps.act()
        if step % 4:
            assert all((weight(steps.model, name) == before[name]).all() for name in before)
            continue
        drawn = drawn_at(steps, step)
        expected = dict(before)
        shares = {name: [0.3 * min(1.0, math.exp(2 * (0.9 - score))) for score in scores[name]] for name in LAYERS}
        for name in LAYERS:
            fresh = weight(drawn, name)
            for unit, p in enumerate(shares[name]):
                expected[name][unit] = (1 - p) * expected[name][unit] + p * fresh[unit]
        for name, (_, taker) in LAYERS.items():
            block = expected[taker].shape[1] // len(shares[name])
            for unit, p in enumerate(shares[name]):
                expected[taker][:, unit * block : (unit + 1) * block] *= 1 - p
        for name, value in expected.items():
            np.testing.assert_allclose(weight(steps.model, name), value, rtol=1e-9, atol=1e-12)
        assert all(torch.equal(steps.model.state_dict()[name], value) for name, value in others.items())
        scores = {name: np.ones_like(score) for name, score in scores.items()}


def drawn_at(steps: Steps, step: int) -> nn.Module:
    """The model that the rule has drawn at a step: it depends on the rule's stream and the step alone."""
    context = dataclasses.replace(steps.context, generator=torch.Generator().manual_seed(5))
    assert isinstance(steps.rule, UnitRule)
    return steps.rule.fresh(context)(step)._model()


@pytest.mark.parametrize("utility", ["gradient", "magnitude"])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_single_weights_of_least_use_are_reset(utility: str, momentum: float) -> None:
    rule = SelectiveReset(share=0.1, every=3, utility=utility, momentum=momentum, new="zero")
    steps = Steps(rule)
    uses = {name: np.zeros_like(weight(steps.model, name)) for name in LAYERS}
    for step in range(1, 7):
        steps.learn()
        before = {name: weight(steps.model, name) for name in LAYERS}
        for name in LAYERS:
            gradient = gradient_of(steps.model, name)
            use = np.abs(before[name] * (gradient if utility == "gradient" else 1.0))
            uses[name] = momentum * uses[name] + (1 - momentum) * use
        head = steps.model.get_parameter("9.weight").detach().clone()
        steps.act()
        assert torch.equal(steps.model.get_parameter("9.weight"), head)
        for name in LAYERS:
            after = weight(steps.model, name)
            number = int(0.1 * after.size) if step % 3 == 0 else 0
            least = np.argsort(uses[name].ravel(), kind="stable")[:number]
            expected = before[name].copy().ravel()
            expected[least] = 0
            np.testing.assert_array_equal(after.ravel(), expected)
            uses[name].reshape(-1)[least] = uses[name].mean()
            state = steps.learner.optimizer.state[steps.model.get_parameter(f"{name}.weight")]
            assert number == 0 or not entries(state["exp_avg"]).ravel()[least].any()
            assert entries(state["exp_avg"]).any()
            if momentum:
                np.testing.assert_allclose(
                    steps.state[f"utility {name}.weight"], uses[name], rtol=1e-9, atol=1e-15
                )
    assert int(steps.state["resets 7.weight"]) == 2 * 12


def test_new_single_weights_are_those_of_an_initialization() -> None:
    steps = Steps(SelectiveReset(share=1.0, every=1))
    steps.take(1)
    found = [weight(steps.model, name) for name in LAYERS]
    bounds = [1 / math.sqrt(value[0].size) for value in found]
    assert all(np.abs(value).max() <= bound for value, bound in zip(found, bounds, strict=True))
    for new, gain in (("kaiming", 6), ("torch", 1)):
        other = Steps(SelectiveReset(share=1.0, every=1, new=new)).take(1)
        for name, bound in zip(LAYERS, bounds, strict=True):
            largest = np.abs(weight(other.model, name)).max() / (bound * math.sqrt(gain))
            assert 0.9 < largest <= 1
