"""Training of stacks: the steps are torch's, each replica ends by itself, and company changes rounding alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from dashtheory.errors import Diverged
from dashtheory.twolayer import Hyperparameters, OptimizerState, Params, StackTraining, of_replica, train_stack
from dashtheory.twolayer import train as training_module
from tests.twolayer.toys import NETWORKS, numbers, toy_config, toy_stack

KINDS = ("mlp", "patch q=1.75", "patch q=3 smoothed")


def trained(
    name: str, hyperparameters: Hyperparameters, num_classes: int = 2, **options: Any
) -> tuple[StackTraining, Any]:
    """Two seeds of a small stack after training, and what it came from."""
    made = toy_stack(toy_config(NETWORKS[name], num_classes), 2, len(hyperparameters.threshold), 12)
    network, data, params = made
    moments = OptimizerState.zero(params, options.get("optimizer", "gd"))
    streams = [torch.Generator().manual_seed(seed) for seed in range(2)]
    result = train_stack(
        network, params, moments, network.samples(data), hyperparameters, generators=streams, **options
    )
    return result, made


def relative_error(ours: Params, theirs: Params) -> float:
    return max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in theirs)


def torch_steps(
    made: Any,
    place: tuple[int, int],
    optimizer_of: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    epochs: int,
    batch_size: int = 12,
) -> Params:
    """The same training of one network by autograd and torch's optimizer, with the same batches."""
    network, data, params = made
    module = network.module().double()
    module.load_state_dict(of_replica(params, *place))
    optimizer = optimizer_of(module.parameters())
    one, generator = data.of_seed(place[0]), torch.Generator().manual_seed(place[0])
    for _ in range(epochs):
        for index in torch.randperm(len(one), generator=generator).split(batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(module(one.x()[index]), one.labels[index]).backward()
            optimizer.step()
    return {name: value.detach() for name, value in module.named_parameters()}


@pytest.mark.parametrize("batch_size", [0, 5])
@pytest.mark.parametrize("method", ["gram", "weights"])
@pytest.mark.parametrize("name", KINDS)
def test_heavy_ball_steps_are_those_of_torch(name: str, method: str, batch_size: int) -> None:
    rates = [0.1, 0.02]
    hyperparameters = numbers(rates, momentum=0.8, weight_decay=0.03)
    found, made = trained(name, hyperparameters, num_classes=3, method=method, batch_size=batch_size, max_epochs=5)
    assert found.epochs.tolist() == [[5, 5], [5, 5]]
    assert found.steps.tolist() == [[5 if batch_size == 0 else 15] * 2] * 2
    assert not found.converged.any()
    for seed in range(2):
        for replica, rate in enumerate(rates):
            expected = torch_steps(
                made,
                (seed, replica),
                lambda parameters, rate=rate: torch.optim.SGD(parameters, rate, momentum=0.8, weight_decay=0.03),  # type: ignore[misc]
                5,
                batch_size or 12,
            )
            assert relative_error(of_replica(found.params, seed, replica), expected) < 1e-12


@pytest.mark.parametrize("name", KINDS)
def test_adam_steps_are_those_of_torch(name: str) -> None:
    hyperparameters = numbers([0.01, 0.003])
    found, made = trained(name, hyperparameters, optimizer="adam", batch_size=5, max_epochs=4)
    for replica, rate in enumerate([0.01, 0.003]):
        expected = torch_steps(made, (1, replica), lambda p, rate=rate: torch.optim.Adam(p, rate), 4, 5)  # type: ignore[misc]
        assert relative_error(of_replica(found.params, 1, replica), expected) < 1e-10
    assert found.coefficients is None


@pytest.mark.parametrize("name", KINDS)
def test_steps_on_coefficients_and_on_weights_go_on_from_a_velocity_alike(name: str) -> None:
    first, (network, data, _) = trained(name, numbers([0.1, 0.05]), max_epochs=6)
    hyperparameters = numbers([0.1, 0.05], weight_decay=0.02, threshold=0.3)
    both = [
        train_stack(
            network,
            first.params,
            first.moments,
            network.samples(data),
            hyperparameters,
            max_epochs=40,
            method=method,
        )
        for method in ("gram", "weights")
    ]
    assert both[0].epochs.tolist() == both[1].epochs.tolist()
    assert relative_error(both[0].params, both[1].params) < 1e-12
    assert relative_error(both[0].moments.tensors[0], both[1].moments.tensors[0]) < 1e-12


@pytest.mark.parametrize("batch_size", [0, 5])
@pytest.mark.parametrize("name", KINDS)
def test_a_replica_in_a_stack_is_that_replica_alone(name: str, batch_size: int) -> None:
    """To rounding: products block by the number of rows, so company changes the last digits (1e-12 here)."""
    rates, ends = [0.2, 0.05, 0.1, 0.2], [0.5, 0.1, 0.3, 0.2]
    hyperparameters = numbers(rates)
    hyperparameters = Hyperparameters(
        **{**vars(hyperparameters), "threshold": torch.tensor(ends, dtype=torch.float64)}
    )
    found, (network, data, params) = trained(name, hyperparameters, batch_size=batch_size, max_epochs=60)
    assert len(set(found.epochs.flatten().tolist())) > 3, "the replicas must end at different times"
    for seed in range(2):
        for replica, (rate, end) in enumerate(zip(rates, ends, strict=True)):
            chosen = slice(seed, seed + 1), slice(replica, replica + 1)
            alone = train_stack(
                network,
                {key: value[chosen] for key, value in params.items()},
                OptimizerState.zero({key: value[chosen] for key, value in params.items()}, "gd"),
                network.samples(data).of_seeds(torch.tensor([seed])),
                numbers([rate], threshold=end),
                batch_size=batch_size,
                max_epochs=60,
                generators=[torch.Generator().manual_seed(seed)],
            )
            assert alone.epochs.item() == found.epochs[seed, replica]
            assert alone.converged.item() == found.converged[seed, replica]
            assert alone.loss.item() == pytest.approx(float(found.loss[seed, replica]), rel=1e-12)
            ours = {key: value[chosen] for key, value in found.params.items()}
            assert relative_error(ours, alone.params) < 1e-12


def test_a_stage_ends_at_the_first_epoch_whose_loss_is_at_most_the_threshold() -> None:
    losses = [
        trained("mlp", numbers([0.1, 0.02]), max_epochs=epochs)[0].loss for epochs in range(1, 31)
    ]  # of the last epoch
    hyperparameters = numbers([0.1, 0.02], threshold=0.4)
    found, _ = trained("mlp", hyperparameters, max_epochs=30)
    for seed in range(2):
        for replica in range(2):
            reached = [float(loss[seed, replica]) <= 0.4 for loss in losses]
            expected = reached.index(True) + 1 if any(reached) else 30
            assert found.epochs[seed, replica] == expected
            assert bool(found.converged[seed, replica]) == any(reached)
    assert found.converged.any(), "one must converge"
    assert not found.converged.all(), "one must not"


@pytest.mark.parametrize("block", [1, 10**9])
def test_blocks_of_seeds_do_not_change_the_results(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    usual, _ = trained("patch q=1.75", numbers([0.3, 0.1], threshold=0.2), batch_size=5)
    monkeypatch.setattr(training_module, "_BLOCK", block)
    found, _ = trained("patch q=1.75", numbers([0.3, 0.1], threshold=0.2), batch_size=5)
    assert found.epochs.tolist() == usual.epochs.tolist()
    assert relative_error(found.params, usual.params) < 1e-12


@pytest.mark.parametrize("batch_size", [0, 5])
def test_coefficients_rebuild_the_weights(batch_size: int) -> None:
    hyperparameters = numbers([0.3, 0.1], weight_decay=0.01, threshold=0.3)
    found, (network, data, params) = trained("mlp", hyperparameters, batch_size=batch_size)
    assert found.coefficients is not None
    start, _ = network.split(params)
    learned = found.coefficients[0] @ network.samples(data).x[:, None]
    torch.testing.assert_close(network.split(found.params)[0], found.affine.c[..., None, None] * start + learned)


def test_the_arguments_stay_as_they_are() -> None:
    network, data, params = toy_stack(toy_config(NETWORKS["mlp"]), 2, 1, 12)
    before = {name: value.clone() for name, value in params.items()}
    moments = OptimizerState.zero(params, "gd")
    train_stack(network, params, moments, network.samples(data), numbers([0.1]), max_epochs=3)
    assert all(torch.equal(params[name], before[name]) for name in params)
    assert not any(value.any() for value in moments.tensors[0].values())


def test_a_loss_that_explodes_names_seed_and_replica() -> None:
    hyperparameters = Hyperparameters(
        **{**vars(numbers([0.01, 1e200])), "threshold": torch.tensor([0.0, 0.0]).double()}
    )
    with pytest.raises(Diverged, match=r"loss must stay finite .* \(seed index 0, replica index 1\)"):
        trained("mlp", hyperparameters, max_epochs=50)


def test_adam_cannot_step_on_coefficients() -> None:
    with pytest.raises(ValueError, match="method must be weights with adam"):
        trained("mlp", numbers([0.1]), optimizer="adam", method="gram")
    with pytest.raises(ValueError, match="method must be one of auto, gram, weights"):
        trained("mlp", numbers([0.1]), method="best")
