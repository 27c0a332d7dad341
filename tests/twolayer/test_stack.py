"""Gradients by hand equal those of the readable modules, and these say what the formulas say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.twolayer import PatchNetwork, TwoLayerMLP, loss_of, of_replica
from dashtheory.twolayer.activation import activation, value_and_slope
from tests.twolayer.toys import NETWORKS, toy_config, toy_stack


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_losses_and_gradients_are_those_of_the_module(name: str, num_classes: int) -> None:
    config = toy_config(NETWORKS[name], num_classes)
    network, data, params = toy_stack(config, 2, 3, 12)
    samples, weights = network.samples(data), torch.rand(2, 3, 12, generator=torch.Generator().manual_seed(1))
    gradient = network.gradient(params, samples, weights.double())
    found = loss_of(network.outputs(params, samples), samples.labels)
    for seed in range(2):
        for replica in range(3):
            module = network.module().double()
            module.load_state_dict(of_replica(params, seed, replica))
            logits = module(data.of_seed(seed).x())
            losses = functional.cross_entropy(logits, data.labels[seed], reduction="none")
            torch.testing.assert_close(found.values[seed, replica], losses, rtol=1e-12, atol=1e-14)
            right = logits.argmax(dim=1) == data.labels[seed]
            assert torch.equal(found.right[seed, replica], right)
            (losses * weights[seed, replica]).sum().backward()
            for key, value in module.named_parameters():
                assert value.grad is not None
                scale = float(value.grad.abs().max())
                assert scale > 0, key
                torch.testing.assert_close(
                    gradient[key][seed, replica], value.grad, rtol=1e-12, atol=1e-12 * scale
                )


def patch_output_by_loops(model: PatchNetwork, shown: Tensor, noise: Tensor, q: float) -> list[float]:
    """F_j of one sample, term by term; activation max(z, 0)^q."""
    weight, axes = model.hidden.weight.detach(), len(shown)
    neurons = len(weight) // model.num_classes
    outputs = []
    for label in range(model.num_classes):
        total = 0.0
        for w in weight[label * neurons : (label + 1) * neurons]:
            for k in range(axes):
                if shown[k]:
                    total += max(float(w[k]), 0.0) ** q
            total += max(float(w[axes:] @ noise), 0.0) ** q
        outputs.append(total / neurons)
    return outputs


def test_the_patch_network_is_its_formula() -> None:
    network, data, params = toy_stack(toy_config(NETWORKS["patch q=1.75"], 3), 1, 1, 6)
    module = network.module().double()
    module.load_state_dict(of_replica(params, 0, 0))
    assert isinstance(module, PatchNetwork)
    one = data.of_seed(0)
    by_loops = [patch_output_by_loops(module, one.features[i], one.noise[i], 1.75) for i in range(6)]
    torch.testing.assert_close(module(one.x()), torch.tensor(by_loops, dtype=torch.float64))


def test_the_mlp_is_its_formula_and_two_classes_have_one_output() -> None:
    model = TwoLayerMLP(dimension=2, hidden=2)
    with torch.no_grad():
        model.hidden.weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 0.0]]))
        model.hidden.bias.copy_(torch.tensor([0.5, 3.0]))
        model.output.weight.copy_(torch.tensor([[2.0, -1.0]]))
    assert model(torch.tensor([[1.0, 1.0], [4.0, 0.0]])).tolist() == [[0.0, 7.0 - 2.0], [0.0, 9.0]]
    assert TwoLayerMLP(dimension=2, num_classes=4)(torch.zeros(3, 2)).shape == (3, 4)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 1.75, 2.0, 2.2, 3.0])
@pytest.mark.parametrize("smoothed", [False, True])
def test_activations_and_their_slopes(exponent: float, smoothed: bool) -> None:
    z = torch.tensor([-1.0, 0.0, 0.3, 1.0, 2.5], dtype=torch.float64)
    value, slope = value_and_slope(z.clone(), exponent, smoothed=smoothed)

    def expected(number: float) -> tuple[float, float]:
        if number <= 0:
            return 0.0, 0.0
        if smoothed and number > 1:
            return number - 1 + 1 / exponent, 1.0
        over = exponent if smoothed else 1
        return number**exponent / over, exponent / over * number ** (exponent - 1)

    assert list(zip(value.tolist(), slope.tolist(), strict=True)) == [
        pytest.approx(expected(x)) for x in z.tolist()
    ]
    torch.testing.assert_close(activation(z, exponent, smoothed=smoothed), value)


def test_losses_are_finite_far_out_and_equal_logits_go_to_the_first_class() -> None:
    outputs = torch.tensor([[[[1000.0, -1000.0, 0.0]]]])
    found = loss_of(outputs, torch.tensor([[0, 0, 1]]))
    assert found.values.flatten().tolist() == [1000.0, 0.0, pytest.approx(math.log(2))]
    assert found.right.flatten().tolist() == [False, True, False]
    two = loss_of(torch.zeros(1, 1, 2, 2), torch.tensor([[0, 1]]))
    assert two.right.flatten().tolist() == [True, False]
