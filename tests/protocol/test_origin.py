"""What a run begins with is known to the bit, and what no checkpoint holds is found."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dashtheory.protocol import Checkpoints, Task, TrainConfig, run_resumable
from dashtheory.protocol.origin import origin_of, stream_hash
from dashtheory.protocol.stages import global_stream
from dashtheory.rules import Context, InPlace, make_rule
from dashtheory.stream import Examples, Stream

GENERATOR = torch.Generator().manual_seed(0)
INPUTS, TARGETS = torch.randn(30, 3, generator=GENERATOR), torch.arange(30) % 2
STREAM = Stream(
    tuple(Examples(INPUTS[start : start + 10], TARGETS[start : start + 10]) for start in (0, 10)),
    Examples(INPUTS[20:], TARGETS[20:]),
)


def task_of(make: Callable[[torch.Generator], nn.Module]) -> Task:
    return Task(make_model=make, make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))


def linear(generator: torch.Generator) -> nn.Module:
    """Drawn from torch's global stream, which is seeded for the call."""
    return nn.Linear(3, 2)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("which", ["inputs", "targets"])
def test_every_bit_of_a_stream_counts(place: int, which: str) -> None:
    parts = [Examples(one.inputs.clone(), one.targets.clone()) for one in (*STREAM.chunks, STREAM.test)]
    copy = Stream(tuple(parts[:2]), parts[2])
    assert stream_hash(copy) == stream_hash(STREAM)
    changed = getattr(parts[place], which)
    changed[-1] = 1 - changed[-1]
    assert stream_hash(copy) != stream_hash(STREAM)


def test_the_order_of_chunks_and_the_type_of_inputs_count() -> None:
    assert stream_hash(Stream(STREAM.chunks[::-1], STREAM.test)) != stream_hash(STREAM)
    halves = [Examples(one.inputs.half(), one.targets) for one in (*STREAM.chunks, STREAM.test)]
    assert stream_hash(Stream(tuple(halves[:2]), halves[2])) != stream_hash(STREAM)


def test_first_weights_are_those_of_the_seed_and_must_be_the_same_in_every_call() -> None:
    task = task_of(linear)
    assert origin_of(STREAM, task, 0) == origin_of(STREAM, task, 0)
    weights = [origin_of(STREAM, task, seed)["first weights"] for seed in (0, 1)]
    assert weights[0] != weights[1]
    calls: list[int] = []

    def counting(generator: torch.Generator) -> nn.Module:
        calls.append(0)
        return nn.Sequential(*(nn.Linear(3, 3) for _ in calls), nn.Linear(3, 2))

    with pytest.raises(ValueError, match="model must have the same first weights in every call"):
        origin_of(STREAM, task_of(counting), 0)


def test_all_global_streams_are_seeded_inside_and_put_back_after() -> None:
    def drawn() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002

    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    found = []
    for seed in (0, 0, 1):
        with global_stream(torch.Generator().manual_seed(seed), "cpu"):
            found.append(drawn())
    assert found[0] == found[1]
    assert all(one != other for one, other in zip(found[0], found[2], strict=True))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
    assert before[2] == random.getstate()


class Shake(InPlace):
    """A rule that draws from every global stream."""

    @torch.no_grad()
    def change_(self, model: nn.Module, context: Context) -> None:
        for parameter in model.parameters():
            parameter.mul_(random.random()).add_(float(np.random.rand()) * torch.randn(()))  # noqa: NPY002


class Counting(nn.Module):
    """Its outputs depend on how often it was called, which it keeps where `keep` says."""

    def __init__(self, keep: str) -> None:
        super().__init__()
        self.layer, self.keep = nn.Linear(3, 2), keep
        self.count: Any
        if keep == "number":
            self.count = 0
        elif keep == "list":
            self.count = [0]
        else:
            self.register_buffer("count", torch.zeros(()), persistent=keep == "state")

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (n, 3) to logits (n, 2)."""
        if self.keep == "list":
            self.count = [self.count[0] + 1]
        else:
            self.count = self.count + 1
        logits: Tensor = self.layer(inputs)
        count = self.count[0] if self.keep == "list" else self.count
        return logits * (1.0 + float(count) / 100)


def numbers(task: Task, rule: Any, folder: Path | None, told: list[str] | None = None, **options: Any) -> Any:
    kept = None if folder is None else Checkpoints(folder, {})
    config = TrainConfig(batch_size=5, max_epochs=2, criterion="epochs")
    said = None if told is None else told.append
    return run_resumable(STREAM, rule, task, config, seed=0, checkpoints=kept, on_problem=said, **options)


def test_a_rule_that_draws_globally_gives_the_same_bits_in_every_run() -> None:
    random.seed(1)
    first = numbers(task_of(linear), Shake(), None)
    random.seed(2)
    assert numbers(task_of(linear), Shake(), None) == first


@pytest.mark.parametrize("keep", ["state", "number", "list", "buffer"])
def test_a_run_that_is_stopped_gives_the_numbers_of_one_that_was_not_wherever_state_is_kept(
    keep: str, tmp_path: Path
) -> None:
    task, told = task_of(lambda generator: Counting(keep)), list[str]()
    whole = numbers(task, make_rule("warm"), None)
    numbers(task, make_rule("warm"), tmp_path, told, num_stages=1)
    outside = keep != "state"
    assert told == ["count: outside state_dict; if the run is stopped it begins anew"] * outside
    assert numbers(task, make_rule("warm"), tmp_path, told) == whole
    assert ("lacks count: not gone on with" in told[-1] or "lacks" in told[1]) if outside else not told
