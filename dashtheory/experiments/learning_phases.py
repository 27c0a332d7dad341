"""The phases of one training: first what many samples share is learned, then each wrong label is memorised.

A network is trained for a fixed number of epochs on pictures of which a share has wrong labels. A sample with a
wrong label can be fitted by memory alone, so its label shows when memorising happens; and whether the network
still gives it its TRUE class shows what it knows of the features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import nn

from dashtheory._check import fail
from dashtheory.batchnorm import has_statistics, reestimated
from dashtheory.deep.presets import ComparisonConfig
from dashtheory.deep.source import Source
from dashtheory.deep.task import make_source, make_task
from dashtheory.evaluate import Scores, evaluate
from dashtheory.measure.network import alignment
from dashtheory.parallel import Report
from dashtheory.protocol import find_device, train_stage
from dashtheory.record import make_table, stage_rows
from dashtheory.seeds import torch_stream, torch_streams
from dashtheory.stream import Examples, join


@dataclass(frozen=True, kw_only=True)
class PhasesConfig(ComparisonConfig):
    """One training from scratch on all chunks together.

    Raises:
        ValueError: as `ComparisonConfig`, or if there is no wrong label or no epoch.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        **ComparisonConfig.defaults,
        "rules": ("cold",),
        "label_noise": 0.2,
        "max_epochs": 40,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rules != ("cold",):
            fail("rules", "must be cold", ",".join(self.rules), "There is one training, from scratch.")
        if not 0 < self.data.label_noise < 1:
            fail(
                "label_noise", "must be in (0, 1)", str(self.data.label_noise), "Both kinds of labels are needed."
            )


def run_phases(config: PhasesConfig, seed: int, experiment: str, report: Report) -> pd.DataFrame:
    """Train once, and look at both kinds of samples before the first and after every epoch.

    Batch norm is read with statistics re-estimated on the training data.

    Args:
        config: the setting.
        seed: root seed.
        experiment: name for the table.
        report: told of progress.

    Returns:
        pd.DataFrame: tidy table with a coordinate epoch, from 0: accuracy and loss of the right and the wrong
        labels (right_accuracy, wrong_accuracy, right_loss, wrong_loss), how often a sample with a wrong label gets
        its true class (true_class), test_accuracy, and the mean cosine of groups of weights with the negative
        gradient of all, the right and the wrong labels' loss (alignment, right_alignment, wrong_alignment).

    Raises:
        ValueError: as the protocol, or if the data do not say which labels are wrong.
    """
    device = find_device(config.device.name)
    source = make_source(config, seed)
    found_parts = _parts(source, make_source(config, seed, label_noise=0.0))
    parts = {name: part.to(device) for name, part in found_parts.items()}
    task = make_task(config, source, device=device)
    learner = task.fresh(torch_stream(seed, "init", 1))
    found = [_measured(learner.model, parts)]

    def on_epoch(epoch: int, scores: Scores) -> None:
        found.append(_measured(learner.model, parts))
        report(epoch / config.training.max_epochs, f"epoch {epoch}, accuracy {100 * scores.accuracy:.1f}%")

    fixed = dataclasses.replace(config.training, criterion="loss", threshold=0.0)
    train_stage(learner, parts["all"], task, fixed, torch_streams(seed, 1), on_epoch=on_epoch)
    return make_table(
        row
        for epoch, metrics in enumerate(found)
        for row in stage_rows(
            level="deep",
            experiment=experiment,
            rule="cold",
            seed=seed,
            stage=1,
            metrics=metrics,
            coordinates={"epoch": epoch},
        )
    )


def _parts(source: Source, clean: Source) -> Mapping[str, Examples]:
    """All training examples, those with right and with wrong labels, the latter with their true ones; and test."""
    together, true = join(source.stream.chunks), join(clean.stream.chunks)
    wrong = torch.cat(list(source.noisy))
    return {
        "all": together,
        "right": together.take((~wrong).nonzero()[:, 0]),
        "wrong": together.take(wrong.nonzero()[:, 0]),
        "true": true.take(wrong.nonzero()[:, 0]),
        "test": source.stream.test,
    }


def _measured(model: nn.Module, parts: Mapping[str, Examples]) -> dict[str, float]:
    """Scores and alignment of every part, of a copy of the model."""
    again = reestimated(model, parts["all"].inputs) if has_statistics(model) else model
    right, wrong = evaluate(again, parts["right"]), evaluate(again, parts["wrong"])
    return {
        "right_accuracy": right.accuracy,
        "wrong_accuracy": wrong.accuracy,
        "true_class": evaluate(again, parts["true"]).accuracy,
        "test_accuracy": evaluate(again, parts["test"]).accuracy,
        "right_loss": right.loss,
        "wrong_loss": wrong.loss,
        "alignment": alignment(again, parts["all"]),
        "right_alignment": alignment(again, parts["right"]),
        "wrong_alignment": alignment(again, parts["wrong"]),
    }
