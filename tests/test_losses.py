"""What torch's losses say of themselves: a mean over parts is that over the whole, or the loss is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from dashtheory.evaluate import evaluate
from dashtheory.losses import class_weights, told_of
from dashtheory.measure.network import gradient_norm
from dashtheory.rules import dash_, dash_factors
from dashtheory.stream import Examples

WEIGHTS = torch.tensor([1.0, 2.0, 30.0])
WEIGHED: dict[str, Callable[..., Tensor]] = {
    "module": nn.CrossEntropyLoss(weight=WEIGHTS),
    "module that smooths": nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1),
    "function": partial(functional.cross_entropy, weight=WEIGHTS),
    "padding": nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=1),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


def chunk() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    return torch.randn(40, 8, generator=stream), torch.randint(3, (40,), generator=stream)


@pytest.mark.parametrize("name", WEIGHED)
def test_weights_of_classes_weigh_parts_as_they_weigh_examples(name: str) -> None:
    loss_fn, model, part = WEIGHED[name], network(), chunk()
    whole = dash_factors(model, [part], loss_fn)
    loader: DataLoader[Any] = DataLoader(TensorDataset(*part), batch_size=7)
    for cut in (dash_factors(model, [part], loss_fn, part_size=7), dash_factors(model, [loader], loss_fn)):
        for ours, theirs in zip(cut, whole, strict=True):
            torch.testing.assert_close(ours.cosines, theirs.cosines, rtol=1e-4, atol=1e-5)
    data = Examples(*part)
    wanted = loss_fn(model(part[0]), part[1]).item()
    for size in (3, 40):
        assert evaluate(model, data, loss_fn=loss_fn, batch_size=size).loss == pytest.approx(wanted, rel=1e-5)
    norms = [gradient_norm(model, data, loss_fn=loss_fn, batch_size=size) for size in (3, 40)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_the_weights_are_those_that_torch_divides_by() -> None:
    labels = torch.tensor([0, 2, 2, -100])
    found = class_weights(WEIGHED["module"], labels)
    assert found is not None
    assert float(found) == 61
    assert class_weights(nn.CrossEntropyLoss(), labels) is None
    assert class_weights(WEIGHED["module"], torch.rand(4, 3)) is None  # probabilities: torch divides by examples
    assert told_of(lambda output, target: output.sum()) == ("", {})


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("make", [nn.CrossEntropyLoss, partial(partial, functional.cross_entropy)])
def test_what_is_no_mean_is_refused(make: Callable[..., Any], reduction: str) -> None:
    loss_fn, model = make(reduction=reduction), network()
    words = f"loss_fn must be a mean over the targets, got reduction='{reduction}'"
    with pytest.raises(ValueError, match=words):
        dash_(model, [chunk()], loss_fn)
    with pytest.raises(ValueError, match=words):
        evaluate(model, Examples(*chunk()), loss_fn=loss_fn)


@pytest.mark.parametrize("size", [0, -5])
def test_an_evaluation_takes_batches_of_one_or_more(size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be an integer >= 1, got {size}"):
        evaluate(network(), Examples(*chunk()), batch_size=size)
