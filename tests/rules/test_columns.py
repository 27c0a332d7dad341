"""A linear layer whose weight is stored (in, out) is a linear layer: rules do to both the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dashtheory.rules import Context, Learner, Rule, departure, make_rule
from dashtheory.rules.layers import known_layers
from dashtheory.rules.matrices import layer_weights

SIZES = (5, 12, 4, 3)


class Columns(nn.Module):
    """A linear layer as in GPT-2: its weight is (in, out)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs, dtype=torch.float64))
        self.bias = nn.Parameter(torch.empty(outputs, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        """As a linear layer."""
        return inputs @ self.weight + self.bias


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with known_layers({Columns: "column"}):
        yield


def network(kind: Any, seed: int) -> nn.Sequential:
    """Two hidden layers of a kind, the first packed by its name, and a classifier."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential()
    for place, name in enumerate(("c_attn", "c_fc")):
        model.add_module(name, kind(SIZES[place], SIZES[place + 1]).double())
        model.add_module(f"relu{place}", nn.ReLU())
    model.add_module("head", nn.Linear(*SIZES[2:]).double())
    with torch.no_grad():
        for name, value in model.named_parameters():
            flipped = kind is Columns and name in ("c_attn.weight", "c_fc.weight")
            shape = value.T.shape if flipped else value.shape
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
            value.copy_(drawn.T if flipped else drawn)
    return model


def after(rule: Rule, kind: Any, steps: int = 4) -> dict[str, Tensor]:
    """Weights, as a linear layer has them, after the rule between stages and some steps with it."""
    model, data = network(kind, 1), torch.Generator().manual_seed(3)
    inputs, targets = torch.randn(9, 5, generator=data, dtype=torch.float64), torch.arange(9) % 3

    def made(one: nn.Module) -> torch.optim.Optimizer:
        def make(parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.1)

        return rule.optimizer_for(one, make) or make(one.parameters())

    context = Context(
        chunks=lambda: [(inputs, targets)],
        loss_fn=cross_entropy,
        fresh=lambda: Learner(network(kind, 2), made(network(kind, 2))),
        generator=torch.Generator().manual_seed(5),
        renew=made,
        draw=lambda generator: network(kind, int(torch.randint(1000, (), generator=generator))),
    )
    first = network(kind, 0)
    context = dataclasses.replace(context, state=rule.start(Learner(first, made(first))))
    learner, _ = rule.apply(Learner(model, made(model)), context)
    hook, penalty = rule.after_step(learner, context), rule.penalty(learner.model, context.state)
    for step in range(1, steps + 1):
        learner.optimizer.zero_grad()
        loss = cross_entropy(learner.model(inputs), targets)
        (loss if penalty is None else loss + penalty()).backward()
        learner.optimizer.step()
        if hook is not None and step % hook.every == 0:
            hook.call(step)
    flipped = kind is Columns
    return {
        name: value.detach().T if flipped and value.ndim == 2 and name != "head.weight" else value.detach()
        for name, value in learner.model.named_parameters()
    }


RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("dash", {}),
    ("fire", {}),
    ("fire", {"exact": True, "cut": False}),
    ("norm_matched", {"of": "fire"}),
    ("reset_last", {"last": 2}),
    ("parseval", {"strength": 0.1}),
    ("isometry", {"strength": 0.01}),
    ("adamo", {"strength": 0.1}),
    ("spectral", {"strength": 0.01}),
    ("swr", {"features": 0.1, "classifier": 0.2}),
    ("nap", {}),
    ("swr_weights", {"share": 0.2, "every": 2, "utility": "magnitude"}),
    ("swr_weights", {"share": 0.2, "every": 2, "utility": "magnitude", "new": "zero"}),
    ("muon", {"scale": "published"}),
    ("muon", {"scale": "rms"}),
)


@pytest.mark.parametrize(("name", "options"), RULES)
def test_where_its_weight_is_stored_the_other_way_round_it_is_treated_alike(
    name: str, options: dict[str, Any]
) -> None:
    rule = make_rule(name, **options)
    ours, plain = after(rule, Columns), after(rule, nn.Linear)
    rtol = 1e-3 if name == "muon" else 1e-9  # its products are of bfloat16
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, rtol=rtol, atol=rtol * 0.1, msg=key)


def test_its_departure_is_that_of_the_other() -> None:
    found = [departure(layer_weights(network(kind, 1))) for kind in (Columns, nn.Linear)]
    assert found[0] == pytest.approx(found[1])
