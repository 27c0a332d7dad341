"""Two stages with skorch: DASH before the second fit of a warm-started net. Seconds, on data that it draws."""

from __future__ import annotations

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import nn

from dashtheory.adapters import SkorchRule, StageRule


def main() -> None:
    """Fit on the first chunk, shrink, and fit on both."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    chunks = [(draw.normal(size=(60, 8)).astype(np.float32), draw.integers(3, size=60)) for _ in range(2)]
    plan = StageRule(rule="dash:lam=0.3", chunks=[tuple(map(torch.from_numpy, chunk)) for chunk in chunks])
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)),
        criterion=nn.CrossEntropyLoss,
        max_epochs=3,
        warm_start=True,
        train_split=None,
        verbose=0,
        callbacks=[("rule", SkorchRule(plan, stage=1))],
    )
    for stage in (1, 2):
        net.set_params(callbacks__rule__stage=stage)
        inputs, labels = (np.concatenate(parts) for parts in zip(*chunks[:stage], strict=True))
        net.fit(inputs, labels)
        report = dict(net.callbacks_)["rule"].report_
        if report is not None:
            print(f"stage {stage}: mean factor {report.shrink.mean_scale:.2f}, {report.chunks}")


if __name__ == "__main__":
    main()
