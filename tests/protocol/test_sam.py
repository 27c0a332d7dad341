"""SAM against its formula."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.protocol.optimizers import OPTIMIZERS, SAM, make_optimizer
from tests.protocol.optimizer_cases import batches, bits, loss_of, net, scalars, step


def backward(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        value = loss()
        value.backward()
        return value.detach()

    return closure


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("rho", [0.0, 0.1, 2.0])
def test_sam_is_its_formula_bit_for_bit(rho: float, momentum: float, weight_decay: float) -> None:
    model, rate = net(norm=False), 0.3
    optimizer = SAM(model.parameters(), learning_rate=rate, momentum=momentum, weight_decay=weight_decay, rho=rho)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    velocity: list[Tensor] | None = None

    def gradient(at: list[Tensor], batch: tuple[Tensor, Tensor]) -> list[Tensor]:
        at = [value.clone().requires_grad_() for value in at]
        one, one_bias, two, two_bias = at
        logits = functional.linear(functional.linear(batch[0], one, one_bias).tanh(), two, two_bias)
        return list(torch.autograd.grad(functional.cross_entropy(logits, batch[1]), at))

    for batch in batches(5):
        step(model, optimizer, batch)
        first = gradient(weights, batch)
        length = torch.stack([part.norm() for part in first]).norm()
        second = gradient(
            [w + part * (rho / (length + 1e-12)) for w, part in zip(weights, first, strict=True)], batch
        )
        if weight_decay:
            second = [part.add(w, alpha=weight_decay) for part, w in zip(second, weights, strict=True)]
        if velocity is None or momentum == 0:
            velocity = second
        else:
            velocity = [v * momentum + part for v, part in zip(velocity, second, strict=True)]
        weights = [w.add(v, alpha=-rate) for w, v in zip(weights, velocity, strict=True)]
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            assert torch.equal(parameter, weight)


def test_sam_by_hand() -> None:
    # f = (a^2 + b^2) / 2 at (3, 4): g = (3, 4), |g| = 5, e = (0.6, 0.8) for rho = 1, h = (3.6, 4.8);
    # with weight decay 0.5 the step of 0.1 goes along (3.6 + 1.5, 4.8 + 2).
    a, b = scalars(3.0, 4.0)
    optimizer = SAM([a, b], learning_rate=0.1, momentum=0.9, weight_decay=0.5, rho=1.0)
    closure = backward(lambda: ((a**2 + b**2) / 2).sum())
    assert float(optimizer.step(closure)) == pytest.approx((3**2 + 4**2) / 2)  # the loss at w
    assert [a.item(), b.item()] == pytest.approx([3 - 0.1 * 5.1, 4 - 0.1 * 6.8])


def test_sam_shrinks_nothing_by_its_small_constant_and_survives_a_zero_gradient() -> None:
    (a,) = scalars(0.0)
    optimizer = SAM([a], learning_rate=0.1, momentum=0.0, rho=1.0)
    closure = backward(lambda: (a**2).sum())
    optimizer.step(closure)
    assert a.item() == 0
    (b,) = scalars(1e-6)  # a gradient of 2e-6 is long beside 1e-12
    optimizer = SAM([b], learning_rate=0.1, momentum=0.0, rho=1.0)
    closure = backward(lambda: (b**2).sum())
    optimizer.step(closure)
    assert b.item() == pytest.approx(1e-6 - 0.1 * 2 * (1 + 1e-6), rel=1e-5)


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.9, 0.01)])
def test_sam_with_radius_0_is_sgd_bit_for_bit(momentum: float, weight_decay: float) -> None:
    ours, theirs = net(), net()
    sam = SAM(ours.parameters(), learning_rate=0.2, momentum=momentum, weight_decay=weight_decay, rho=0.0)
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.2, momentum=momentum, weight_decay=weight_decay)
    for batch in batches(6):
        step(ours, sam, batch)
        sgd.zero_grad()
        loss_of(theirs, batch).backward()
        sgd.step()
        assert bits(ours) == bits(theirs)
    if momentum == 0:
        assert not any(sam.state.values())
    else:
        for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(sam.state[one]["momentum_buffer"], sgd.state[two]["momentum_buffer"])


def test_a_radius_changes_the_steps() -> None:
    ours, theirs = net(), net()
    step(ours, SAM(ours.parameters(), learning_rate=0.2, rho=0.1), batches(1)[0])
    step(theirs, SAM(theirs.parameters(), learning_rate=0.2, rho=0.0), batches(1)[0])
    assert bits(ours) != bits(theirs)


def test_the_closure_runs_at_w_then_at_distance_rho_with_gradients_enabled_and_cleared() -> None:
    model, batch = net(), batches(1)[0]
    optimizer = SAM(model.parameters(), learning_rate=0.2, rho=0.7)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss_of(model, batch).backward()  # what an earlier step left must not count
    moves, gradients = [], []

    def closure() -> str:
        assert torch.is_grad_enabled()
        assert all(parameter.grad is None for parameter in model.parameters())
        moves.append([w.detach() - old for w, old in zip(model.parameters(), before, strict=True)])
        loss_of(model, batch).backward()
        gradients.append(
            [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        )
        return f"call {len(moves)}"

    assert optimizer.step(closure) == "call 1"
    at_w, moved = (torch.cat([part.flatten() for part in parts]) for parts in moves)
    slope = torch.cat([part.flatten() for part in gradients[0]])
    assert not at_w.any()
    assert float(moved.norm()) == pytest.approx(0.7, rel=1e-5)
    assert float(functional.cosine_similarity(moved, slope, dim=0)) == pytest.approx(1, abs=1e-5)


def test_parameter_groups_have_their_own_rate_and_radius_and_one_common_norm() -> None:
    a, b = scalars(3.0, 4.0)
    optimizer = SAM([a], learning_rate=0.1, momentum=0.0, rho=1.0)
    optimizer.add_param_group({"params": [b], "lr": 0.01, "rho": 5.0})
    closure = backward(lambda: ((a**2 + b**2) / 2).sum())
    optimizer.step(closure)
    assert [a.item(), b.item()] == pytest.approx([3 - 0.1 * 3.6, 4 - 0.01 * 8.0])


def test_parameters_without_a_gradient_stay_and_do_not_count() -> None:
    a, idle = scalars(3.0, 4.0)
    optimizer = SAM([a, idle], learning_rate=0.1, momentum=0.9, weight_decay=0.5, rho=1.0)
    closure = backward(lambda: (a**2 / 2).sum())
    optimizer.step(closure)
    assert [a.item(), idle.item()] == pytest.approx([3 - 0.1 * (4 + 1.5), 4.0])
    assert idle not in optimizer.state


@pytest.mark.parametrize("num_right", [0, 1])
def test_sam_refuses_a_closure_without_gradients_and_leaves_the_weights(num_right: int) -> None:
    model, batch = net(), batches(1)[0]
    optimizer = SAM(model.parameters(), learning_rate=0.2, rho=3.0)
    before = copy.deepcopy(list(model.parameters()))
    calls: list[int] = []

    def closure() -> float:
        calls.append(len(calls))
        if len(calls) <= num_right:
            loss_of(model, batch).backward()
        return 0.0

    with pytest.raises(ValueError, match=r"closure must give gradients, got none\. Call loss\.backward\(\) in it"):
        optimizer.step(closure)
    assert len(calls) == num_right + 1
    with pytest.raises(ValueError, match="closure must be a function that evaluates the batch"):
        optimizer.step()
    assert all(torch.equal(w, old) for w, old in zip(model.parameters(), before, strict=True))


def test_the_weights_come_back_if_the_second_call_fails() -> None:
    model, batch = net(), batches(1)[0]
    optimizer = SAM(model.parameters(), learning_rate=0.2, rho=3.0)
    before = copy.deepcopy(list(model.parameters()))
    calls: list[int] = []

    def closure() -> None:
        calls.append(len(calls))
        if len(calls) == 2:
            assert not any(torch.equal(w, old) for w, old in zip(model.parameters(), before, strict=True))
            raise KeyboardInterrupt
        loss_of(model, batch).backward()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert all(torch.equal(w, old) for w, old in zip(model.parameters(), before, strict=True))


def test_each_batch_counts_once_in_the_running_statistics() -> None:
    model, shadow = net(), net()
    optimizer = SAM(model.parameters(), learning_rate=0.5, rho=1.0)
    for count, batch in enumerate(batches(3), start=1):
        with torch.no_grad():
            for ours, theirs in zip(model.parameters(), shadow.parameters(), strict=True):
                theirs.copy_(ours)
            shadow(batch[0])  # the first pass alone
        step(model, optimizer, batch)
        for name in ("running_mean", "running_var"):
            assert torch.equal(getattr(model[1], name), getattr(shadow[1], name))
        assert model[1].num_batches_tracked == count


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_run_goes_on_bit_for_bit(name: str) -> None:
    data = batches(6)

    def make(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = net(seed=seed)
        options: dict[str, Any] = {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.01, "rho": 0.3}
        return model, make_optimizer(name, model.parameters(), **options)

    model, optimizer = make()
    for batch in data[:3]:
        step(model, optimizer, batch)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    for batch in data[3:]:
        step(model, optimizer, batch)

    other, resumed = make(seed=1)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    other.load_state_dict(loaded["model"])
    resumed.load_state_dict(loaded["optimizer"])
    for batch in data[3:]:
        step(other, resumed, batch)
    assert bits(other) == bits(model)


def test_a_schedule_sets_the_rate_of_sam() -> None:
    (a,) = scalars(3.0)
    optimizer = SAM([a], learning_rate=0.1, momentum=0.0, rho=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    closure = backward(lambda: (a**2 / 2).sum())
    expected = 3.0
    for rate in (0.1, 0.05):
        optimizer.step(closure)
        schedule.step()
        expected -= rate * (expected + 1)
    assert a.item() == pytest.approx(expected)
