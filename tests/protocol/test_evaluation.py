"""Evaluation: each target counts once, and the model stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dashtheory.evaluate import cross_entropy, evaluate, num_right
from tests.protocol.protocol_cases import bits, blobs, make_net


def test_evaluation_weighs_by_target_not_by_batch() -> None:
    net = make_net(torch.Generator().manual_seed(0))
    data = blobs(50, 2)
    whole = evaluate(net, data, batch_size=50)
    for batch_size in (1, 7, 49):
        pieces = evaluate(net, data, batch_size=batch_size)
        assert pieces.accuracy == whole.accuracy
        assert pieces.loss == pytest.approx(whole.loss, rel=1e-6)  # float32 means of batches


def test_evaluation_leaves_the_model_as_it_was() -> None:
    net = make_net(torch.Generator().manual_seed(0)).train()
    net[1].eval()  # type: ignore[index]
    cross_entropy(net(blobs(10, 0).inputs), blobs(10, 0).targets).backward()
    before = bits(net), [p.grad.clone() for p in net.parameters() if p.grad is not None]
    modes, state = [m.training for m in net.modules()], torch.get_rng_state()
    evaluate(net, blobs(20, 3))
    assert bits(net) == before[0]
    after = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(after, before[1], strict=True))
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_restores_modes_when_the_model_fails() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).train()
    with pytest.raises(ValueError, match="evaluate must be able to use what it is given"):
        evaluate(net, blobs(4, 0))
    assert all(module.training for module in net.modules())


def test_targets_at_several_positions_count_each() -> None:
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(12).reshape(4, 3) % 5
    by_hand = [-float(logits[i, j].log_softmax(0)[targets[i, j]]) for i in range(4) for j in range(3)]
    assert float(cross_entropy(logits, targets)) == pytest.approx(np.mean(by_hand), rel=1e-6)
    right = sum(int(logits[i, j].argmax()) == int(targets[i, j]) for i in range(4) for j in range(3))
    assert int(num_right(logits, targets)) == right


def test_evaluation_draws_nothing_from_the_global_stream() -> None:
    class Noisy(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) + torch.rand(())  # draws in evaluation mode too

    noisy = Noisy(2, 2)
    state = torch.get_rng_state()
    evaluate(noisy, blobs(10, 0))
    assert torch.equal(torch.get_rng_state(), state)
