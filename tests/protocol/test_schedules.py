"""Schedules of step sizes: warm-up and decay, group by group and stage by stage."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from dashtheory.protocol import Schedule, TrainConfig, train
from dashtheory.protocol.engine import set_rates
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.rules import Learner
from dashtheory.seeds import torch_stream
from tests.protocol.fast_cases import examples, network, pictures


def test_a_schedule_rises_then_falls() -> None:
    schedule = Schedule(milestones=(2, 3), decay=0.5, warmup_epochs=1)
    assert schedule.factors(1, 4) == [0.25, 0.5, 0.75, 1.0]
    assert [schedule.factors(epoch, 2) for epoch in (2, 3, 4, 9)] == [[1, 1], [0.5, 0.5], [0.25] * 2, [0.25] * 2]
    assert Schedule(warmup_epochs=2).factors(2, 2) == [0.75, 1.0]


def test_a_cosine_falls_to_nothing_over_its_epochs_and_stays_there() -> None:
    factors = [one for epoch in range(1, 7) for one in Schedule(anneal=4, warmup_epochs=2).factors(epoch, 3)]
    assert factors[:6] == [step / 6 for step in range(1, 7)]
    expected = [math.cos(math.pi * step / 12) ** 2 for step in range(6)]  # (1 + cos 2x) / 2 = cos^2 x
    assert factors[6:12] == pytest.approx(expected)
    assert factors[12:] == [0.0] * 6
    assert Schedule(anneal=2, milestones=(1,), decay=0.5).factors(2, 1) == pytest.approx([0.25])


def test_every_stage_starts_from_the_optimizer_s_own_step_size() -> None:
    model = network()
    learner = Learner(model, make_optimizer("sgd", model.parameters(), learning_rate=0.01))
    config = TrainConfig(batch_size=39, criterion="epochs", max_epochs=2)
    seen: list[float] = []
    for _ in range(2):
        train(
            learner,
            pictures(39),
            config,
            torch_stream(0, "order"),
            schedule=Schedule(milestones=(1,), decay=0.5),
            on_epoch=lambda *_: seen.append(learner.optimizer.param_groups[0]["lr"]),
        )
    assert seen == [0.01, 0.005, 0.01, 0.005]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"milestones": (3, 2)}, "milestones must rise"),
        ({"milestones": (0,)}, "milestones must be"),
        ({"decay": 0.0}, "decay must be"),
        ({"warmup_epochs": -1}, "warmup_epochs must be"),
        ({"anneal": -1}, "anneal must be"),
        ({"anneal": 2, "warmup_epochs": 2}, "anneal must last longer than the warm-up, got 2 with a warm-up of 2"),
    ],
)
def test_bad_schedules_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(**options)


def test_step_sizes_are_set_group_by_group() -> None:
    model = nn.Linear(2, 3)
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.2}])
    set_rates(optimizer, [0.3, 0.4])
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.4]
    set_rates(optimizer, None)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.4]
    seen: list[list[float]] = []
    train(
        Learner(model, optimizer),
        examples(4),
        TrainConfig(batch_size=4, criterion="epochs", max_epochs=2),
        torch_stream(0, "order"),
        schedule=Schedule(milestones=(1,), decay=0.5),
        on_epoch=lambda *_: seen.append([group["lr"] for group in optimizer.param_groups]),
    )
    assert seen == [[0.3, 0.4], [0.15, 0.2]]


def test_a_schedule_warms_up_over_steps_of_every_epoch_of_it() -> None:
    schedule = Schedule(milestones=(1,), decay=0.5, warmup_epochs=2)
    assert schedule.factors(1, 2) == [0.25, 0.5]
    assert schedule.factors(2, 2) == [0.375, 0.5]  # the fall holds in the warm-up, too
    assert schedule.factors(3, 2) == [0.5, 0.5]
