"""How a pass over chunks goes: models that take more than one input, weights of parts, batches of any form."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from dashtheory.rules import Dash, Parts, dash_factors, make_rule, passing
from dashtheory.rules.passes import current_pass

LOSS = functional.cross_entropy
X, Y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3


class TwoInputs(nn.Module):
    """Takes its inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(2, 3), nn.Linear(2, 3)

    def forward(self, *, left: Tensor, right: Tensor) -> Tensor:
        return torch.as_tensor(self.left(left) + self.right(right))


class OneInput(TwoInputs):
    """The same, of one input."""

    def forward(self, both: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(left=both[:, :2], right=both[:, 2:])


class Asked(UserDict[str, Tensor]):
    """As transformers returns from a tokenizer."""

    def to(self, device: torch.device) -> Asked:
        return Asked({name: value.to(device) for name, value in self.items()})


def cosines(model: nn.Module, batches: Any, **options: Any) -> Tensor:
    return torch.cat([layer.cosines.flatten() for layer in dash_factors(model, batches, LOSS, **options)])


@pytest.mark.parametrize("kind", [dict, Asked])
def test_a_model_is_called_as_one_says(kind: Any) -> None:
    chunk = (kind(left=X[:, :2], right=X[:, 2:]), Y)
    found = cosines(TwoInputs(), [chunk], forward=lambda model, inputs: model(**inputs))
    assert torch.equal(found, cosines(OneInput(), [(X, Y)]))


def test_inputs_in_lists_are_those_of_the_device() -> None:
    found = cosines(
        TwoInputs(), [([X[:, :2], X[:, 2:]], Y)], forward=lambda model, two: model(left=two[0], right=two[1])
    )
    assert torch.equal(found, cosines(OneInput(), [(X, Y)]))


def test_parts_of_any_form_are_one_chunk() -> None:
    loader = DataLoader(TensorDataset(X, Y, Y), batch_size=7)
    parts = Parts(loader, lambda batch: (batch[0], batch[1]))
    pairs = DataLoader(TensorDataset(X, Y), batch_size=7)
    assert torch.equal(cosines(OneInput(), parts), cosines(OneInput(), pairs))
    assert torch.equal(cosines(OneInput(), [parts]), cosines(OneInput(), [Parts(list(pairs))]))


def test_a_part_weighs_what_count_says() -> None:
    parts = Parts([(X[:10], Y[:10]), (X[10:], Y[10:])])
    first = cosines(OneInput(), parts, count=lambda output, target: float(len(target) == 10))
    torch.testing.assert_close(first, cosines(OneInput(), [(X[:10], Y[:10])]))


def test_a_way_holds_for_rules_inside_and_not_after() -> None:
    plain = current_pass()
    with passing(forward=lambda model, inputs: model(**inputs)), passing(count=lambda output, target: 1.0):
        assert current_pass().forward is not None
        chunk = ({"left": X[:, :2], "right": X[:, 2:]}, Y)
        assert torch.equal(cosines(TwoInputs(), [chunk]), cosines(OneInput(), [(X, Y)], forward=lambda m, x: m(x)))
    assert current_pass() is plain


@pytest.mark.parametrize("name", ["forward", "count"])
def test_a_way_must_be_a_function(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a function, got 3"):
        cosines(OneInput(), [(X, Y)], **{name: 3})


def test_a_share_of_a_loader_is_refused() -> None:
    from dashtheory.rules import Context, Learner

    rule = make_rule("dash", share=0.5)
    assert isinstance(rule, Dash)
    model = OneInput()
    context = Context(
        chunks=lambda: [DataLoader(TensorDataset(X, Y), batch_size=15)],  # type: ignore[list-item]
        loss_fn=LOSS,
        fresh=lambda: Learner(model, torch.optim.SGD(model.parameters())),
        generator=torch.Generator(),
    )
    with pytest.raises(ValueError, match=r"^share must be 1 unless chunks are pairs of tensors"):
        rule.change_(model, context)
