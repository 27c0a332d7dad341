"""Networks in a stack: gradients and optimizer are those of torch, replica by replica."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dashtheory.rl import Adam, Shape
from dashtheory.rl.stack import backward, forward

SHAPE = Shape((3, 5, 4, 2))


def stacked(number: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.stack([SHAPE.draw(generator) for _ in range(number)]).double()


def test_outputs_and_gradients_are_those_of_the_readable_twin() -> None:
    weights, inputs = stacked(3), torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(1)).double()
    slope = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(2)).double()
    outputs, entering = forward(SHAPE, weights, inputs)
    gradient = backward(SHAPE, weights, entering, slope, torch.zeros_like(weights))
    for row in range(3):
        twin = SHAPE.module(weights[row])
        found = twin(inputs[row])
        torch.testing.assert_close(found, outputs[row])
        (found * slope[row]).sum().backward()
        theirs = torch.cat([value.grad.flatten() for value in twin.parameters() if value.grad is not None])
        torch.testing.assert_close(gradient[row], theirs)


def test_first_weights_are_drawn_as_torch_draws_them() -> None:
    drawn = Shape((400, 300)).draw(torch.Generator().manual_seed(0))
    theirs = nn.Linear(400, 300)
    assert float(drawn.abs().max()) <= 400**-0.5
    assert float(drawn.std()) == pytest.approx(float(theirs.weight.detach().std()), rel=0.01)


def test_each_row_takes_the_steps_of_torch_s_own_optimizer() -> None:
    weights, decays = stacked(2), torch.tensor([0.0, 0.3])
    adam = Adam(SHAPE, weights, learning_rate=0.05, weight_decay=decays)
    twins = [SHAPE.module(row) for row in weights]
    theirs = [
        torch.optim.AdamW(twin.parameters(), lr=0.05, weight_decay=float(decay))
        for twin, decay in zip(twins, decays, strict=True)
    ]
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        gradient = torch.randn(weights.shape, generator=generator).double()
        adam.step(weights, gradient)
        for row, (twin, optimizer) in enumerate(zip(twins, theirs, strict=True)):
            for value, part in zip(twin.parameters(), parts(gradient[row]), strict=True):
                value.grad = part.clone()
            optimizer.step()
    for row, twin in enumerate(twins):
        torch.testing.assert_close(weights[row], flat(twin), rtol=1e-6, atol=1e-9)


def test_moments_go_to_torch_s_optimizer_and_come_back() -> None:
    weights = stacked(2)
    adam = Adam(SHAPE, weights, learning_rate=0.05, weight_decay=torch.zeros(2))
    adam.step(weights, torch.ones_like(weights))
    kept = [one.clone() for one in (adam.averages, adam.squares, adam.counts)]
    twin = SHAPE.module(weights[1])
    optimizer = adam.twin(1, twin)
    adam.averages[1], adam.squares[1], adam.counts[1] = 7, 7, 7
    adam.take(1, twin, optimizer)
    for found, before in zip((adam.averages, adam.squares, adam.counts), kept, strict=True):
        assert torch.equal(found, before)
    adam.take(1, twin, torch.optim.Adam(twin.parameters()))  # a new one
    assert not adam.averages[1].any()
    assert not adam.squares[1].any()
    assert not adam.counts[1].any()
    assert adam.counts[0].all()


def parts(row: Tensor) -> list[Tensor]:
    return [one[0] for layer in SHAPE.layers(row[None]) for one in layer]


def flat(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in module.parameters()])
