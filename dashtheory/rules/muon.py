"""Muon: the momentum of each hidden matrix, made nearly orthogonal, is the step; all else is stepped by AdamW.

    B <- B + (1 - mu) (G - B)      U = G + mu (B - G)       O = Newton-Schulz(U), 5 quintic steps in bfloat16
    W <- (1 - eta d) W - eta scale O                        d the weight decay

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024, kellerjordan.github.io); on
matrices it is `torch.optim.Muon` to the bit. Kernels are laid out in rows, an output each. The singular values of
O are near 1, between about 0.7 and 1.2, by design; those that are tiny beside the others stay so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from dashtheory._check import choice, fail, real
from dashtheory.rules.matrices import layer_weights
from dashtheory.rules.optimizing import (
    ClosureOptimizer,
    OtherOptimizer,
    check_descent,
    gradient_of,
    settings_of,
    with_gradient,
)
from dashtheory.rules.rule import MakeOptimizer, ablation

SCALES = ("published", "flattened", "rms")
"""Factors of a step, from the sizes of a weight: see `scale_of`."""
RESTS = ("adamw", "sgd")
"""What steps the parameters that are no hidden matrices."""
ENDS = ("last", "both", "none")
"""Which of the first and the last layer are not hidden."""
BETAS = (0.9, 0.95)
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_EPSILON = 1e-7


def orthogonalized(matrix: Tensor) -> Tensor:
    """(rows, columns) of nearly the same singular vectors with singular values near 1, in bfloat16."""
    a, b, c = _COEFFICIENTS
    found = matrix.bfloat16()
    tall = found.shape[0] > found.shape[1]
    found = found.T if tall else found
    found = found / found.norm().clamp(min=_EPSILON)
    for _ in range(_STEPS):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.T if tall else found


def scale_of(shape: torch.Size, scale: str) -> float:
    """The factor of the step of a weight.

        published   sqrt(max(1, rows / columns)) of a matrix; of a kernel, its height / width take their places in
                    the authors' code, so that it is 1 for square ones
        flattened   sqrt(max(1, rows / columns)) of the matrix that a kernel is laid out as
        rms         0.2 sqrt(max(rows, columns)) of it: as large as a step of Adam (Liu et al., arXiv:2502.16982)

    Args:
        shape: of the weight.
        scale: one of `SCALES`.
    """
    rows, columns = shape[0], math.prod(shape[1:])
    if scale == "rms":
        return 0.2 * math.sqrt(max(rows, columns))
    if scale == "published":
        rows, columns = shape[-2], shape[-1]
    return math.sqrt(max(1.0, rows / columns))


class Muon(ClosureOptimizer):
    """Muon for hidden matrices and kernels, AdamW or SGD for the rest, in one optimizer with a group for each.

    Args:
        hidden: weights of two axes or more, an output a row.
        rest: other parameters.
        columns: hidden matrices too, an output a column.
        learning_rate: of the hidden ones; 0.02 as published.
        weight_decay: of all, decoupled (SGD adds it to the gradient).
        momentum: mu, in [0, 1); 0.95 as published, with Nesterov's look ahead.
        scale: one of `SCALES`.
        rest_by: one of `RESTS`; AdamW has the averages (0.9, 0.95), SGD the momentum `rest_momentum`.
        rest_rate: step size of the rest, as a share of `learning_rate`.
        rest_momentum: of SGD.

    Raises:
        ValueError: if a value is out of range, or there is no parameter.
    """

    recordable: ClassVar[bool] = False
    """Nobody has tried to record its steps."""

    def __init__(
        self,
        hidden: Iterable[nn.Parameter],
        rest: Iterable[nn.Parameter],
        *,
        columns: Iterable[nn.Parameter] = (),
        learning_rate: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        scale: str = "published",
        rest_by: str = "adamw",
        rest_rate: float = 0.1,
        rest_momentum: float = 0.9,
    ) -> None:
        check_descent(learning_rate, rest_momentum, weight_decay)
        check_options(momentum, scale, rest_by, rest_rate)
        parts = {"hidden": [*hidden], rest_by: [*rest]}
        settings = {"weight_decay": weight_decay, "scale": scale}
        by = {
            "hidden": {"lr": learning_rate, "momentum": momentum},
            rest_by: {"lr": learning_rate * rest_rate, "momentum": rest_momentum},
        }
        groups = [{"params": part, "by": name, **by[name], **settings} for name, part in parts.items() if part]
        if turned := [*columns]:
            groups.append({"params": turned, "by": "hidden", "columns": True, **by["hidden"], **settings})
        super().__init__(groups, {"lr": learning_rate, "momentum": momentum, "by": rest_by, **settings})

    def update(self) -> None:
        """One update."""
        steps = {"hidden": self._orthogonal, "adamw": self._adamw, "sgd": self._sgd}
        for group in self.param_groups:
            steps[group["by"]](group, with_gradient(group["params"]))

    def _orthogonal(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        for parameter in parameters:
            gradient, state = gradient_of(parameter), self.state[parameter]
            average: Tensor = state.setdefault("momentum_buffer", torch.zeros_like(gradient))
            average.lerp_(gradient, 1 - group["momentum"])
            update, turned = gradient.lerp(average, group["momentum"]), group.get("columns", False)
            update = update.T if turned else update
            step = orthogonalized(update.flatten(1)).reshape(update.shape)
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            scale = scale_of(update.shape, group["scale"])
            parameter.add_(step.T if turned else step, alpha=-group["lr"] * scale)

    def _adamw(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state |= {"step": torch.zeros(())}
                state |= {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        adamw(
            list[Tensor](parameters),
            [gradient_of(parameter) for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )

    def _sgd(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        buffers = [self.state[parameter].get("momentum_buffer") for parameter in parameters]
        sgd(
            list[Tensor](parameters),
            [gradient_of(parameter) for parameter in parameters],
            buffers,
            lr=group["lr"],
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for parameter, buffer in zip(parameters, buffers, strict=True):
            if buffer is not None:
                self.state[parameter]["momentum_buffer"] = buffer


def by_shape(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Hidden ones and the rest, where the network is not known: those of two axes or more, but the last of them.

    An embedding, if there is one, counts as hidden; the rule `muon` tells.
    """
    found = [*parameters]
    hidden = [one for one in found if one.ndim > 1][:-1]
    ours = {id(one) for one in hidden}
    return hidden, [one for one in found if id(one) not in ours]


def check_options(momentum: float, scale: str, rest_by: str, rest_rate: float) -> None:
    """Refuse options that are none of Muon.

    Raises:
        ValueError: in one line.
    """
    if real("momentum", momentum, low=0, high=1, fix="0.95 as published.") == 1:
        fail("momentum", "must be below 1", "1", "An average that never moves has no step.")
    choice("scale", scale, SCALES)
    choice("rest", rest_by, RESTS)
    real("rest_rate", rest_rate, low=0, open_low=True, fix="It is a share of the learning rate.")


@dataclass(frozen=True, kw_only=True)
class WithMuon(OtherOptimizer):
    """Train with Muon, with learning rate and weight decay of the run: muon:learning_rate=0.02 as published.

    Hidden are the weights of linear, convolution and attention layers, but the classifier; embeddings, norm layers
    and biases belong to the rest. FIRE's code steps by Muon from the second stage on alone; here it is all stages.

    Cost: 15 products of each matrix with itself a step.

    Attributes:
        momentum: mu, in [0, 1).
        scale: "published", "flattened" or "rms" (`scale_of`).
        ends: "last" (the classifier is not hidden), "both" (nor the first layer) or "none".
        rest: what steps all else, "adamw" or "sgd" (with the run's momentum).
        rest_rate: its step size, as a share of the learning rate; 0.1 as in FIRE's code.
        state: as in `OtherOptimizer`.
    """

    momentum: float = ablation(0.95)
    scale: str = ablation("published")
    ends: str = ablation("last")
    rest: str = ablation("adamw")
    rest_rate: float = ablation(0.1)
    name: ClassVar[str] = "muon"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_options(self.momentum, self.scale, self.rest, self.rest_rate)
        choice("ends", self.ends, ENDS)

    def optimizer_for(self, model: nn.Module, make: MakeOptimizer) -> Muon:
        """Muon of the hidden weights, and what steps the rest."""
        run = settings_of(make(model.parameters()))
        weights = [one for one in layer_weights(model) if one.parameter.ndim > 1]
        weights = weights[self.ends == "both" : len(weights) - (self.ends != "none")]
        hidden = {id(one.parameter) for one in weights}
        return Muon(
            [one.parameter for one in weights if one.layout != "column"],
            [one for one in model.parameters() if id(one) not in hidden],
            columns=[one.parameter for one in weights if one.layout == "column"],
            learning_rate=run.learning_rate,
            weight_decay=run.weight_decay,
            momentum=self.momentum,
            scale=self.scale,
            rest_by=self.rest,
            rest_rate=self.rest_rate,
            rest_momentum=run.momentum,
        )
