"""Three experiences with Avalanche: DASH before all but the first. Seconds, on data that it draws."""

from __future__ import annotations

import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.utils.data import TensorDataset

from dashtheory.adapters import AvalancheRule, StageRule


class Labelled(TensorDataset):
    """Tensors with the labels where Avalanche looks for them."""

    def __init__(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        super().__init__(inputs, labels)
        self.targets = labels.tolist()


def main() -> None:
    """Train on one experience after the other."""
    torch.manual_seed(0)
    chunks = [(torch.randn(40, 8), torch.arange(40) % 3) for _ in range(3)]
    data = [as_classification_dataset(Labelled(*chunk)) for chunk in chunks]
    stream = benchmark_from_datasets(train=data).train_stream
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    rule = AvalancheRule(StageRule(rule="dash:lam=0.3", chunks=lambda: seen))
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=20,
        plugins=[rule],
        evaluator=EvaluationPlugin(loggers=[]),
    )
    for experience, chunk in zip(stream, chunks, strict=True):
        seen.append(chunk)
        strategy.train(experience)
        if rule.report is not None and rule.report.shrink is not None:
            print(
                f"stage {rule.report.stage}: mean factor {rule.report.shrink.mean_scale:.2f}, {rule.report.chunks}"
            )


if __name__ == "__main__":
    main()
