"""What a rule does to a weight vector, by its angle to the negative gradient (simulations/shrink_geometry.py)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dashtheory._check import fail, integer
from dashtheory._memory import must_fit
from dashtheory.parallel import Report
from dashtheory.record import make_table, stage_rows
from dashtheory.rules import Context, Learner
from dashtheory.rules.spec import parse_rule
from dashtheory.seeds import torch_stream


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """Rules that act on unit vectors spread over all angles.

    Raises:
        ValueError: if a value is out of range.
    """

    rules: tuple[str, ...] = field(
        default=("warm", "sp", "dash", "dash:lam=0.05", "uniform", "threshold"),
        metadata={"help": "rules, with options as dash:lam=0.05"},
    )
    num_angles: int = field(default=181, metadata={"help": "vectors, from 0 to 180 degrees"})

    def __post_init__(self) -> None:
        integer("num_angles", self.num_angles, minimum=2, fix="It counts vectors.")
        must_fit("num_angles", self.num_angles, 1 << 10)  # a row of a table for each of two numbers
        if not self.rules or len(set(self.rules)) < len(self.rules):
            fail("rules", "must name at least one, each once", str(self.rules), "Drop doubles.")
        for spec in self.rules:
            parse_rule(spec)


def run_geometry(config: GeometryConfig, rule: str, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Apply one rule to the rows of a linear layer, every row at another angle to the same negative gradient.

    Args:
        config: the setting.
        rule: as in `GeometryConfig.rules`.
        seed: root seed.
        experiment: name.
        report: unused.

    Returns:
        pd.DataFrame: tidy table with a coordinate angle, of each row, in degrees: along and across, the new
        vector's parts along the old one and at a right angle to it; old ones have length 1.
    """
    angles = torch.linspace(0, 180, config.num_angles, dtype=torch.float64)
    before = torch.stack([angles.deg2rad().cos(), angles.deg2rad().sin()], dim=1).float()
    after = changed(rule, before, seed)
    along = (after * before).sum(dim=1)
    across = after[:, 1] * before[:, 0] - after[:, 0] * before[:, 1]
    return make_table(
        row
        for angle, one, other in zip(angles.tolist(), along.tolist(), across.tolist(), strict=True)
        for row in stage_rows(
            level="deep",
            experiment=experiment,
            rule=rule,
            seed=seed,
            stage=1,
            metrics={"along": one, "across": other},
            coordinates={"angle": float(np.round(angle, 4))},
        )
    )


def changed(rule: str, rows: Tensor, seed: int) -> Tensor:
    """The rows (n, 2) of a linear layer after a rule, when the negative gradient of each row is (1, 0)."""
    model = nn.Linear(2, len(rows), bias=False)
    with torch.no_grad():
        model.weight.copy_(rows)
    learner, _ = parse_rule(rule).apply(
        Learner(model, torch.optim.SGD(model.parameters(), lr=0.1)),
        Context(
            chunks=lambda: [(torch.tensor([[1.0, 0.0]]), torch.zeros(1))],
            loss_fn=lambda outputs, _: -outputs.sum(),
            fresh=lambda: fail(
                "rules", "must change the vector at hand", rule, "Leave out rules that start anew."
            ),
            generator=torch_stream(seed, "perturbation", 1),
        ),
    )
    weight: Tensor = learner.model.weight  # type: ignore[assignment]
    return weight.detach().clone()
