"""Training of a stage: criteria, statuses, epochs, and losses that explode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dashtheory.errors import Diverged
from dashtheory.evaluate import Scores, num_right
from dashtheory.protocol import Task, TrainConfig, Training, run_stages, train
from dashtheory.rules import Learner, Warm
from dashtheory.stream import Examples
from tests.protocol.protocol_cases import STREAM, TASK, blobs, make_net


def test_status_steps_and_epochs_count_what_happened() -> None:
    learner = TASK.fresh(torch.Generator().manual_seed(0))
    data = blobs(30, 0)
    never = TrainConfig(batch_size=8, criterion="loss", threshold=0.0, max_epochs=3)
    capped = train(learner, data, never, torch.Generator().manual_seed(0))
    assert (capped.status, capped.epochs, capped.steps) == ("epoch_cap", 3, 3 * 4)
    at_once = TrainConfig(batch_size=8, criterion="accuracy", threshold=0.0, max_epochs=3)
    done = train(learner, data, at_once, torch.Generator().manual_seed(0))
    assert (done.status, done.epochs, done.steps) == ("converged", 1, 4)
    assert learner.model.training


def test_training_switches_to_training_mode_first() -> None:
    learner = TASK.fresh(torch.Generator().manual_seed(0))
    learner.model.eval()
    before = learner.model.state_dict()["1.running_mean"].clone()
    config = TrainConfig(batch_size=8, max_epochs=1)
    train(learner, blobs(30, 0), config, torch.Generator().manual_seed(0))
    assert all(module.training for module in learner.model.modules())
    assert not torch.equal(learner.model.state_dict()["1.running_mean"], before)


@pytest.mark.parametrize(("criterion", "threshold"), [("loss", 0.3), ("accuracy", 0.93)])
def test_training_stops_at_the_first_epoch_that_reaches_the_threshold(criterion: str, threshold: float) -> None:
    history: list[Scores] = []
    config = TrainConfig(batch_size=8, criterion=criterion, threshold=threshold, max_epochs=200)
    learner = TASK.fresh(torch.Generator().manual_seed(0))
    done = train(
        learner, blobs(30, 0), config, torch.Generator().manual_seed(0), on_epoch=lambda _, s: history.append(s)
    )
    reached = [s.loss <= threshold if criterion == "loss" else s.accuracy >= threshold for s in history]
    assert done.status == "converged"
    assert reached[-1]
    assert not any(reached[:-1])
    assert done.last_epoch == history[-1]


def test_an_epoch_visits_every_example_once() -> None:
    # With a learning rate of zero the scores of an epoch are those of the weights, short last batch included.
    net = nn.Linear(2, 2)
    data = blobs(29, 0)
    learner = Learner(net, torch.optim.SGD(net.parameters(), lr=0.0))
    config = TrainConfig(batch_size=8, criterion="loss", threshold=0.0, max_epochs=1)
    done = train(learner, data, config, torch.Generator().manual_seed(0))
    logits = net(data.inputs).detach().double()
    picked = logits.log_softmax(-1)[torch.arange(29), data.targets]
    assert done.last_epoch.loss == pytest.approx(-float(picked.mean()), rel=1e-6)  # float32 batch losses
    assert done.last_epoch.accuracy == int(num_right(logits, data.targets)) / 29
    assert done.steps == 4


def test_a_loss_that_explodes_is_an_error_not_a_result() -> None:
    net = nn.Linear(2, 2)
    learner = Learner(net, torch.optim.SGD(net.parameters(), lr=1e38))
    data = blobs(30, 0, spread=1e3)
    config = TrainConfig(batch_size=4, criterion="loss", threshold=0.0, max_epochs=50)
    with pytest.raises(Diverged, match=r"loss must stay finite in training, got .* Lower the learning rate"):
        train(learner, data, config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("criterion", ["loss", "accuracy"])
def test_a_threshold_that_is_met_exactly_ends_the_stage(criterion: str) -> None:
    def one_epoch(threshold: float, criterion: str) -> Training:
        net = nn.Linear(2, 2)
        nn.init.eye_(net.weight)
        nn.init.zeros_(net.bias)
        learner = Learner(net, torch.optim.SGD(net.parameters(), lr=0.1))
        config = TrainConfig(batch_size=8, criterion=criterion, threshold=threshold, max_epochs=1)
        return train(learner, blobs(30, 0), config, torch.Generator().manual_seed(0))

    reached = getattr(one_epoch(0.0, "loss").last_epoch, criterion)
    assert one_epoch(reached, criterion).status == "converged"
    beyond = np.nextafter(reached, 0.0 if criterion == "loss" else 1.0)
    assert one_epoch(float(beyond), criterion).status == "epoch_cap"


def test_weights_that_explode_in_the_last_step_are_an_error() -> None:
    task = Task(make_model=make_net, make_optimizer=lambda p: torch.optim.SGD(p, lr=1e30))
    config = TrainConfig(batch_size=100, criterion="loss", threshold=0.0, max_epochs=1)
    with pytest.raises(Diverged, match=r"loss must be finite on the test set, got .* after stage 1"):
        list(run_stages(STREAM, Warm(), task, config, seed=0))


def test_a_batch_counts_once_in_the_running_statistics_however_often_the_optimizer_looks() -> None:
    class Twice(torch.optim.SGD):
        """Calls its closure twice, as SAM does."""

        def step(self, closure: Any = None) -> Any:
            closure()
            return super().step(closure)

    def statistics(kind: type[torch.optim.SGD]) -> list[Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        data = Examples(torch.randn(12, 3), torch.randint(2, (12,)))
        config = TrainConfig(batch_size=4, threshold=1.0, max_epochs=2)
        optimizer = kind(model.parameters(), lr=0.0)  # the weights stay, so that both see the same
        train(Learner(model, optimizer), data, config, torch.Generator().manual_seed(0))
        return list(model[1].buffers())

    once, twice = statistics(torch.optim.SGD), statistics(Twice)
    assert int(once[2]) == 6
    assert all(map(torch.equal, once, twice))
