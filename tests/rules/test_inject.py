"""Plasticity injection: the same function, new weights, an optimizer that holds them, and a run that goes on."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from dashtheory.rules import Inject, Learner, make_rule
from dashtheory.rules.inject import inject_
from tests.oracles.shrink import chunks
from tests.rules.control_cases import Stage, run, tensors_of


@pytest.mark.parametrize("layer", ["", "6"])
def test_what_the_network_says_is_the_same_and_the_old_head_has_no_slope(layer: str) -> None:
    stage = Stage()
    stage.learner.model.eval()
    inputs, targets = next(iter(chunks(stage.name)))
    before = stage.learner.model(inputs)
    learner, _ = stage.apply(Inject(layer=layer))
    model, name = learner.model, layer or "8"
    assert torch.equal(model(inputs), before)
    functional.cross_entropy(model(inputs), targets).backward()
    for part in ("old", "anchor"):
        assert not any(value.requires_grad for value in model.get_submodule(f"{name}.{part}").parameters())
    assert all(value.grad is not None for value in model.get_submodule(f"{name}.new").parameters())
    fresh = stage.fresh().model.get_submodule(name)
    for one, other in zip(model.get_submodule(f"{name}.new").parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, other)
    learner.optimizer.step()
    assert not torch.equal(model(inputs), before)


def test_the_optimizer_forgets_the_old_head_alone() -> None:
    stage = Stage()
    before = tensors_of(stage.learner.optimizer)
    learner, _ = stage.apply(Inject())
    after = tensors_of(learner.optimizer)
    assert after
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    held = [value for group in learner.optimizer.param_groups for value in group["params"]]
    states = [name for name, value in learner.model.named_parameters() if value in learner.optimizer.state]
    assert len(held) == len(states) + 2
    assert not any(name.startswith("8.") for name in states)


def test_it_is_done_once() -> None:
    results = run(Inject(), "Adam")
    names = set(dict(results[-1].learner.model.named_modules()))
    assert "4.new" in names
    assert "4.new.new" not in names
    assert "4.new" not in dict(run(Inject(stage=3), "Adam")[-1].learner.model.named_modules())


def test_with_a_linear_head_and_plain_descent_it_is_warm() -> None:
    """Without momentum or decay nothing tells W_old + W_new - W_anchor from W."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    twin = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    twin.load_state_dict(model.state_dict())
    inputs, targets = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
    ours, warm = (Learner(one, torch.optim.SGD(one.parameters(), lr=0.3)) for one in (model, twin))
    inject_(ours, "2", nn.Linear(5, 3))
    for learner in (ours, warm):
        for _ in range(5):
            learner.optimizer.zero_grad()
            functional.cross_entropy(learner.model(inputs), targets).backward()
            learner.optimizer.step()
    torch.testing.assert_close(model(inputs), twin(inputs), rtol=1e-10, atol=1e-12)


def test_a_tied_head_and_the_whole_model_are_refused() -> None:
    stage = Stage("tied_embedding")
    for rule in (make_rule("inject"), Inject(layer="no such module")):
        with pytest.raises(ValueError, match=r"^layer must be "):
            stage.apply(rule)
        stage.expect({})
    alone = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"^layer must be one of "):
        inject_(Learner(alone, torch.optim.SGD(alone.parameters(), lr=0.1)), "", nn.Linear(3, 2))
