"""Pretraining on half of the data, and the phases of one training, against naive transcriptions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dashtheory.deep.phases import PhasesConfig, run_phases
from dashtheory.deep.pretraining import PretrainingConfig, run_pretraining
from dashtheory.record import split_settings
from dashtheory.seeds import torch_stream
from dashtheory.shrink import dash_

SMALL: dict[str, Any] = {
    "data": "digits",
    "model": "mlp",
    "model_options": ("widths=16",),
    "test_size": 80,
    "batch_size": 16,
    "learning_rate": 0.1,
}
PRETRAINING = PretrainingConfig(
    **SMALL, chunk_size=60, epochs=(0, 1, 3), max_epochs=4, threshold=0.9, rules=("warm", "dash"), label_noise=0.0
)


def silent(share: float, text: str) -> None:
    """No progress."""


def epochs_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: torch.Tensor,
    y: torch.Tensor,
    stream: torch.Generator,
    most: int,
    enough: float,
) -> int:
    """Train naively; the number of steps."""
    steps = 0
    for _ in range(most):
        right = 0
        for batch in torch.randperm(len(x), generator=stream).split(16):
            logits = model(x[batch])
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, y[batch]).backward()
            optimizer.step()
            right += int((logits.argmax(1) == y[batch]).sum())
            steps += 1
        if right / len(x) >= enough:
            break
    return steps


def naive(epochs: int, rule: str) -> dict[str, float]:
    """Pretrain for `epochs` on the first chunk, apply the rule, train on both."""
    source = PRETRAINING.source(0)
    task = PRETRAINING.task(source)
    first, second = source.stream.chunks
    learner = task.fresh(torch_stream(0, "init", 1))
    model, optimizer = learner.model, learner.optimizer
    model.train()
    epochs_of(model, optimizer, first.inputs, first.targets, torch_stream(0, "order", 1), epochs, 2.0)
    if rule == "dash" and epochs:
        pairs = [(chunk.inputs, chunk.targets) for chunk in (first, second)]
        dash_(model, pairs, nn.functional.cross_entropy, alpha=0.3, lam=0.3)
    x, y = torch.cat([first.inputs, second.inputs]), torch.cat([first.targets, second.targets])
    steps = epochs_of(model, optimizer, x, y, torch_stream(0, "order", 2), 4, 0.9)
    model.eval()
    test = source.stream.test
    right = (model(test.inputs).argmax(1) == test.targets).double().mean()
    return {"test_accuracy": float(right), "steps": steps}


def test_pretraining_is_what_it_says() -> None:
    table = split_settings(run_pretraining(PRETRAINING, 0, "x", silent))
    wide = table.pivot_table(index=["epochs", "rule"], columns="metric", values="value")
    assert len(wide) == 6
    for epochs in (0, 1, 3):
        for rule in ("warm", "dash"):
            for name, value in naive(epochs, rule).items():
                assert wide[name][epochs, rule] == value, (epochs, rule, name)
    start = wide.loc[[0]]
    assert (start.fillna(0).nunique() == 1).all()  # both rules have the network that was not pretrained
    assert wide["test_accuracy"].nunique() > 2
    loss = wide["half_loss"].xs("warm", level="rule")
    assert loss.isna().tolist() == [True, False, False]
    assert loss[3] < loss[1]


def test_the_order_of_rules_and_other_lengths_do_not_matter() -> None:
    import dataclasses

    whole = split_settings(run_pretraining(PRETRAINING, 1, "x", silent))
    other = dataclasses.replace(PRETRAINING, epochs=(0, 3), rules=("dash", "warm"))
    part = split_settings(run_pretraining(other, 1, "x", silent))
    both = part.merge(whole, on=["epochs", "rule", "metric"])
    last = both[both["metric"] != "half_loss"]
    assert len(both) == len(part)
    assert last["value_x"].tolist() == last["value_y"].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": (1, 2)}, "epochs must rise from 0"),
        ({"epochs": (0, 2, 2)}, "epochs must rise from 0"),
        ({"epochs": (0, -1)}, "epochs must be an integer >= 0"),
        ({"num_chunks": 3}, "num_chunks must be 2"),
        ({"rules": ("cold:weight_decay=0.1",)}, "rule must have options of the rule alone"),
    ],
)
def test_bad_pretraining_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainingConfig(**options)  # type: ignore[arg-type]


PHASES = PhasesConfig(**SMALL, num_chunks=2, chunk_size=60, max_epochs=3, label_noise=0.25)


def test_phases_look_at_right_and_wrong_labels_apart() -> None:
    found = split_settings(run_phases(PHASES, 0, "x", silent))
    wide = found.pivot_table(index="epoch", columns="metric", values="value")
    assert list(wide.index) == [0, 1, 2, 3]
    source, clean = PHASES.source(0), PHASES.source(0, label_noise=0.0)
    x = torch.cat([chunk.inputs for chunk in source.stream.chunks])
    given = torch.cat([chunk.targets for chunk in source.stream.chunks])
    true = torch.cat([chunk.targets for chunk in clean.stream.chunks])
    wrong = given != true
    assert int(wrong.sum()) == 30
    learner = PHASES.task(source).fresh(torch_stream(0, "init", 1))
    order = torch_stream(0, "order", 1)
    for epoch in range(4):
        if epoch:
            learner.model.train()
            epochs_of(learner.model, learner.optimizer, x, given, order, 1, 2.0)
        model = copy.deepcopy(learner.model)
        norm = next(part for part in model.modules() if isinstance(part, nn.BatchNorm1d))
        norm.reset_running_stats()
        norm.momentum = None
        model.train()
        with torch.no_grad():
            model(x)
        model.eval()
        logits = model(x)
        right = logits.argmax(1)
        row = wide.loc[epoch]
        assert row["right_accuracy"] == pytest.approx(float((right == given)[~wrong].double().mean()))
        assert row["wrong_accuracy"] == pytest.approx(float((right == given)[wrong].double().mean()))
        assert row["true_class"] == pytest.approx(float((right == true)[wrong].double().mean()))
        loss = nn.functional.cross_entropy(logits[wrong], given[wrong])
        assert row["wrong_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
        assert row["wrong_alignment"] == pytest.approx(cosine(model, loss), abs=1e-6)


def cosine(model: nn.Module, loss: torch.Tensor) -> float:
    """Mean cosine of rows and bias vectors of linear layers with descent, weighted by their entries."""
    total, count = 0.0, 0
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        rows = [(parameter, gradient)] if parameter.ndim == 1 else zip(parameter, gradient, strict=True)
        for w, g in rows:
            total += float(nn.functional.cosine_similarity(w.detach(), -g, dim=0, eps=1e-30)) * w.numel()
            count += w.numel()
    return total / count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_noise": 0.0}, r"label_noise must be in \(0, 1\)"),
        ({"rules": ("warm",)}, "rules must be cold, got warm"),
        ({"max_epochs": 0}, "max_epochs must be an integer >= 1"),
    ],
)
def test_bad_phases_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhasesConfig(data="digits", **options)  # type: ignore[arg-type]
