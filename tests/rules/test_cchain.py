"""C-CHAIN: the distance to the network of one update ago on a second batch, and the strength that finds itself."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dashtheory.rules import ChurnReduction
from tests.oracles.shrink import chunks
from tests.rules.control_cases import Stage, batch_step


def second(stage: Stage, state: dict[str, Tensor], size: int) -> Tensor:
    """The second batch of the moment."""
    pool = torch.cat([inputs for inputs, _ in chunks(stage.name)])
    stream = torch.Generator().manual_seed(int(state["draw"]))
    return pool[torch.randint(len(pool), (size,), generator=stream)]


@pytest.mark.parametrize("distance", ["kl", "mse"])
def test_it_is_the_distance_to_one_update_ago_on_another_batch(distance: str) -> None:
    stage, rule = Stage(), ChurnReduction(strength=3.0, ratio=0, distance=distance)
    model, state = stage.learner.model, dict(rule.start(stage.learner))
    context = dataclasses.replace(stage.context, state=state)
    penalty, hook = rule.batch_penalty(model, context), rule.after_step(stage.learner, context)
    assert penalty is not None
    assert hook is not None
    batches = []
    for step, (inputs, targets) in enumerate(chunks(stage.name), start=1):
        before = copy.deepcopy(model)
        batch_step(stage.learner, inputs, targets, penalty)
        if step == 1:
            assert float(penalty(inputs, targets, model(inputs)).detach()) > 0
        hook.call(step)
        model.train()
        logits = model(inputs).detach()
        statistics = [value.clone() for value in model.buffers()]
        found = penalty(inputs, targets, logits)
        examples = second(stage, state, len(inputs))
        batches.append(examples)
        old, new = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
        old.load_state_dict({**model.state_dict(), **dict(before.named_parameters())})
        if distance == "kl":
            log_old, log_new = (one(examples).log_softmax(dim=1) for one in (old, new))
            expected = (log_old.exp() * (log_old - log_new)).sum(dim=1).mean()
        else:
            expected = (old(examples) - new(examples)).square().mean()
        assert model.training
        assert all(torch.equal(a, b) for a, b in zip(statistics, model.buffers(), strict=True))
        assert float(found.detach()) == pytest.approx(3 * float(expected.detach()), rel=1e-9)
    assert not torch.equal(batches[0], batches[1])


def test_before_the_first_update_it_is_zero() -> None:
    stage, rule = Stage(), ChurnReduction()
    inputs, targets = next(iter(chunks(stage.name)))
    context = dataclasses.replace(stage.context, state=rule.start(stage.learner))
    penalty = rule.batch_penalty(stage.learner.model, context)
    assert penalty is not None
    assert float(penalty(inputs, targets, stage.learner.model(inputs)).detach()) == 0


def test_chunks_without_tensors_are_refused() -> None:
    stage, rule = Stage(), ChurnReduction()
    pair: tuple[object, object] = ({"ids": torch.ones(3)}, torch.ones(3))
    context = dataclasses.replace(stage.context, chunks=lambda: [pair], state=rule.start(stage.learner))
    with pytest.raises(ValueError, match="chunks must have inputs that are tensors, got none"):
        rule.batch_penalty(stage.learner.model, context)


@pytest.mark.parametrize("window", [50_000, 2])
def test_the_strength_becomes_a_share_of_the_loss_over_the_churn(window: int) -> None:
    """Averages are of all updates so far until the window is full, and look once an update."""
    stage, rule = Stage(), ChurnReduction(strength=2.0, ratio=0.1, warmup=3, window=window)
    model, state = stage.learner.model, dict(rule.start(stage.learner))
    context = dataclasses.replace(stage.context, state=state)
    penalty, hook = rule.batch_penalty(model, context), rule.after_step(stage.learner, context)
    assert penalty is not None
    assert hook is not None
    loss = churn = 0.0
    churns: list[float] = []
    for step, (inputs, targets) in enumerate([*chunks(stage.name), *chunks(stage.name)], start=1):
        found = float(penalty(inputs, targets, model(inputs)).detach())
        strength = 2.0 if step <= 3 else 0.1 * loss / churn
        churns.append(found / strength)
        loss += (float(cross_entropy(model(inputs), targets).detach()) - loss) / min(step, window)
        churn += (churns[-1] - churn) / min(step, window)
        penalty(inputs, targets, model(inputs))  # as SAM does
        assert float(state["loss"]) == pytest.approx(loss)
        assert float(state["churn"]) == pytest.approx(churn)
        batch_step(stage.learner, inputs, targets)
        hook.call(step)
    assert churns[0] == 0
    assert min(churns[1:]) > 0
