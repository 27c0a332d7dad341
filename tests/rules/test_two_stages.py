"""Two stages with every rule and optimizer against their transcription."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.evaluate import cross_entropy
from dashtheory.protocol import StageResult, Task, TrainConfig, run_stages, train
from dashtheory.rules import (
    Context,
    Dash,
    Learner,
    RuleState,
    Warm,
    dash_factors,
    make_rule,
    shrink_and_perturb_,
)
from dashtheory.seeds import torch_stream
from tests.rules.control_cases import (
    CONFIG,
    IN_PLACE,
    NEW_MODEL,
    OPTIMIZERS,
    STREAM,
    equal,
    make_net,
    points,
    run,
    stages,
    tensors_of,
)

TRANSCRIBED = (
    *("cold", "warm", "sp", "dash", "warm_rm", "reset", "l2_init", "sp_ash_adams", "perturb"),
    *("uniform", "permuted", "scattered", "norm_matched", "proportional", "threshold", "cold_shrunk", "rewarm"),
)
FROM_DASH = ("dash", "uniform", "permuted", "scattered", "norm_matched", "proportional", "threshold")


def fresh_by_hand(name: str, seed: int) -> nn.Module:
    """The new model of a rule that starts anew."""
    fresh = make_net(torch_stream(seed, "init", 2))
    if name == "cold_shrunk":
        with torch.no_grad():
            for layer in (0, 4):
                fresh.get_parameter(f"{layer}.weight").mul_(0.45)
    return fresh


def shrunk_by_hand(name: str, model: nn.Module, noise: torch.Generator) -> None:
    """DASH and what is made of its factors."""
    report = dash_factors(model, [(chunk.inputs, chunk.targets) for chunk in STREAM.chunks], cross_entropy)
    for key in ("0.weight", "0.bias", "4.weight", "4.bias"):
        factors = report[key].scales
        if name == "uniform":
            factors = torch.full_like(factors, report.mean_scale)
        elif name == "permuted":
            factors = factors.flatten()[torch.randperm(factors.numel(), generator=noise)].reshape(factors.shape)
        elif name == "threshold":
            factors = 1 - 0.7 * (report[key].cosines > 0.3).double()
        elif name == "scattered":
            factors = factors.flatten()[torch.randint(factors.numel(), factors.shape, generator=noise)]
        elif name == "norm_matched":
            value = model.get_parameter(key).detach()
            after = value * (factors[:, None] if key.endswith("weight") else factors)
            factors = torch.full_like(factors, float(after.norm() / value.norm()))
        elif name == "proportional":  # the normalisation after layer 0 takes away what it gives
            factors = torch.full_like(factors, report.mean_scale)
        with torch.no_grad():
            model.get_parameter(key).mul_(factors[:, None] if key.endswith("weight") else factors)
    if name == "proportional":
        model.get_buffer("1.running_mean").mul_(report.mean_scale)
        model.get_buffer("1.running_var").mul_(report.mean_scale**2)


def changed_by_hand(name: str, model: nn.Module, seed: int) -> None:
    """What a rule makes of the model before stage 2, in place."""
    noise, fresh = torch_stream(seed, "perturbation", 2), make_net(torch_stream(seed, "init", 2))
    if name == "reset":
        model.get_submodule("4").load_state_dict(fresh.get_submodule("4").state_dict())
    elif name in ("sp", "perturb"):
        shrink_and_perturb_(model, shrink=0.3 if name == "sp" else 1, perturb=0.01, generator=noise)
    elif name == "sp_ash_adams":
        shrink_and_perturb_(model, shrink=0.4, perturb=0.1, fresh=fresh)
    elif name in FROM_DASH:
        shrunk_by_hand(name, model, noise)


def larger_steps_by_hand(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """What rewarm does: a group of its own for the layer before the batch norm, its options divided by hand."""
    options = {
        "SGD": {"lr": 0.05 / 0.09},
        "Adam": {"lr": 0.01 / 0.3, "eps": 3e-9},
        "AdamW": {"lr": 0.01 / 0.3, "eps": 3e-9, "weight_decay": 0.03},
    }[type(optimizer).__name__]
    (group,) = optimizer.param_groups
    group["params"] = [parameter for name, parameter in model.named_parameters() if name != "0.weight"]
    optimizer.add_param_group({**group, **options, "params": [model.get_parameter("0.weight")]})


def step_by_hand(model: nn.Module, optimizer: Any, inputs: Tensor, labels: Tensor, first: nn.Module | None) -> int:
    """One step with the authors' penalty (l2 = 0.1) if `first` is given; right answers before it."""
    right: list[int] = []
    statistics: list[dict[str, Tensor]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = model(inputs)
        right.append(int((logits.argmax(-1) == labels).sum()))
        statistics.append({name: value.clone() for name, value in model.named_buffers()})
        total = functional.cross_entropy(logits, labels)
        if first is not None:
            apart = [
                (model.get_parameter(key) - first.get_parameter(key).detach()).square().sum()
                for key in ("0.weight", "0.bias", "4.weight", "4.bias")
            ]
            tiny = 1e-300  # so that the square root has a slope at zero
            total = total + 0.1 * ((apart[0] + apart[1] + tiny).sqrt() + (apart[2] + apart[3] + tiny).sqrt()) ** 2
        total.backward()
        return total

    optimizer.step(closure)
    for name, value in model.named_buffers():  # a batch counts once in running statistics
        value.copy_(statistics[0][name])
    return right[0]


def two_stages_by_hand(name: str, make: Any, seed: int) -> list[dict[str, Tensor]]:
    """The protocol in one plain loop; weights after each stage."""
    found = []
    model = make_net(torch_stream(seed, "init", 1))
    first = copy.deepcopy(model) if name == "l2_init" else None
    optimizer = make(model.parameters())
    for stage in (1, 2):
        if stage == 2:
            changed_by_hand(name, model, seed)
            model = fresh_by_hand(name, seed) if name in NEW_MODEL else model
            optimizer = make(model.parameters()) if name in (*NEW_MODEL, "warm_rm") else optimizer
            if name == "rewarm":
                larger_steps_by_hand(model, optimizer)
        inputs = torch.cat([chunk.inputs for chunk in STREAM.chunks[:stage]])
        labels = torch.cat([chunk.targets for chunk in STREAM.chunks[:stage]])
        order = torch_stream(seed, "order", stage)
        model.train()
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=torch_stream(seed, "layers", stage))))
            for _ in range(CONFIG.max_epochs):
                batches = torch.randperm(len(inputs), generator=order).split(CONFIG.batch_size)
                right = sum(step_by_hand(model, optimizer, inputs[i], labels[i], first) for i in batches)
                if right == len(inputs):
                    break
        found.append({key: value.clone() for key, value in model.state_dict().items()})
    return found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", TRANSCRIBED)
def test_two_stages_with_every_optimizer_equal_their_transcription(name: str, optimizer: str) -> None:
    rule = make_rule(name, **({"l2": 0.1} if name == "l2_init" else {}))
    if name == "rewarm" and optimizer in ("SAM", "LBFGS"):
        with pytest.raises(ValueError, match=r"^optimizer must be SGD, Adam or AdamW"):
            list(stages(rule, optimizer, 3))
        return
    expected = two_stages_by_hand(name, OPTIMIZERS[optimizer], 3)
    for result, weights in zip(stages(rule, optimizer, 3), expected, strict=True):
        for key, value in result.learner.model.state_dict().items():
            # The penalty is summed in another order: roundings of 1e-16, grown by the steps of two stages.
            np.testing.assert_allclose(value, weights[key], rtol=1e-7, atol=1e-9, err_msg=f"{result.stage} {key}")


def test_what_a_rule_remembers_reaches_it_at_every_stage() -> None:
    class Anchored(Warm):
        """Notes the state that each call is given."""

        def start(self, learner: Learner) -> dict[str, Tensor]:
            return {"first": learner.model.get_parameter("0.bias").detach().clone()}

        def apply(self, learner: Learner, context: Context) -> tuple[Learner, None]:
            seen.append(context.state["first"])
            return learner, None

        def penalty(self, model: nn.Module, state: RuleState) -> None:
            seen.append(state["first"])

    seen: list[Tensor] = []
    results = run(Anchored(), "Adam")
    first = make_net(torch_stream(0, "init", 1)).get_parameter("0.bias")
    assert len(seen) == 3  # penalty, apply, penalty
    assert all(torch.equal(value, first) for value in [*seen, *(result.state["first"] for result in results)])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_renewed_optimizer_starts_the_stage_without_state(name: str, optimizer: str) -> None:
    seen: list[int] = []

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        made = OPTIMIZERS[optimizer](parameters)
        seen.append(id(made))
        return made

    def states(results: list[StageResult]) -> list[int]:
        found = []
        for result in results:
            steps = [int(torch.as_tensor(v)) for v in tensors_of(result.learner.optimizer).values() if v.ndim == 0]
            found.append(max(steps, default=-1))
        return found

    task = Task(make_model=make_net, make_optimizer=make)
    rules = [make_rule(name, optimizer=kind) for kind in ("kept", "renewed")]
    kept, renewed = ([*run_stages(STREAM, rule, task, CONFIG, seed=0)] for rule in rules)
    assert kept[0].learner.optimizer is kept[1].learner.optimizer
    assert renewed[0].learner.optimizer is not renewed[1].learner.optimizer
    if optimizer in ("Adam", "AdamW"):
        assert states([kept[1]])[0] == sum(r.training.steps for r in kept)
        assert states([renewed[1]])[0] == renewed[1].training.steps


def test_scores_are_of_the_loss_without_the_penalty_and_of_the_first_call() -> None:
    def one_epoch(penalty: Callable[[], Tensor] | None, optimizer: str) -> Any:
        net = make_net(torch.Generator().manual_seed(0))
        learner = Learner(net, OPTIMIZERS[optimizer](net.parameters()))
        for group in learner.optimizer.param_groups:
            group["lr"] = 0.0
        config = TrainConfig(batch_size=24, criterion="loss", threshold=0.0, max_epochs=1)
        net[3].p = 0.0  # type: ignore[index]
        return train(learner, points(24, 0), config, torch.Generator().manual_seed(0), penalty=penalty).last_epoch

    plain = one_epoch(None, "Adam")
    for optimizer in ("Adam", "SAM", "SGD with momentum"):
        assert one_epoch(lambda: torch.tensor(7.0, requires_grad=True), optimizer) == plain


def test_an_optimizer_that_ignores_its_closure_is_refused() -> None:
    class Idle(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            return None

    net = make_net(torch.Generator())
    with pytest.raises(ValueError, match=r"^optimizer must call the closure of its step, got Idle\. "):
        train(Learner(net, Idle(net.parameters())), points(24, 0), CONFIG, torch.Generator())


@pytest.mark.parametrize(
    "options", [{"training": True}, {"newest_only": True}, {"granularity": "filter"}], ids=str
)
def test_ablations_of_dash_repeat_whatever_the_global_streams(options: dict[str, Any]) -> None:
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        found.append(run(Dash(**options), "SGD with momentum")[-1].learner.model.state_dict())
    assert equal(*found)


def test_what_the_optimizer_minimizes_is_the_loss_with_the_penalty() -> None:
    told: list[float] = []

    class Listening(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            told.append(float(closure().detach()))

    net = make_net(torch.Generator().manual_seed(0))
    config = TrainConfig(batch_size=24, criterion="loss", threshold=0.0, max_epochs=1)
    learner = Learner(net, Listening(net.parameters(), lr=0.0))
    penalty = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    done = train(
        learner, points(24, 0), config, torch.Generator().manual_seed(0), penalty=lambda: penalty * 1
    ).last_epoch
    assert told == [pytest.approx(done.loss + 7)]
