"""Training of a stack: every replica of every seed at once, each until its own threshold.

Heavy-ball gradient descent on the linear map needs no weights. With samples x_i and P = d loss / d z the steps

    V <- mu V + P X + decay W,    W <- W - eta V                                                     (1)

never leave W_0, V_0 and the samples, so with coefficients in place of weights

    W = c W_0 + e V_0 - eta A X,    V = s W_0 + g V_0 + U X                                            (2)
    U <- mu U + P - eta decay A,    A <- A + U,        z = c z_0 + e z_V - eta A (X X^T)

with numbers c, e, s, g that start at 1, 0, 0, 1 and follow (1). One product with the Gram matrix X X^T (n x n)
takes the place of two with X (n x I): fewer operations whenever n < 2 I, and the coefficients of the samples, what
a network has memorised, come out without a fit ("gram"). Adam is not linear in the gradient and steps on weights
("weights"); so does gradient descent on more samples. Both are the same training up to rounding.

Replicas of a seed see the same batches. One that has reached its threshold is put aside as it is, and the stack is
packed anew, so that nothing is computed for it any more. Its result is that of the replica trained alone up to the
rounding of matrix products, whose blocks depend on how many rows they have: about 1e-15 (float64) or 1e-7
(float32) relative per step, which training amplifies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dashtheory._check import choice, fail
from dashtheory.errors import Diverged
from dashtheory.twolayer._steps import Hyperparameters, OnCoefficients, OnWeights, Start, Steps, WithAdam
from dashtheory.twolayer.stack import Loss, Params, Samples, Stack, loss_of

METHODS = ("auto", "gram", "weights")
"""Ways to step: on coefficients of samples, on weights, or whichever takes fewer operations."""

_BLOCK = 2**17  # numbers per tensor (S, R, rows, n) that a CPU works on at a time: about what its cache holds


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """State of an optimizer.

    Attributes:
        tensors: one set shaped as the parameters for heavy ball (velocity), two for Adam (averages of gradients
            and of their squares).
        steps: float64 (S, R), steps taken so far.
    """

    tensors: tuple[Params, ...]
    steps: Tensor

    @classmethod
    def zero(cls, params: Mapping[str, Tensor], optimizer: str) -> OptimizerState:
        """Of an optimizer that has not stepped."""
        number = 2 if optimizer == "adam" else 1
        tensors = tuple({name: torch.zeros_like(value) for name, value in params.items()} for _ in range(number))
        first = next(iter(params.values()))
        return cls(tensors, torch.zeros(first.shape[:2], dtype=torch.float64, device=first.device))


@dataclass(frozen=True, eq=False)
class Affine:
    """What a stage did to what was there at its start, by equation (2): numbers (S, R), float64."""

    c: Tensor
    e: Tensor
    s: Tensor
    g: Tensor

    def moved(self, position: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """(c position + e velocity, s position + g velocity), for tensors (S, R, ...)."""
        shape = (*self.c.shape, *[1] * (position.ndim - 2))
        c, e, s, g = (value.to(position).view(shape) for value in (self.c, self.e, self.s, self.g))
        return c * position + e * velocity, s * position + g * velocity


@dataclass(frozen=True, kw_only=True, eq=False)
class StackTraining:
    """What a stage took and left; tensors (S, R) unless said.

    Attributes:
        params: at the end.
        moments: at the end.
        converged: bool.
        epochs: int64.
        steps: int64.
        loss: float64, means over the last epoch, each batch scored before its step.
        accuracy: float64, means over the last epoch, each batch scored before its step.
        affine: what became of the start.
        coefficients: -eta A and U of equation (2), each (S, R, rows, n); None if steps were on weights.
    """

    params: Params
    moments: OptimizerState
    converged: Tensor
    epochs: Tensor
    steps: Tensor
    loss: Tensor
    accuracy: Tensor
    affine: Affine
    coefficients: tuple[Tensor, Tensor] | None


def train_stack(
    stack: Stack,
    params: Params,
    moments: OptimizerState,
    samples: Samples,
    hyperparameters: Hyperparameters,
    *,
    optimizer: str = "gd",
    batch_size: int = 0,
    max_epochs: int = 800,
    generators: Sequence[torch.Generator] = (),
    method: str = "auto",
) -> StackTraining:
    """Train every replica until the mean loss over an epoch is at most its threshold, or to the epoch cap.

    Args:
        stack: the kind of network.
        params: (S, R, ...), unchanged.
        moments: state of the optimizer, unchanged.
        samples: (S, n, ...).
        hyperparameters: one number per replica.
        optimizer: "gd" or "adam".
        batch_size: samples per step; 0, or more than there are: all. A smaller last batch is kept.
        max_epochs: cap.
        generators: CPU streams, one per seed, for the order of samples, a permutation an epoch; needed for
            mini-batches alone.
        method: of `METHODS`; Adam can only step on weights.

    Returns:
        `StackTraining`.

    Raises:
        dashtheory.errors.Diverged: if the loss of a replica becomes NaN or infinite.
        ValueError: if adam is to step on coefficients.
    """
    kind = _kind(choice("method", method, METHODS), optimizer, samples)
    num_seeds, num_samples = samples.labels.shape
    size = num_seeds
    rows = stack.split(params)[0].shape[1:3].numel()
    if samples.x.device.type == "cpu":
        size = max(1, _BLOCK // (rows * num_samples))
    parts = []
    for first in range(0, num_seeds, size):
        chosen = slice(first, first + size)
        start = Start(
            stack=stack,
            params={name: value[chosen] for name, value in params.items()},
            moments=tuple({name: value[chosen] for name, value in one.items()} for one in moments.tensors),
            steps=moments.steps[chosen],
            samples=Samples(samples.x[chosen], samples.features[chosen], samples.labels[chosen]),
            hyperparameters=hyperparameters,
        )
        loop = _Loop(kind(start), start, min(batch_size or num_samples, num_samples), max_epochs, first)
        parts.append(loop.run(list(generators[chosen])))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _kind(method: str, optimizer: str, samples: Samples) -> type[Steps]:
    if optimizer == "adam":
        if method == "gram":
            fail("method", "must be weights with adam", method, "Its steps are not linear in the gradient.")
        return WithAdam
    fewer = samples.x.shape[1] < 2 * samples.x.shape[2]
    return OnCoefficients if method == "gram" or (method == "auto" and fewer) else OnWeights


class _Loop:
    """Epochs of one stack, with its replicas put aside as they end.

    Attributes:
        live: bool (S', R') of the packed stack: still in training.
        where: place of each in the whole stack.
        done: what is known of every replica that has ended, (S, R, ...).
    """

    def __init__(self, steps: Steps, start: Start, batch_size: int, max_epochs: int, first_seed: int) -> None:
        self.steps, self.start, self.batch_size, self.max_epochs = steps, start, batch_size, max_epochs
        self.first_seed = first_seed
        self.shape, device = start.steps.shape, start.steps.device
        self.num_samples = start.samples.labels.shape[1]
        self.threshold = start.hyperparameters.threshold.to(device).expand(self.shape)
        self.live = torch.ones(self.shape, dtype=torch.bool, device=device)
        self.where = torch.arange(self.live.numel(), device=device).view(self.shape)
        self.done = {name: steps.t[name].contiguous().clone() for name in steps.kept}
        for name in ("loss", "accuracy", "epochs", *"cesg"):
            self.done[name] = torch.zeros(self.shape, dtype=torch.float64, device=device)

    def run(self, generators: list[torch.Generator]) -> StackTraining:
        """Until all have ended."""
        for epoch in range(1, self.max_epochs + 1):
            loss, accuracy = self._epoch(generators)
            ended = self.live if epoch == self.max_epochs else self.live & ~(loss > self.threshold)
            if bool(ended.any()):
                self._put_aside(ended, epoch, loss, accuracy)
                self.live = self.live & ~ended
                if not bool(self.live.any()):
                    break
                generators = self._pack(generators)
        return self._result()

    def _epoch(self, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """One pass; mean loss and accuracy (S', R'), float64."""
        if self.batch_size == self.num_samples:
            found = self._batch(None)
            return found.values.double().mean(dim=2), found.right.double().mean(dim=2)
        orders = [torch.randperm(self.num_samples, generator=one) for one in generators]
        scored = [
            self._batch(index) for index in torch.stack(orders).to(self.live.device).split(self.batch_size, 1)
        ]
        loss = torch.cat([one.values for one in scored], dim=2).double().mean(dim=2)
        return loss, torch.cat([one.right for one in scored], dim=2).double().mean(dim=2)

    def _batch(self, index: Tensor | None) -> Loss:
        """Score a batch, then step on it."""
        steps = self.steps
        batch = steps.samples if index is None else steps.samples.at(index)
        outputs, back = steps.stack.head(steps.z(batch, index), steps.head, batch)
        found = loss_of(outputs, batch.labels)
        steps.step(*back(found.slope / batch.labels.shape[1]), batch, index)
        return found

    def _put_aside(self, ended: Tensor, epoch: int, loss: Tensor, accuracy: Tensor) -> None:
        """Keep the replicas that have ended as they are now."""
        places = self.where[ended]
        bad = places[~loss[ended].isfinite()].tolist()
        if bad:
            seed, replica = self.first_seed + bad[0] // self.shape[1], bad[0] % self.shape[1]
            got = f"NaN or infinity in epoch {epoch} (seed index {seed}, replica index {replica})"
            fail("loss", "must stay finite in training", got, "Lower the learning rate.", error=Diverged)
        numbers = {"loss": loss, "accuracy": accuracy, "epochs": torch.full_like(loss, epoch)}
        for name, rate in self.steps.numbers.items():
            numbers[name] = rate[..., 0, 0].double() if isinstance(rate, Tensor) else torch.full_like(loss, rate)
        for name, kept in self.done.items():
            kept.view(-1, *kept.shape[2:])[places] = (numbers[name] if name in numbers else self.steps.t[name])[
                ended
            ]

    def _pack(self, generators: list[torch.Generator]) -> list[torch.Generator]:
        """Drop what has ended, as far as the seeds keep equally many replicas; the streams of the seeds left."""
        rows = self.live.any(dim=1).nonzero().squeeze(1)
        width = int(self.live.sum(dim=1).max())
        if len(rows) == len(self.live) and width == self.live.shape[1]:
            return generators
        order = self.live[rows].int().argsort(dim=1, descending=True, stable=True)[:, :width]
        self.steps.pack(rows, order)
        self.threshold, self.where, self.live = (
            value[rows[:, None], order] for value in (self.threshold, self.where, self.live)
        )
        return [generators[row] for row in rows.tolist()] if generators else []

    def _result(self) -> StackTraining:
        done, stack = self.done, self.start.stack
        linear, moments, coefficients = self.steps.ended(done)
        heads = [
            {name: done[f"moment {place} {name}"] for name in self.steps.names} for place in range(len(moments))
        ]
        steps = done["epochs"] * -(-self.num_samples // self.batch_size)
        return StackTraining(
            params=stack.join(linear, {name: done[f"head {name}"] for name in self.steps.names}),
            moments=OptimizerState(
                tuple(stack.join(one, head) for one, head in zip(moments, heads, strict=True)),
                self.start.steps + steps,
            ),
            converged=done["loss"] <= self.start.hyperparameters.threshold.to(done["loss"]),
            epochs=done["epochs"].long(),
            steps=steps.long(),
            loss=done["loss"],
            accuracy=done["accuracy"],
            affine=Affine(*(done[name] for name in "cesg")),
            coefficients=coefficients,
        )


def _joined(parts: list[StackTraining]) -> StackTraining:
    """Stacks of some seeds each, as one of all."""

    def cat(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    moments = zip(*(part.moments.tensors for part in parts), strict=True)
    both = [part.coefficients for part in parts if part.coefficients is not None]
    return StackTraining(
        params=_cat_params([part.params for part in parts]),
        moments=OptimizerState(
            tuple(map(_cat_params, moments)), torch.cat([part.moments.steps for part in parts])
        ),
        converged=cat("converged"),
        epochs=cat("epochs"),
        steps=cat("steps"),
        loss=cat("loss"),
        accuracy=cat("accuracy"),
        affine=Affine(*(torch.cat([getattr(part.affine, name) for part in parts]) for name in "cesg")),
        coefficients=(torch.cat([a for a, _ in both]), torch.cat([u for _, u in both])) if both else None,
    )


def _cat_params(parts: Sequence[Params]) -> Params:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
