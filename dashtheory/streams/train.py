"""A stream of tasks, and a fresh twin beside every one: all rules and seeds at once.

At each task a replica goes on from where it was, after its rule; beside it a twin begins anew, with the same data
in the same order, the same optimizer and the same pull to its start; of other rules that act while training a twin
has nothing. Rules that train alike share their twin. In the
first task both begin from the same weights, so that they end alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from dashtheory._check import fail, integer
from dashtheory.errors import Diverged
from dashtheory.measure import (
    active_share,
    churn,
    dead_share,
    dormant_share,
    effective_rank,
    singular_values,
    srank,
    stable_rank,
)
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples
from dashtheory.streams.boundary import Boundary, Member, Training, apply_rules_, remembered_at_start
from dashtheory.streams.config import StreamConfig, StreamTraining
from dashtheory.streams.guests import Networks, guests_of
from dashtheory.streams.stack import NetworkStack, Pass
from dashtheory.streams.steps import OptimizerState, Pull, Stepper
from dashtheory.streams.tasks import Base, Task, make_tasks

LEVEL = "deep"
DORMANT = 0.025


def run_stream(
    config: StreamConfig,
    training: StreamTraining,
    rules: Sequence[str],
    seeds: Sequence[int],
    *,
    base: Base | None = None,
    experiment: str = "streams",
    coordinates: Mapping[str, float | str] | None = None,
    report: Report = lambda share, text: None,
) -> pd.DataFrame:
    """Train every rule and seed, and a fresh twin beside every task.

    Args:
        config: what changes.
        training: how each task is trained.
        rules: as written, "dash:lam=0.1" (`Member`); each once.
        seeds: root seeds; all of them train together.
        base: what tasks are made of, as `make_tasks`.
        experiment: name for the table.
        coordinates: of the table, the name of the stream, say.
        report: told after every task.

    Returns:
        tidy table whose stages are the tasks. Of every rule, and with "fresh_" before the name of its twin:
        online_accuracy (predict, then update; mean over all steps of the task), or online_error (squared), and
        test_accuracy where a task has held-out data, else train_accuracy or train_error at its end. If
        `training.probe`, at the end of a task that is measured, on that many of its examples: dormant_share,
        dead_share, active_share (over hidden units), effective_rank, srank, stable_rank (of the last hidden
        layer), weight_magnitude; of the rule alone distance_to_start, and churn and churn_absolute of the outputs
        over the task.

    Raises:
        ValueError: if a rule does not fit, or the data do not.
        Diverged: if weights are no longer finite.
    """
    members = [Member(text) for text in rules]
    if not members or len(set(rules)) < len(members):
        fail("rules", "must name at least one, each once", str(tuple(rules)), "Say warm,dash, for example.")
    if not seeds or len(set(seeds)) < len(seeds):
        fail("seeds", "must hold at least one, each once", str(tuple(seeds)), "Say range(5), for example.")
    for seed in seeds:
        integer("seeds", seed, minimum=0, fix="Seeds are 0, 1, 2, ...")
    run = _Run(config, training, members, tuple(seeds), base)
    rows: list[dict[str, object]] = []
    for number, metrics in enumerate(run.tasks(), start=1):
        for replica, member in enumerate(members):
            for place, seed in enumerate(seeds):
                rows += stage_rows(
                    level=LEVEL,
                    experiment=experiment,
                    rule=member.text,
                    seed=seed,
                    stage=number,
                    metrics={name: float(values[place, replica]) for name, values in metrics.items()},
                    coordinates=coordinates,
                )
        report(number / config.num_tasks, f"task {number} of {config.num_tasks}")
    return make_table(rows)


@dataclass(frozen=True, eq=False)
class _Data:
    """A task of all seeds: inputs (S, n, in) and targets, and held-out ones."""

    inputs: Tensor
    targets: Tensor
    tests: tuple[Examples, ...]
    parts: tuple[Examples, ...]

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> _Data:
        parts = tuple(task.train for task in tasks)
        return cls(
            torch.stack([part.inputs for part in parts]),
            torch.stack([part.targets for part in parts]),
            tuple(task.test for task in tasks if task.test is not None),
            parts,
        )

    def batches(
        self, training: StreamTraining, seeds: Sequence[int], task: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of all epochs: the first in the order of the task."""
        rows = torch.arange(len(seeds))[:, None]
        for epoch in range(training.epochs):
            if epoch:
                streams = [torch_stream(seed, "order", task, epoch) for seed in seeds]
                order = torch.stack([torch.randperm(self.inputs.shape[1], generator=one) for one in streams])
                inputs, targets = self.inputs[rows, order], self.targets[rows, order]
            else:
                inputs, targets = self.inputs, self.targets
            size = training.batch_size
            yield from zip(inputs.split(size, dim=1), targets.split(size, dim=1), strict=True)


class _Run:
    """Everything of a run that lives on from task to task."""

    def __init__(
        self,
        config: StreamConfig,
        training: StreamTraining,
        members: Sequence[Member],
        seeds: tuple[int, ...],
        base: Base | None,
    ) -> None:
        self.config, self.training, self.members, self.seeds = config, training, list(members), seeds
        self.streams = [make_tasks(config, seed, base) for seed in seeds]
        plans = [member.training(training.learning_rate) for member in members]
        self.twins: list[Training] = list(dict.fromkeys(plans))
        self.twin_of = [self.twins.index(plan) for plan in plans]
        self.plans = [*plans, *self.twins]
        self.base = base

    def tasks(self) -> Iterator[dict[str, Tensor]]:
        """Train task by task; gives the metrics of each, (S, rules)."""
        finished: list[_Data] = []
        number_of = len(self.members)
        for task, drawn in enumerate(zip(*self.streams, strict=True), start=1):
            data = _Data.of(drawn)
            fresh = self._fresh(data, task)
            if task == 1:
                self.first = fresh[:, self.twin_of].clone()
                self.flat, self.start = self.first.clone(), self.first
                self.optimizer = OptimizerState.zero(self.flat, self.training.optimizer)
                self.states = [remembered_at_start(self.members, self.stack, one[0]) for one in self.first]
            else:
                self._change_(finished, task)
            flat = torch.cat([self.flat, fresh], dim=1)
            optimizer = self.optimizer.joined(OptimizerState.zero(fresh, self.training.optimizer))
            chunks = [*(finished[1 - self.training.replay :] if self.training.replay > 1 else ()), data]
            boundaries = self._boundaries(chunks, task)
            start = torch.cat([self.start, fresh], dim=1)
            metrics = self._train(flat, optimizer, data, start, boundaries, task)
            self.flat, self.optimizer = flat[:, :number_of].contiguous(), optimizer.head(number_of)
            if not bool(torch.isfinite(self.flat).all()):
                fail("learning_rate", "must let weights stay finite", f"task {task}", "Lower it.", error=Diverged)
            finished = [*finished, data][-self.training.replay :]
            yield metrics

    def _fresh(self, data: _Data, task: int) -> Tensor:
        """New networks of the task's own stream, (S, twins, D)."""
        if task == 1:
            outputs = data.targets.shape[-1] if self.config.is_regression else self._num_classes()
            sizes = (data.inputs.shape[-1], *self.training.widths, outputs)
            self.stack = NetworkStack(sizes, self.config.is_regression)
        drawn = torch.stack([self.stack.draw(torch_stream(seed, "init", task)) for seed in self.seeds])
        found = drawn.unsqueeze(1).repeat(1, len(self.twins), 1)
        return self._headless(found)

    def _num_classes(self) -> int:
        assert self.base is not None
        return 2 if self.config.kind == "two_class" else self.base.num_classes

    def _headless(self, flat: Tensor) -> Tensor:
        if self.training.head == "zeroed":
            flat[..., self.stack.bounds[-1][0] :] = 0
        return flat

    def _change_(self, finished: Sequence[_Data], task: int) -> None:
        """What happens between two tasks."""
        apply_rules_(self.members, self.flat, self.optimizer, self._boundaries(finished, task), self.states)
        self._headless(self.flat)
        if self.training.task_optimizer == "renewed":
            self.optimizer.renew_(slice(None), slice(None))

    def _boundaries(self, seen: Sequence[_Data], task: int) -> list[Boundary]:
        """What rules may use of the data of some tasks, by seed."""
        return [
            Boundary(
                stack=self.stack,
                seed=seed,
                task=task,
                chunks=[data.parts[place] for data in seen],
                learning_rate=self.training.learning_rate,
            )
            for place, seed in enumerate(self.seeds)
        ]

    def _train(
        self,
        flat: Tensor,
        optimizer: OptimizerState,
        data: _Data,
        start: Tensor,
        boundaries: Sequence[Boundary],
        task: int,
    ) -> dict[str, Tensor]:
        """Train all networks on a task, in place; metrics of rules and twins."""
        stepper = self._stepper(start)
        probe = data.inputs[:, : self.training.probe], data.targets[:, : self.training.probe]
        before = self.stack.run(flat, probe[0]).outputs if self._is_measured(task) else None
        slope = torch.empty_like(flat)
        right, seen = torch.zeros(flat.shape[:2], dtype=torch.float64), 0
        networks = Networks(
            stack=self.stack, flat=flat, slope=slope, optimizer=optimizer, momentum=self.training.momentum
        )
        guests = guests_of(self.members, networks, boundaries, self.states)
        for inputs, targets in data.batches(self.training, self.seeds, task):
            outputs = self.stack.gradient_(flat, inputs, targets, slope)
            right += self.stack.score(outputs, targets, flat.shape[:2])
            seen += inputs.shape[1]
            for guest in guests.values():
                guest.look(inputs[guest.seed], targets[guest.seed])
            stepper.step_(flat, slope, optimizer, self.stack)
            for guest in guests.values():
                guest.follow()
        for (place, replica), guest in guests.items():
            self.states[place][replica] = guest.finish()
        kind = "error" if self.config.is_regression else "accuracy"
        found = {f"online_{kind}": right / seen, **self._at_end(flat, data, kind)}
        if before is None:
            return self._both(found)
        ours = self._measured(self.stack.run(flat, probe[0]), before, flat, start)
        return self._both(found | ours)

    def _is_measured(self, task: int) -> bool:
        at_an_end = task in (1, self.config.num_tasks)
        return self.training.probe > 0 and (at_an_end or task % self.training.probe_every == 0)

    def _stepper(self, start: Tensor) -> Stepper:
        forms = tuple(plan.form for plan in self.plans)
        strength = torch.tensor([plan.strength for plan in self.plans])
        return Stepper(
            optimizer=self.training.optimizer,
            learning_rate=[plan.learning_rate for plan in self.plans],
            weight_decay=[plan.weight_decay for plan in self.plans],
            momentum=self.training.momentum,
            pull=Pull(strength=strength, forms=forms, start=start) if any(forms) else None,
        )

    def _at_end(self, flat: Tensor, data: _Data, kind: str) -> dict[str, Tensor]:
        """Scores at the end of the task, held-out where it has such data."""
        if not data.tests:
            outputs = self.stack.run(flat, data.inputs).outputs
            return {
                f"train_{kind}": self.stack.score(outputs, data.targets, flat.shape[:2]) / data.inputs.shape[1]
            }
        found = []
        for place, test in enumerate(data.tests):  # their number may differ from seed to seed
            one = flat[place : place + 1]
            outputs = self.stack.run(one, test.inputs[None]).outputs
            found.append(self.stack.score(outputs, test.targets[None], one.shape[:2])[0] / len(test))
        return {f"test_{kind}": torch.stack(found)}

    def _measured(self, run: Pass, before: Tensor, flat: Tensor, start: Tensor) -> dict[str, Tensor]:
        """Units, ranks and weights at the end of the task."""
        shape = flat.shape[:2]
        widths = torch.tensor([float(hidden.shape[-1]) for hidden in run.hidden], dtype=torch.float64)

        def over_layers(values: list[Tensor]) -> Tensor:
            return torch.stack(values, dim=-1) @ (widths / widths.sum())

        values = singular_values(run.hidden[-1])
        moved = churn(before, run.outputs)
        found = {
            "dormant_share": over_layers([dormant_share(hidden, tau=DORMANT) for hidden in run.hidden]),
            "dead_share": over_layers([dead_share(hidden) for hidden in run.hidden]),
            "active_share": over_layers([active_share(hidden) for hidden in run.hidden]),
            "effective_rank": effective_rank(values),
            "srank": srank(values).double(),
            "stable_rank": stable_rank(values),
            "churn": moved.kl,
            "churn_absolute": moved.absolute,
        }
        return {
            **{name: value.view(shape) for name, value in found.items()},
            "weight_magnitude": flat.abs().double().mean(dim=2),
            "distance_to_start": (flat - start).double().norm(dim=2),
        }

    def _both(self, metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of each rule, and of its twin."""
        rules = len(self.members)
        found = {name: values[:, :rules] for name, values in metrics.items()}
        twins = {name: values[:, rules:][:, self.twin_of] for name, values in metrics.items() if name not in _OWN}
        return {**found, **{f"fresh_{name}": values for name, values in twins.items()}}


_OWN = ("churn", "churn_absolute", "distance_to_start")
