"""A small run for the tests of resuming: `python -m tests.protocol.killed_run FOLDER RULE`, killed any time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dashtheory.protocol import Checkpoints, Measures, Task, TrainConfig, run_resumable
from dashtheory.protocol.part import Pause
from dashtheory.record import write_text
from dashtheory.rules import make_rule
from dashtheory.stream import Examples, Stream, cut


def network(generator: torch.Generator) -> nn.Module:
    """A convolution, batch norm, dropout and a linear layer, drawn from torch's global stream."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 3)
    )


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam, whose state must come back too."""
    return torch.optim.Adam(parameters, lr=0.02)


def stream() -> Stream:
    """Five chunks of 24 pictures of 4 x 4, with random labels."""
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(150, 1, 4, 4, generator=generator)
    targets = torch.randint(3, (150,), generator=generator)
    return Stream(cut(Examples(inputs[:120], targets[:120]), 5), Examples(inputs[120:], targets[120:]))


def run(
    folder: Path | None,
    rule: str,
    *,
    measures: Measures | None = None,
    pause: Pause | None = None,
    **more: Any,
) -> list[dict[str, float]]:
    """All stages, with checkpoints in `folder`, kept within stages when `pause` says so."""
    torch.set_num_threads(1)
    return run_resumable(
        stream(),
        make_rule(rule),
        Task(make_model=network, make_optimizer=optimizer),
        TrainConfig(batch_size=8, threshold=0.7, max_epochs=15),
        seed=3,
        checkpoints=None if folder is None else Checkpoints(folder, {"rule": rule}),
        measures=measures,
        pause=pause,
        **more,
    )


class Always(Pause):
    """A stage is kept after every epoch."""

    def is_due(self) -> bool:
        """True."""
        return True


if __name__ == "__main__":
    place = Path(sys.argv[1])
    finished = run(place, sys.argv[2])
    write_text(place / "finished.json", json.dumps(finished))
