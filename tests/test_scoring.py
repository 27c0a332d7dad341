"""Scores: each target that counts weighs the same, whatever the task; nothing is guessed that could be else."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.evaluate import Scores, cross_entropy, evaluate
from dashtheory.losses import IGNORED
from dashtheory.measure import canary_gap, compare
from dashtheory.measure.network import gradient_norm
from dashtheory.protocol import Task, TrainConfig, run_stages, train
from dashtheory.protocol.training import Training
from dashtheory.rules import Learner, make_rule
from dashtheory.scoring import Scoring, guess_score
from dashtheory.stream import Examples, Stream


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(number: int = 30, length: int = 6, symbols: int = 5) -> Examples:
    """Sequences sorted by length, so that batches hold very different numbers of real targets."""
    stream = generator()
    inputs = torch.randint(symbols, (number, length), generator=stream)
    lengths = torch.randint(1, length + 1, (number,), generator=stream).sort().values
    targets = ((inputs + 1) % symbols).masked_fill(torch.arange(length) >= lengths[:, None], IGNORED)
    return Examples(inputs, targets)


def tagger(symbols: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(symbols, 8), nn.Linear(8, symbols))


def by_hand(model: nn.Module, data: Examples, ignore: int = IGNORED) -> Scores:
    """One real target after the other."""
    logits, losses, right = model.eval()(data.inputs).detach(), [], []
    for place in (data.targets != ignore).nonzero().tolist():
        row, label = logits[tuple(place)], int(data.targets[tuple(place)])
        losses.append(-float(row.log_softmax(0)[label]))
        right.append(int(row.argmax()) == label)
    return Scores(loss=sum(losses) / len(losses), accuracy=sum(right) / len(right))


def masked_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """A user's own loss, whose name says nothing."""
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=0)


@pytest.mark.parametrize("batch_size", [4, 7, 100])
def test_padding_counts_nowhere(batch_size: int) -> None:
    model, data = tagger(), padded()
    found, want = evaluate(model, data, batch_size=batch_size), by_hand(model, data)
    assert found.accuracy == want.accuracy
    assert found.loss == pytest.approx(want.loss, rel=1e-5)


@pytest.mark.parametrize(
    "loss_fn",
    [
        masked_loss,
        lambda logits, targets: masked_loss(logits, targets) * 2,
        functools.partial(functional.cross_entropy, ignore_index=0),
        nn.CrossEntropyLoss(ignore_index=0),
    ],
)
def test_a_class_that_the_loss_leaves_out_is_found_to_count_nowhere(
    loss_fn: Callable[[Tensor, Tensor], Tensor],
) -> None:
    torch.manual_seed(0)
    model, data = nn.Linear(3, 4), Examples(torch.randn(40, 3), torch.arange(40) % 4)
    assert evaluate(model, data, loss_fn=loss_fn, batch_size=7).accuracy == by_hand(model, data, 0).accuracy


def test_the_gradient_norm_weighs_batches_by_the_targets_that_count() -> None:
    model, data = tagger(), padded()
    loss = cross_entropy(model(data.inputs), data.targets)
    want = math.sqrt(sum(float(g.square().sum()) for g in torch.autograd.grad(loss, list(model.parameters()))))
    count = functools.partial(lambda output, target: ((output.argmax(-1) == target).sum(), (target >= 0).sum()))
    for batch_size in (4, 7, 100):
        assert gradient_norm(model, data, batch_size=batch_size) == pytest.approx(want, rel=1e-5)
        assert gradient_norm(model, data, score=count, batch_size=batch_size) == pytest.approx(want, rel=1e-5)
    table = compare(model, "warm", [data], batch_size=4).set_index("measure")
    assert table.loc["gradient_norm", "before"] == pytest.approx(want, rel=1e-5)
    assert table.loc["old_accuracy", "before"] == by_hand(model, data).accuracy


def test_a_batch_of_padding_alone_changes_nothing() -> None:
    model, data = tagger(), padded()
    none = Examples(data.inputs[:4], torch.full_like(data.targets[:4], IGNORED))
    both = Examples(torch.cat([none.inputs, data.inputs]), torch.cat([none.targets, data.targets]))
    assert evaluate(model, both, batch_size=4) == evaluate(model, data, batch_size=4)
    assert gradient_norm(model, both, batch_size=4) == gradient_norm(model, data, batch_size=4)
    with pytest.raises(ValueError, match="targets must hold one that counts, got none"):
        evaluate(model, none)


CASES: dict[str, tuple[str, list[int], Tensor, Callable[[Tensor, Tensor], tuple[float, int]]]] = {
    "one logit, (n, 1)": (
        *("binary", [6, 1], torch.tensor([0.0, 1, 1, 0, 1, 0])[:, None]),
        lambda o, t: (sum(float(a > 0) == float(b) for a, b in zip(o.flatten(), t.flatten(), strict=True)), 6),
    ),
    "one logit, (n,), with padding": (
        *("binary", [6], torch.tensor([0, 1, -100, 0, 1, -100])),
        lambda o, t: (sum(int(o[i] > 0) == int(t[i]) for i in (0, 1, 3, 4)), 4),
    ),
    "several labels": (
        *("labels", [6, 3], torch.arange(18).reshape(6, 3) % 2),
        lambda o, t: (sum(int(o[i, j] > 0) == int(t[i, j]) for i in range(6) for j in range(3)), 18),
    ),
    "probabilities": (
        *("soft", [6, 3], torch.eye(3).repeat(2, 1) * 0.7 + 0.1),
        lambda o, t: (sum(int(o[i].argmax()) == int(t[i].argmax()) for i in range(6)), 6),
    ),
    "segmentation": (
        *("dense", [6, 3, 2, 2], torch.arange(24).reshape(6, 2, 2) % 3),
        lambda o, t: (
            sum(int(o[i, :, j, k].argmax()) == int(t[i, j, k]) for i in range(6) for j in (0, 1) for k in (0, 1)),
            24,
        ),
    ),
    "classes of shape (n, 1)": (
        *("classes", [6, 3], torch.arange(6)[:, None] % 3),
        lambda o, t: (sum(int(o[i].argmax()) == int(t[i, 0]) for i in range(6)), 6),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_counts_as_one_would_by_hand(case: str) -> None:
    kind, shape, target, naive = CASES[case]
    output = torch.randn(shape, generator=generator(3))
    right, counted = Scoring(kind)(output, target)
    assert (int(right), int(counted)) == naive(output, target)


def mean_loss(output: Tensor, target: Tensor) -> Tensor:
    """Says nothing about its targets."""
    return (output.float().sum() - target.float().sum()).square()


@pytest.mark.parametrize(
    ("loss_fn", "shape", "target", "kind"),
    [
        (cross_entropy, [4, 3], torch.arange(4) % 3, "classes"),
        (functional.cross_entropy, [4, 3, 3], torch.zeros(4, 3, dtype=torch.int64), "dense"),
        (functional.cross_entropy, [4, 3], torch.full((4, 3), 1 / 3), "soft"),
        (functional.binary_cross_entropy_with_logits, [4, 1], torch.zeros(4, 1), "binary"),
        (nn.BCEWithLogitsLoss(), [4, 3], torch.zeros(4, 3), "labels"),
        (functional.mse_loss, [4, 1], torch.zeros(4, 1), "none"),
        (nn.HuberLoss(), [4], torch.zeros(4), "none"),
        (mean_loss, [4, 3], torch.arange(4) % 3, "classes"),
        (mean_loss, [4, 3, 5], torch.zeros(4, 5, dtype=torch.int64), "dense"),
        (mean_loss, [4, 1], torch.full((4, 1), 1.5), "none"),
        (mean_loss, [4, 3], torch.zeros(4, 3, dtype=torch.bool), "labels"),
    ],
)
def test_what_is_certain_is_guessed(
    loss_fn: Callable[[Tensor, Tensor], Tensor], shape: list[int], target: Tensor, kind: str
) -> None:
    assert guess_score(loss_fn, torch.randn(shape), target).kind == kind


@pytest.mark.parametrize(
    ("output", "target"),
    [
        (torch.zeros(4, 1), torch.zeros(4)),  # yes and no, or a regression
        (torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64)),
        (torch.zeros(4, 3), torch.zeros(4, 3)),
        (torch.zeros(4, 3, 3), torch.zeros(4, 3, dtype=torch.int64)),  # classes along the last axis or the second
        (torch.zeros(4, 3), torch.zeros(3, dtype=torch.int64)),
        ({"logits": torch.zeros(4, 3)}, torch.zeros(4, dtype=torch.int64)),
    ],
)
def test_what_is_not_certain_is_refused(output: object, target: Tensor) -> None:
    with pytest.raises(ValueError, match=r"score must be named.*Say score=, one of classes"):
        guess_score(mean_loss, output, target)


def test_a_target_that_is_no_class_is_refused_unless_it_is_left_out() -> None:
    with pytest.raises(ValueError, match=r"targets must be classes 0 to 2, or -100 .*, got 7"):
        guess_score(mean_loss, torch.zeros(4, 3), torch.tensor([0, 1, 2, 7]))
    void = functools.partial(functional.cross_entropy, ignore_index=255)
    targets = torch.tensor([0, 255, 2, 255])
    assert guess_score(void, torch.zeros(4, 3), targets).ignore == (255,)
    own = guess_score(lambda o, t: void(o, t), torch.zeros(4, 3), targets)
    assert set(own.ignore) == {IGNORED, 255}
    assert int(own.num_counted(targets)) == 2


def test_one_logit_with_the_loss_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="score must fit outputs and targets"):
        evaluate(nn.Linear(2, 1), Examples(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)))


def trained(model: nn.Module, data: Examples, config: TrainConfig, **options: object) -> Training:
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.5))
    return train(learner, data, config, generator(), **options)  # type: ignore[arg-type]


def test_training_on_padded_sequences_converges() -> None:
    config = TrainConfig(batch_size=7, threshold=1.0, max_epochs=200)
    done = trained(tagger(), padded(), config)
    assert (done.status, done.last_epoch.accuracy) == ("converged", 1.0)


def test_a_regression_has_no_accuracy_and_no_criterion_of_it() -> None:
    data = Examples(torch.randn(20, 3, generator=generator()), torch.randn(20, 2, generator=generator(1)))
    with pytest.raises(ValueError, match="criterion must be loss or epochs"):
        trained(nn.Linear(3, 2), data, TrainConfig(), loss_fn=functional.mse_loss)
    config = TrainConfig(criterion="epochs", max_epochs=2)
    task = Task(
        make_model=lambda stream: nn.Linear(3, 2),
        make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        loss_fn=functional.mse_loss,
    )
    (result,) = run_stages(Stream((data,), data), make_rule("warm"), task, config, seed=0)
    assert "test_accuracy" not in result.metrics()
    whole = functional.mse_loss(result.learner.model.eval()(data.inputs), data.targets)
    assert result.metrics()["test_loss"] == pytest.approx(float(whole.detach()))


def test_a_score_of_ones_own_is_asked_for_every_batch() -> None:
    def near(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        weight = (target > 0).double()
        return ((output - target).abs() < 1)[target > 0].sum(), weight.sum() / 2

    data = Examples(torch.randn(20, 3, generator=generator()), torch.randn(20, 1, generator=generator(1)))
    model = nn.Linear(3, 1)
    found = evaluate(model, data, loss_fn=functional.mse_loss, score=near, batch_size=6)
    right, counted = near(model(data.inputs), data.targets)
    assert found.accuracy == float(right) / float(counted)


@pytest.mark.parametrize("score", ["rank", 3, Scoring])
def test_a_score_that_is_none_is_refused(score: object) -> None:
    with pytest.raises(ValueError, match="score must be one of classes"):
        Task(make_model=tagger, make_optimizer=torch.optim.SGD, score=score)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "loss_fn", "classes"),
    [
        (nn.Linear(3, 1), lambda out, y: functional.binary_cross_entropy_with_logits(out[:, 0], y.float()), 2),
        (nn.Linear(3, 4), cross_entropy, 4),
    ],
)
def test_canaries_of_one_logit_have_two_classes(
    model: nn.Module, loss_fn: Callable[[Tensor, Tensor], Tensor], classes: int
) -> None:
    data = Examples(torch.randn(20, 3, generator=generator()), torch.arange(20) % 2)
    score = "binary" if classes == 2 else None
    found = canary_gap(model, data, torch.arange(20) < 5, loss_fn=loss_fn, score=score)
    assert found.num_classes == classes
    assert math.isfinite(found.memorized_share)
