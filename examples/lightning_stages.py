"""Two stages with Lightning: DASH before the second. Runs in seconds, on data that it draws."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from dashtheory.adapters import LightningRule, StageRule


class Net(pl.LightningModule):
    """A small classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.layers(inputs)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Mean loss of a batch."""
        return functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> None:
    """Train on the first chunk, shrink, and train on both."""
    torch.manual_seed(0)
    chunks = [TensorDataset(torch.randn(60, 8), torch.randint(3, (60,))) for _ in range(2)]
    plan = StageRule(rule="dash:lam=0.3", loss_fn=functional.cross_entropy, chunks=chunks)
    net = Net()
    for stage in (1, 2):
        rule = LightningRule(plan, stage=stage)
        trainer = pl.Trainer(
            max_epochs=3,
            accelerator="cpu",
            callbacks=[rule],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(net, DataLoader(ConcatDataset(chunks[:stage]), batch_size=20, shuffle=True))
        if rule.report is not None and rule.report.shrink is not None:
            print(f"stage {stage}: mean factor {rule.report.shrink.mean_scale:.2f}, {rule.report.chunks}")


if __name__ == "__main__":
    main()
