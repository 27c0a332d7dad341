"""How outputs are scored against targets: which predictions are right, and which targets count.

    classes   one of C          logits (..., C)       integers (...) or (..., 1)     largest logit = target
    dense     one of C at each  logits (n, C, ...)    integers (n, ...)              largest logit = target
    soft      probabilities     logits (..., C)       real (..., C)                  largest logit = largest
    binary    yes or no         logits (n,), (n, 1)   0 and 1, (n,) or (n, 1)        logit > 0 = target
    labels    several labels    logits (n, L, ...)    0 and 1, the same shape        logit > 0 = target, for each
    none      regression        anything              anything                       accuracy is NaN

Targets that the loss leaves out (-100 is padding in torch) count nowhere: not in the loss, not in the accuracy.
A score is guessed from loss and shapes only where these leave one way; else it must be named, or given as a
function `score(output, target) -> (right, counted)`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor
from torch.nn import functional

from dashtheory._check import choice, fail
from dashtheory.losses import IGNORED, OF_CLASSES, class_weights, refuse_other_than_mean, told_of

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of (outputs, targets)."""
Score = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""`score(output, target)`: how many predictions are right, and how many targets count; scalar tensors."""

SCORINGS = ("classes", "dense", "soft", "binary", "labels", "none")
"""Ways to score, by name."""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats over all targets but those of -100.

    Args:
        logits: (..., classes).
        targets: int64 (...), the same leading axes.

    Raises:
        ValueError: if the model returned no tensor.
    """
    if not isinstance(logits, Tensor):
        _refuse_output(logits)
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


@dataclass(frozen=True)
class Scoring:
    """A way to score, by its name.

    Attributes:
        kind: a name of `SCORINGS`.
        ignore: targets that count nowhere, where targets are classes or yes and no.

    Raises:
        ValueError: if there is no such kind; when called, if the shapes are not those of the kind.
    """

    kind: str
    ignore: tuple[int, ...] = (IGNORED,)

    def __post_init__(self) -> None:
        choice("score", self.kind, SCORINGS)

    def __call__(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Right predictions and counted targets, scalar tensors on the device, so that nothing waits for it."""
        return self.num_right(output, target), self.num_counted(target)

    @property
    def counts_all(self) -> bool:
        """Whether each entry of the targets counts, whatever it is."""
        return not self.ignore and self.kind not in ("soft", "none")

    def num_right(self, output: Tensor, target: Tensor) -> Tensor:
        """Right predictions, a scalar tensor; NaN where nothing is right or wrong."""
        if self.kind == "classes" and not self.ignore:  # at every step of most trainings: nothing to look up
            *lead, classes = output.shape
            if classes > 1 and tuple(lead) == target.shape:
                return (output.argmax(dim=-1) == target).sum()
        if self.kind == "none":
            return torch.full((), torch.nan, device=target.device)
        if not isinstance(output, Tensor):
            _refuse(output, target, f"must fit the outputs ({self.kind} wants a tensor)")
        predicted, expected = self._compared(output, target)
        right = predicted == expected
        if any(value >= 0 for value in self.ignore):  # no class is negative
            right = right & self._counts(expected)
        return right.sum()

    def num_counted(self, target: Tensor) -> Tensor:
        """Targets that count, a scalar tensor: it hangs on the targets alone."""
        if self.kind == "soft":
            return torch.full((), target[..., 0].numel(), dtype=torch.int64, device=target.device)
        if self.kind == "none" or not self.ignore:
            return torch.full((), target.numel(), dtype=torch.int64, device=target.device)
        return self._counts(target).sum()

    def _counts(self, target: Tensor) -> Tensor:
        masks = [target != value for value in self.ignore]
        return functools.reduce(torch.logical_and, masks)

    def _compared(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and targets of one shape."""
        if self.kind in ("binary", "labels"):
            if not _of_one_shape(output, target) or (self.kind == "binary" and _without_one(output).ndim > 1):
                _refuse(output, target, f"must fit outputs and targets ({self.kind}: one logit a target)")
            return (output.reshape(target.shape) > 0).to(target.dtype), target
        if self.kind == "soft":
            if output.shape != target.shape:
                _refuse(output, target, "must fit outputs and targets (soft: a probability for each logit)")
            return output.argmax(dim=-1), target.argmax(dim=-1)
        axis = 1 if self.kind == "dense" else -1
        if not (_fits_dense if self.kind == "dense" else _fits_classes)(output, target):
            _refuse(output, target, f"must fit outputs and targets ({self.kind}: two logits or more for a class)")
        predicted = output.argmax(dim=axis)
        return predicted, target.reshape(predicted.shape)


ScoreChoice = str | Score | None
"""How a task says what is right: a name, a function, or None, where loss and shapes leave one way."""


def num_right(logits: Tensor, targets: Tensor) -> Tensor:
    """Number of targets (one of C) whose logit is the largest; a scalar tensor, so that no device waits."""
    return Scoring("classes").num_right(logits, targets)


def checked_score(score: object) -> ScoreChoice:
    """Return `score` if it names or is a way to score, or None."""
    if score is None or (callable(score) and not isinstance(score, type)):
        return score
    return choice("score", score, SCORINGS)


def make_score(score: ScoreChoice, loss_fn: LossFunction, targets: Tensor) -> Score:
    """The score that is chosen, or one that is guessed when it first sees an output.

    Args:
        score: a name, a function, or None to guess.
        loss_fn: that the outputs are trained with.
        targets: all that are going to be scored: what they hold helps to guess.

    Raises:
        ValueError: if the loss is none of a mean.
    """
    refuse_other_than_mean(loss_fn)
    if isinstance(score, str):
        return Scoring(score)
    if score is None and loss_fn is cross_entropy:
        return Scoring("classes", (IGNORED,) if bool((targets == IGNORED).any()) else ())
    if isinstance(score, Scoring):
        return score
    return _Checked(score) if score is not None else _Guess(loss_fn, targets)


def target_shares(
    score: ScoreChoice,
    loss_fn: LossFunction,
    model: Callable[[Tensor], Tensor],
    parts: Sequence[tuple[Tensor, Tensor]],
) -> list[float]:
    """Share of all counted targets that each part has: the weight of its mean loss in the mean over all.

    Args:
        score: what counts.
        loss_fn: to guess it by.
        model: gives outputs, in evaluation mode, where what counts hangs on them.
        parts: (inputs, targets).

    Returns:
        numbers that sum to 1; no model and no score is asked if there is one part.

    Raises:
        ValueError: if no target counts, or it is not certain what does.
    """
    if len(parts) == 1:
        return [1.0]
    weights = [class_weights(loss_fn, targets) for _, targets in parts]
    chosen = make_score(score, loss_fn, torch.cat([targets.flatten() for _, targets in parts]))
    with torch.no_grad():
        if isinstance(chosen, _Guess):
            inputs, targets = parts[0]
            chosen = chosen.known(model, inputs[:2], targets[:2])
        if all(weight is not None for weight in weights):
            counts = [float(weight) for weight in weights if weight is not None]
        elif isinstance(chosen, Scoring):
            counts = [float(chosen.num_counted(targets)) for _, targets in parts]
        else:
            counts = [float(chosen(model(inputs), targets)[1]) for inputs, targets in parts]
    if not sum(counts) > 0:
        fail("targets", "must hold one that counts", "none", "All are padding: leave such examples out.")
    return [count / sum(counts) for count in counts]


class _Checked:
    """A user's score, with one line for what it gives if that is not a pair."""

    def __init__(self, score: Score) -> None:
        self.score = score

    def __call__(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        found = self.score(output, target)
        if not isinstance(found, tuple | list) or len(found) != 2:
            fail("score", "must give (right, counted)", type(found).__name__, "Return both numbers of the batch.")
        right, counted = (_scalar(part, target.device) for part in found)
        return right, counted


def _scalar(value: object, device: torch.device) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.detach().reshape(())
    if not isinstance(value, bool | int | float):
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        fail("score", "must give numbers (right, counted)", got, "Sum both over the batch.")
    return torch.full((), value, device=device)


class _Guess:
    """Guesses once, at the first outputs."""

    def __init__(self, loss_fn: LossFunction, targets: Tensor) -> None:
        self.loss_fn, self.targets = loss_fn, targets
        self.found: Scoring | None = None

    def known(self, model: Callable[[Tensor], Tensor], inputs: Tensor, target: Tensor) -> Scoring:
        """The way to score."""
        return guess_score(self.loss_fn, model(inputs), target, self.targets)

    def __call__(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.found is None:
            self.found = guess_score(self.loss_fn, output, target, self.targets)
        return self.found(output, target)


def guess_score(loss_fn: LossFunction, output: object, target: Tensor, targets: Tensor | None = None) -> Scoring:
    """The one way to score that loss and shapes leave.

    Args:
        loss_fn: its own name tells the way if it is torch's; of any other, what it leaves out is tried on zeros.
        output: of a batch.
        target: of that batch.
        targets: all of them; `target` if None.

    Raises:
        ValueError: if there are several ways, or none.
    """
    targets = target if targets is None else targets
    if not isinstance(output, Tensor):
        _refuse(output, target)
    known = _of_known_loss(loss_fn, output, target)
    if known is not None:
        return known
    if target.dtype == torch.bool and _of_one_shape(output, target):
        return Scoring("binary" if _without_one(output).ndim == 1 else "labels")
    if target.is_floating_point():
        if not bool(((targets >= 0) & (targets <= 1)).all()):  # neither labels nor probabilities
            return Scoring("none")
        _refuse(output, target)
    ways = [kind for kind, fits in (("classes", _fits_classes), ("dense", _fits_dense)) if fits(output, target)]
    if len(ways) != 1 or target.dtype.is_complex:
        _refuse(output, target)
    return Scoring(ways[0], _left_out(loss_fn, ways[0], output, targets))


def _of_known_loss(loss_fn: LossFunction, output: Tensor, target: Tensor) -> Scoring | None:
    """What the package's and torch's own losses say; None for any other."""
    if loss_fn is cross_entropy:
        return Scoring("classes")
    name, options = told_of(loss_fn)
    if name in _REGRESSIONS:
        return Scoring("none")
    if name in ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"):
        return Scoring("binary" if _without_one(output).ndim == 1 else "labels", ())
    if name in OF_CLASSES:
        if target.is_floating_point():
            return Scoring("soft") if output.ndim == 2 else None
        return Scoring("dense" if output.ndim > 2 else "classes", (int(options.get("ignore_index", IGNORED)),))
    return None


def is_mean_loss(loss_fn: LossFunction) -> bool:
    """Whether a loss is known to be the plain mean over the targets that count."""
    name, options = told_of(loss_fn)
    known = name in _REGRESSIONS or name in _CLASSIFICATIONS
    plain = options.get("weight") is None and options.get("pos_weight") is None
    return loss_fn is cross_entropy or (known and plain and options.get("reduction", "mean") == "mean")


_CLASSIFICATIONS = frozenset(
    ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss", "cross_entropy", "CrossEntropyLoss")
)
_REGRESSIONS = frozenset(
    ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
)


def _refuse_output(output: object) -> NoReturn:
    """Say where the logits may be in what a model returned (a dictionary, a tuple, an object of a library)."""
    pairs = (
        output.items() if isinstance(output, Mapping) else enumerate(output) if isinstance(output, tuple) else ()
    )
    found = [f"output[{key!r}]" for key, value in pairs if isinstance(value, Tensor)]
    fix = f"Return {' or '.join(found)} in its forward." if found else "Return the logits in its forward."
    fail("model", "must return a tensor of logits", f"a {type(output).__name__}", fix)


def _left_out(loss_fn: LossFunction, kind: str, output: Tensor, targets: Tensor) -> tuple[int, ...]:
    """Targets that a loss leaves out, told by outputs of zero: what counts has a gradient there.

    Raises:
        ValueError: if a target is no class and is not left out.
    """
    values = targets.unique()
    classes = output.shape[1 if kind == "dense" else -1]
    found = _without_gradient(loss_fn, kind, output, values, classes)
    ignored = {IGNORED} if found is None else {int(value) for value in values[found]} | {IGNORED}
    strange = [value for value in values.tolist() if not 0 <= value < classes and value not in ignored]
    if strange:
        rule = f"must be classes 0 to {classes - 1}, or {IGNORED} where they do not count"
        fail("targets", rule, str(strange[0]), "Name others that do not count: score=Scoring('classes', (255,)).")
    return tuple(sorted(ignored))


def _without_gradient(
    loss_fn: LossFunction, kind: str, output: Tensor, values: Tensor, classes: int
) -> Tensor | None:
    """Mask over `values`: True where the loss of outputs of zero has no gradient; None if that cannot be told."""
    number, extra = len(values), output.ndim - 2
    if kind == "classes":
        shape, target = (*[1] * extra, number, classes), values.reshape(*[1] * extra, number)
    else:
        shape, target = (1, classes, number, *[1] * (extra - 1)), values.reshape(1, number, *[1] * (extra - 1))
    cuda = [output.device] if output.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.inference_mode(False), torch.enable_grad():
        zeros = torch.zeros(shape, device=output.device, requires_grad=True)
        try:
            (gradient,) = torch.autograd.grad(loss_fn(zeros, target.clone()), zeros)
        except Exception:  # whatever a user's loss raises on shapes that it does not know
            return None
    flat = gradient.movedim(1 if kind == "dense" else -1, 0).reshape(classes, number)
    without = (flat == 0).all(dim=0)
    return None if bool(without.all()) or not bool(flat.isfinite().all()) else without


def _without_one(values: Tensor) -> Tensor:
    """Without a last axis of length 1, if there is another."""
    return values.squeeze(-1) if values.ndim > 1 else values


def _of_one_shape(output: Tensor, target: Tensor) -> bool:
    return output.shape == target.shape or _without_one(output).shape == _without_one(target).shape


def _fits_classes(output: Tensor, target: Tensor) -> bool:
    lead = output.shape[:-1]
    return output.ndim > 1 and output.shape[-1] > 1 and target.shape in (lead, torch.Size([*lead, 1]))


def _fits_dense(output: Tensor, target: Tensor) -> bool:
    return (
        output.ndim > 2
        and output.shape[1] > 1
        and target.shape == torch.Size([output.shape[0], *output.shape[2:]])
    )


def _refuse(output: object, target: Tensor, rule: str = "must be named, for there is not one way") -> NoReturn:
    got = f"outputs {tuple(output.shape)}" if isinstance(output, Tensor) else f"outputs of {type(output).__name__}"
    fail(
        "score",
        rule,
        f"{got} and {str(target.dtype).removeprefix('torch.')} targets {tuple(target.shape)}",
        f"Say score=, one of {', '.join(SCORINGS)}, or a function (output, target) -> (right, counted).",
    )
