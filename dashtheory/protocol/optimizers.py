"""The optimizers by name.

    sgd     SGD with momentum: the paper's
    adam    Adam; weight decay is added to the gradient (L2)
    adamw   Adam; weight decay shrinks the weights directly (Loshchilov & Hutter 2019)
    sam     sharpness-aware minimization around SGD (`dashtheory.rules.sam`)
    upgd    utility-based perturbed gradient descent (`dashtheory.rules.upgd`), beta 0.999, sigma 0.001
    trac    TRAC around SGD (`dashtheory.rules.trac`)
    muon    Muon for all tensors of two axes or more but the last, AdamW for the rest (`dashtheory.rules.muon`)

More of their options, and Muon by the kind of layer, are those of the rules of these names. Weight decay acts on
all parameters, norm layers and biases included, as in the authors' runs: there are no groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from dashtheory._check import choice, real
from dashtheory.batchnorm import frozen_running_statistics
from dashtheory.rules.muon import Muon, by_shape
from dashtheory.rules.optimizing import check_descent
from dashtheory.rules.sam import SAM
from dashtheory.rules.trac import TRAC
from dashtheory.rules.upgd import UPGD

__all__ = ["OPTIMIZERS", "SAM", "frozen_running_statistics", "make_optimizer"]

OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "sgd": ("learning_rate", "momentum", "weight_decay"),
    "adam": ("learning_rate", "weight_decay"),
    "adamw": ("learning_rate", "weight_decay"),
    "sam": ("learning_rate", "momentum", "weight_decay", "rho"),
    "upgd": ("learning_rate", "weight_decay"),
    "trac": ("learning_rate", "momentum", "weight_decay"),
    "muon": ("learning_rate", "weight_decay"),
}
"""Optimizers by name, and the options of `make_optimizer` that each of them has."""


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    rho: float = 0.1,
    fused: bool = False,
) -> torch.optim.Optimizer:
    """Build the optimizer called `name`.

    Every value is checked; those that the optimizer does not have (`OPTIMIZERS[name]` lists those it has) change
    nothing. The averages of adam and adamw are PyTorch's: betas (0.9, 0.999), epsilon 1e-8.

    Args:
        name: of `OPTIMIZERS`.
        parameters: to optimize.
        learning_rate: > 0; of muon's hidden weights, a tenth of it for the rest.
        momentum: of sgd, sam and the SGD of trac, in [0, 1] (no dampening, not Nesterov's).
        weight_decay: on all parameters, >= 0.
        rho: radius of sam, >= 0.
        fused: whether PyTorch updates all parameters in one kernel (sgd, adam, adamw, trac's SGD); the last bits
            differ.

    Raises:
        ValueError: if a value is out of range or there is no such optimizer.
    """
    check_descent(learning_rate, momentum, weight_decay)
    real("rho", rho, low=0, fix="It is a radius; the paper uses 0.1 and 0.05.")

    def sgd() -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, fused=fused or None
        )

    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": sgd,
        "adam": lambda: torch.optim.Adam(
            parameters, lr=learning_rate, weight_decay=weight_decay, fused=fused or None
        ),
        "adamw": lambda: torch.optim.AdamW(
            parameters, lr=learning_rate, weight_decay=weight_decay, fused=fused or None
        ),
        "sam": lambda: SAM(
            parameters, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, rho=rho
        ),
        "upgd": lambda: UPGD(parameters, learning_rate=learning_rate, weight_decay=weight_decay),
        "trac": lambda: TRAC(sgd()),
        "muon": lambda: Muon(*by_shape(parameters), learning_rate=learning_rate, weight_decay=weight_decay),
    }
    return makers[choice("name", name, OPTIMIZERS)]()
