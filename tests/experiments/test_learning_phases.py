"""Pretraining on half of the data, and the phases of one training, against naive transcriptions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dashtheory.deep.task import make_source, make_task
from dashtheory.experiments.learning_phases import PhasesConfig, run_phases
from dashtheory.experiments.pretraining_epochs import PretrainingConfig, run_pretraining
from dashtheory.rules import dash_, shrink_and_perturb_
from dashtheory.seeds import torch_stream
from dashtheory.stream import Examples

SMALL: dict[str, Any] = {
    "data": "digits",
    "model": "mlp",
    "model_options": ("widths=16",),
    "num_test": 80,
    "batch_size": 16,
    "learning_rate": 0.1,
}
RULES = ("warm", "dash", "sp", "cold", "l2_init")
PRETRAINING = PretrainingConfig.of(
    **SMALL, chunk_size=60, epochs=(0, 1, 3), max_epochs=4, threshold=0.9, rules=RULES, label_noise=0.0
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
    penalty: Callable[[], torch.Tensor] | None = None,
) -> dict[str, float]:
    """Train naively; steps, and means over the last epoch."""
    steps = 0
    right, losses = 0, 0.0
    for _ in range(most):
        right, losses = 0, 0.0
        for batch in torch.randperm(len(x), generator=stream).split(16):
            logits = model(x[batch])
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(logits, y[batch])
            (loss if penalty is None else loss + penalty()).backward()
            optimizer.step()
            losses += loss.item() * len(batch)
            right += int((logits.argmax(1) == y[batch]).sum())
            steps += 1
        if right / len(x) >= enough:
            break
    return {"steps": steps, "accuracy": right / len(x), "loss": losses / len(x)}


def scores(model: nn.Module, examples: Examples) -> tuple[float, float]:
    """Accuracy and loss in evaluation mode."""
    model.eval()
    with torch.no_grad():
        logits = model(examples.inputs)
    model.train()
    right = (logits.argmax(1) == examples.targets).double().mean()
    return float(right), float(nn.functional.cross_entropy(logits, examples.targets))


def dropping(shape: tuple[int, ...], classes: int, generator: torch.Generator) -> nn.Module:
    """A network whose training draws."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, classes))


DROPPING: dict[str, Any] = {"model": "python:tests.experiments.test_learning_phases:dropping", "model_options": ()}


@contextmanager
def layers(*indices: int) -> Iterator[None]:
    """Seed the stream that dropout draws from."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=torch_stream(0, "layers", *indices))))
        yield


def naive(epochs: int, rule: str, config: PretrainingConfig) -> dict[str, float]:
    """Pretrain for `epochs` on the first chunk, apply the rule, train on both."""
    source = make_source(config, 0)
    task = make_task(config, source)
    first, second = source.stream.chunks
    learner = task.fresh(torch_stream(0, "init", 1))
    model, optimizer = learner.model, learner.optimizer
    model.train()
    order, beginning = torch_stream(0, "order", 1), copy.deepcopy(model)
    with layers(1):
        half = epochs_of(model, optimizer, first.inputs, first.targets, order, epochs, 2.0)
    found = {"half_test_accuracy": scores(model, source.stream.test)[0]}
    if epochs:
        found |= {"half_accuracy": half["accuracy"], "half_loss": half["loss"]}
    penalty = None
    if rule == "dash" and epochs:
        pairs = [(chunk.inputs, chunk.targets) for chunk in (first, second)]
        dash_(model, pairs, nn.functional.cross_entropy, alpha=0.3, lam=0.3)
    elif rule == "sp" and epochs:
        shrink_and_perturb_(model, generator=torch_stream(0, "perturbation", 2))
    elif rule == "cold" and epochs:
        learner = task.fresh(torch_stream(0, "init", 2))
        model, optimizer = learner.model, learner.optimizer
    elif rule == "l2_init" and epochs:
        penalty = distance(model, beginning)
    x, y = torch.cat([first.inputs, second.inputs]), torch.cat([first.targets, second.targets])
    enough = config.training.threshold
    with layers(2):
        done = epochs_of(model, optimizer, x, y, torch_stream(0, "order", 2), 4, enough, penalty)
    accuracy, loss = scores(model, source.stream.test)
    found |= {"steps": done["steps"], "converged": float(done["accuracy"] >= enough)}
    return {**found, "test_accuracy": accuracy, "test_loss": loss}


def distance(model: nn.Module, beginning: nn.Module) -> Callable[[], torch.Tensor]:
    """L2 Init of DASH's authors: a hundredth of the squared sum of the distances of the linear layers."""
    pairs = [
        (layer, start)
        for layer, start in zip(model.modules(), beginning.modules(), strict=True)
        if isinstance(layer, nn.Linear)
    ]

    def one(layer: nn.Module, start: nn.Module) -> torch.Tensor:
        parts = zip(layer.parameters(), start.parameters(), strict=True)
        norms = [torch.linalg.vector_norm(w - w_0.detach()) for w, w_0 in parts]
        whole: torch.Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return whole

    return lambda: 0.01 * torch.stack([one(*pair) for pair in pairs]).sum().square()


def test_pretraining_is_what_it_says() -> None:
    table = run_pretraining(PRETRAINING, 0, "x", silent)
    assert set(table["stage"]) == {2}
    wide = table.pivot_table(index=["epochs", "rule"], columns="metric", values="value")
    assert len(wide) == 15
    for epochs in (0, 1, 3):
        for rule in RULES:
            expected = naive(epochs, rule, PRETRAINING)
            assert set(wide.loc[[(epochs, rule)]].dropna(axis=1)) == set(expected)
            for name, value in expected.items():
                # Means of float32 losses are taken in another order: 1e-6 is a few of their units.
                assert wide[name][epochs, rule] == pytest.approx(value, rel=1e-6), (epochs, rule, name)
    assert set(wide["converged"]) == {0.0, 1.0}, "the case should show both ways to end"
    start = wide.loc[[0]]
    assert (start.fillna(0).nunique() == 1).all()  # all rules have the network that was not pretrained
    assert wide["test_accuracy"].nunique() > 2
    loss = wide["half_loss"].xs("warm", level="rule")
    assert loss.isna().tolist() == [True, False, False]
    assert loss[3] < loss[1]


def test_pretraining_does_not_end_at_the_threshold_and_dropout_has_a_stream_of_its_own() -> None:
    changes: dict[str, Any] = {**DROPPING, "epochs": (0, 1, 3), "threshold": 0.15, "rules": ("warm",)}
    config = PRETRAINING.with_values(**changes)
    torch.manual_seed(5)  # must not matter
    table = run_pretraining(config, 0, "x", silent)
    for epochs in (0, 3):
        rows = table[table["epochs"] == epochs].set_index("metric")["value"]
        # Means of float32 losses are taken in another order: 1e-6 is a few of their units.
        assert dict(rows) == pytest.approx(naive(epochs, "warm", config), rel=1e-6)
    assert rows["steps"] == 8  # 120 pictures in batches of 16: one epoch was enough, pretraining had three


def test_the_order_of_rules_and_other_lengths_do_not_matter() -> None:
    whole = run_pretraining(PRETRAINING, 1, "x", silent)
    other = PRETRAINING.with_values(epochs=(0, 3), rules=RULES[::-1])
    part = run_pretraining(other, 1, "x", silent)
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
        PretrainingConfig.of(**options)


# The threshold is met after every epoch: the training does not end there.
PHASES = PhasesConfig.of(**SMALL, num_chunks=2, chunk_size=60, max_epochs=3, label_noise=0.25, threshold=0.01)


def test_dropout_in_phases_has_a_stream_of_its_own() -> None:
    config = PHASES.with_values(**DROPPING)
    torch.manual_seed(5)  # must not matter
    table = run_phases(config, 0, "x", silent)
    source = make_source(config, 0)
    learner, data = make_task(config, source).fresh(torch_stream(0, "init", 1)), source.stream.chunks
    x, y = torch.cat([chunk.inputs for chunk in data]), torch.cat([chunk.targets for chunk in data])
    learner.model.train()
    with layers(1):
        epochs_of(learner.model, learner.optimizer, x, y, torch_stream(0, "order", 1), 3, 2.0)
    wrong = torch.cat(list(source.noisy))
    last = table[table["epoch"] == 3].set_index("metric")["value"]
    for name, part in (("right", ~wrong), ("wrong", wrong)):
        found = last[f"{name}_accuracy"], last[f"{name}_loss"]
        assert found == pytest.approx(scores(learner.model, Examples(x[part], y[part])), rel=1e-5)  # float32


def test_phases_look_at_right_and_wrong_labels_apart() -> None:
    found = run_phases(PHASES, 0, "x", silent)
    wide = found.pivot_table(index="epoch", columns="metric", values="value")
    assert list(wide.index) == [0, 1, 2, 3]
    source, clean = make_source(PHASES, 0), make_source(PHASES, 0, label_noise=0.0)
    x = torch.cat([chunk.inputs for chunk in source.stream.chunks])
    given = torch.cat([chunk.targets for chunk in source.stream.chunks])
    true = torch.cat([chunk.targets for chunk in clean.stream.chunks])
    wrong = given != true
    assert int(wrong.sum()) == 30
    learner = make_task(PHASES, source).fresh(torch_stream(0, "init", 1))
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
        assert row["test_accuracy"] == pytest.approx(scores(model, source.stream.test)[0])
        for kind, part in (("right_", ~wrong), ("wrong_", wrong), ("", wrong | ~wrong)):
            loss = nn.functional.cross_entropy(logits[part], given[part])
            assert row[f"{kind}alignment"] == pytest.approx(cosine(model, loss), abs=1e-6), kind
            if kind:
                assert row[f"{kind}loss"] == pytest.approx(float(loss.detach()), rel=1e-5), kind


def cosine(model: nn.Module, loss: torch.Tensor) -> float:
    """Mean cosine of rows and bias vectors of linear layers with descent, weighted by their entries."""
    total, count = 0.0, 0
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True
    ):
        rows = [(parameter, gradient)] if parameter.ndim == 1 else zip(parameter, gradient, strict=True)
        for w, g in rows:
            total += float(nn.functional.cosine_similarity(w.detach(), -g, dim=0, eps=1e-30)) * w.numel()
            count += w.numel()
    return total / count


def test_data_whose_wrong_labels_are_unknown_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "mine.py"
    place.write_text(
        "import torch\n"
        "from dashtheory.deep.data import stream_of_tensors\n"
        "def data(generator):\n"
        "    x, y = torch.zeros(8, 2), torch.arange(8) % 2\n"
        "    return stream_of_tensors(x, y, x, y, 2)\n"
    )
    with pytest.raises(ValueError, match="label_noise and balanced must be off for your own stream"):
        PhasesConfig.of(data=f"python:{place}:data", model="mlp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_noise": 0.0}, r"label_noise must be in \(0, 1\)"),
        ({"label_noise": 1.0}, r"label_noise must be in \(0, 1\)"),
        ({"rules": ("warm",)}, "rules must be cold, got warm"),
        ({"max_epochs": 0}, "max_epochs must be an integer >= 1"),
    ],
)
def test_bad_phases_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhasesConfig.of(data="digits", **options)
