"""Rewarm: the larger step is the shrink, to 1e-10; and which layers are scale-invariant is found, not guessed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.errors import Diverged
from dashtheory.protocol import Checkpoints, StageResult, Task, TrainConfig, make_fast_engine, run_stages
from dashtheory.protocol.settings import Schedule
from dashtheory.rules import Context, Learner, Rewarm, Warm, rescale_steps_, scale_invariant
from dashtheory.stream import Examples, Stream, cut

S = 0.4
NORMED = ("0.weight", "3.weight", "6.weight")


def net(seed: int = 0) -> nn.Sequential:
    """Three layers with a norm behind them (batch, layer, group) and a classifier; float64."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh()),
        *(nn.Linear(8, 16, bias=False), nn.LayerNorm(16), nn.Tanh()),
        *(nn.Linear(16, 16, bias=False), nn.GroupNorm(2, 16), nn.Tanh()),
        nn.Linear(16, 3),
    ).double()


def batches(number: int, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(24, 5, generator=generator, dtype=torch.float64) for _ in range(number)]
    return [(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 1).long()) for inputs in draw]


def take(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: Iterable[tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """Train, and keep the logits of each step."""
    seen = []
    for inputs, labels in data:
        optimizer.zero_grad()
        logits = model(inputs)
        functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        seen.append(logits.detach())
    return seen


def scale_eps_(model: nn.Module, factor: float) -> None:
    for module in model.modules():
        if hasattr(module, "eps"):
            module.eps *= factor  # type: ignore[operator, assignment]


def context(model: nn.Module) -> Context:
    return Context(
        chunks=lambda: iter(batches(1, 5)),
        loss_fn=functional.cross_entropy,
        fresh=lambda: Learner(net(1), torch.optim.SGD(net(1).parameters(), lr=0.1)),
        generator=torch.Generator(),
    )


# Small steps: large ones train chaotically, and roundings of 1e-16 would grow past any tolerance.
OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.0003, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.0003, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.0003, eps=1e-3, weight_decay=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.0003, eps=1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.0003, eps=1e-3, weight_decay=0.1),
}
STATE = {"momentum_buffer": 1, "exp_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2}


@pytest.mark.parametrize("momentum", ["kept", "scaled"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_larger_steps_are_a_shrink_over_many_steps(name: str, momentum: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    take(model, optimizer, batches(10))
    shrunk, twin = copy.deepcopy((model, optimizer))
    for key in NORMED:  # the shrink, by hand: weights, eps, weight decay, averages
        weight = shrunk.get_parameter(key)
        with torch.no_grad():
            weight.mul_(S)
            for entry, value in twin.state[weight].items():
                if entry in STATE and momentum == "kept":
                    value.mul_(S ** -STATE[entry])
    # eps of norms and of Adam, and the decay, are one number for all layers: theirs goes with the larger steps.
    scale_eps_(model, S**-2)
    rule = Rewarm(factor=S, momentum=momentum)
    learner, report = rule.apply(Learner(model, optimizer), context(model))
    assert report is None
    for group in learner.optimizer.param_groups:
        assert len(group["params"]) in (len(NORMED), len(list(model.parameters())) - len(NORMED))
    small, large = (take(*one, batches(200, 2)) for one in ((shrunk, twin), (learner.model, learner.optimizer)))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in zip(small, large, strict=True))
    for key, value in model.named_parameters():
        factor = S if key in NORMED else 1.0
        error = (shrunk.get_parameter(key) - factor * value).norm() / (factor * value).norm()
        assert error < 1e-10 or key == "0.bias", (
            key
        )  # the bias before a batch norm has no say, and drifts by 1e-18


def test_a_factor_of_one_is_warm_to_the_bit() -> None:
    found = [[result.metrics() for result in run(rule)] for rule in (Warm(), Rewarm(factor=1))]
    assert found[0] == found[1]
    assert found[0] != [result.metrics() for result in run(Rewarm(factor=0.9))]


def make(generator: torch.Generator) -> nn.Module:
    model = net(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 0.5)
    return model


def run(
    rule: object, *, schedule: Schedule | None = None, engine: object = None, **how: object
) -> list[StageResult]:
    inputs, targets = (torch.cat(parts) for parts in zip(*batches(5), strict=True))
    stream = Stream(cut(Examples(inputs[:96], targets[:96]), 4), Examples(inputs[96:], targets[96:]))
    task = Task(
        make_model=make,
        make_optimizer=OPTIMIZERS["sgd"],
        schedule=schedule,
        **({"make_engine": engine} if engine else {}),  # type: ignore[arg-type]
    )
    config = TrainConfig(batch_size=6, criterion="epochs", max_epochs=3)
    return list(run_stages(stream, rule, task, config, seed=0, **how))  # type: ignore[arg-type]


def test_steps_grow_stage_by_stage_and_only_before_norms() -> None:
    for schedule in (None, Schedule(milestones=(1,), decay=0.1)):
        result = run(Rewarm(factor=0.5), schedule=schedule)[-1]
        model, groups = result.learner.model, result.learner.optimizer.param_groups
        rates = {id(p): group.get("initial_lr", group["lr"]) for group in groups for p in group["params"]}
        assert len(rates) == len(list(model.parameters()))
        for name, parameter in model.named_parameters():
            assert rates[id(parameter)] == pytest.approx(0.0003 * (64 if name in NORMED else 1), rel=1e-12)
        assert groups[-1]["lr"] == pytest.approx(0.0003 * 64 * (0.1 if schedule else 1))


@pytest.mark.parametrize("schedule", [None, Schedule(milestones=(2,), decay=0.1)])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_run_goes_on_from_a_checkpoint_with_its_groups(
    stop_after: int, schedule: Schedule | None, tmp_path: Path
) -> None:
    whole = run(Rewarm(), schedule=schedule)
    checkpoints = Checkpoints(tmp_path, {})
    stopped = whole[stop_after - 1]
    numbers = [result.metrics() for result in whole]
    early = run_until(stop_after, schedule)
    checkpoints.save(stop_after, early.learner, numbers[:stop_after], early.state)
    rest = run(Rewarm(), schedule=schedule, resume=checkpoints.load(stop_after))
    assert [result.metrics() for result in rest] == numbers[stop_after:]
    assert (
        rest[-1].learner.optimizer.state_dict()["param_groups"]
        == (
            stopped.learner.optimizer.state_dict()["param_groups"]  # the same optimizer to the end
        )
    )


def run_until(stage: int, schedule: Schedule | None) -> StageResult:
    """The result of a stage, its learner as it was then."""
    inputs, targets = (torch.cat(parts) for parts in zip(*batches(5), strict=True))
    stream = Stream(cut(Examples(inputs[:96], targets[:96]), 4), Examples(inputs[96:], targets[96:]))
    task = Task(make_model=make, make_optimizer=OPTIMIZERS["sgd"], schedule=schedule)
    config = TrainConfig(batch_size=6, criterion="epochs", max_epochs=3)
    return next(one for one in run_stages(stream, Rewarm(), task, config, seed=0) if one.stage == stage)


def test_the_fast_engine_respects_the_groups() -> None:
    plain, fast = (run(Rewarm(), engine=engine) for engine in (None, make_fast_engine))
    assert [one.metrics() for one in plain] == [one.metrics() for one in fast]


def test_step_sizes_without_bound_end_the_run_in_one_line() -> None:
    model = net()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(Diverged, match=r"^factor must leave step sizes below 1e\+24, got 3.0e\+26\."):
        rescale_steps_(optimizer, [model.get_parameter("0.weight")], 1e-15)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0003]


def test_a_model_without_a_norm_is_refused() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"^model must have a scale-invariant layer"):
        Rewarm().apply(learner, context(model))


# -------------------------------------------------------------------------------- which layers are scale-invariant


class Residual(nn.Module):
    """A shortcut past a norm; the order of modules says nothing about it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.inner, self.outer, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.last = nn.BatchNorm1d(5)
        self.unused = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.inner(self.norm(x))  # followed by a norm, but added to something else before
        logits: Tensor = self.head(self.last(self.outer(x)))
        return logits


class Attention(nn.Module):
    """Saturates at large weights: large queries all look alike."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value, self.head = (nn.Linear(5, 5, bias=False) for _ in range(3))
        self.norm = nn.LayerNorm(5)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.query(x) @ x.T, dim=1)
        logits: Tensor = self.head(self.norm(weights @ self.value(x)))
        return logits


CASES: list[tuple[nn.Module, tuple[str, ...], tuple[str, ...]]] = [
    (net(), NORMED, ("0.weight",)),
    (Residual(), ("outer.weight",), ("outer.weight",)),
    (Attention(), ("value.weight",), ()),
    # A bias makes a layer norm see the length of the weight before it; a ReLU between passes it on.
    (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 2)), (), ()),
    (nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
     ("0.weight", "2.weight"), ("2.weight",)),
    (nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)), (), ()),
]  # fmt: skip


@pytest.mark.parametrize("zero_bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("model", "by_tensor", "by_filter"), CASES)
def test_scale_invariant_layers_are_found(
    model: nn.Module, by_tensor: tuple[str, ...], by_filter: tuple[str, ...], dtype: torch.dtype, zero_bias: bool
) -> None:
    model = copy.deepcopy(model).to(dtype)
    for name, parameter in model.named_parameters():
        if zero_bias and name.endswith("bias"):
            nn.init.zeros_(parameter)
    state, stream = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    inputs = batches(1)[0][0].to(dtype)
    assert scale_invariant(model, inputs) == by_tensor
    assert scale_invariant(model, inputs, level="filter") == by_filter
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(module.training for module in model.modules())


def test_one_example_is_too_few() -> None:
    with pytest.raises(ValueError, match=r"^inputs must hold two examples or more, got 1"):
        scale_invariant(net(), torch.zeros(1, 5))
