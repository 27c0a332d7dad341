"""The smallest network with a normalisation, its gradient by hand, in float64; claims on step sizes are about it.

    p = X W' + b,    z = (p - mean p) / sqrt(var p + eps),    f = tanh(z) a,    L = mean (f - y)^2 / 2       (1)

Each row of W is a filter; mean and var are over the samples, filter by filter. a is the classifier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dashtheory._check import choice, fail, integer, real

Array = NDArray[np.float64]
Rows = tuple[tuple[float, ...], ...]
OPTIMIZERS = ("descent", "adam")
RUNNING = 0.1  # weight of a new batch in running statistics
_BETAS = 0.9, 0.999


@dataclass(frozen=True, kw_only=True)
class NormedNet:
    """A network of equation (1), its data, and how it is trained before and after a rule.

    Attributes:
        inputs: X, a row per sample.
        targets: y, one per sample.
        weights: W, a row per filter.
        head: a, one per filter.
        bias: b, one per filter; empty for none.
        scale: s, what a rule multiplies each filter by, > 0.
        factors: one per weight, for rules that do not keep filters together; empty for none.
        step_size: eta.
        momentum: mu of descent.
        decay: weight decay, added to the gradient, of all parameters.
        eps: of the normalisation.
        adam_eps: of Adam.
        optimizer: "descent" or "adam".
        history: steps before the rule.
        num_steps: steps after it.

    Raises:
        ValueError: if a value is out of range or shapes do not fit.
    """

    inputs: Rows
    targets: tuple[float, ...]
    weights: Rows
    head: tuple[float, ...]
    scale: tuple[float, ...]
    bias: tuple[float, ...] = ()
    factors: Rows = ()
    step_size: float = 0.125
    momentum: float = 0.0
    decay: float = 0.0
    eps: float = 0.0
    adam_eps: float = 1e-3
    optimizer: str = "descent"
    history: int = 0
    num_steps: int = 0

    def __post_init__(self) -> None:
        choice("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("history", "num_steps"):
            integer(name, getattr(self, name), minimum=0, fix="It counts steps.")
        for name in ("momentum", "decay", "eps", "adam_eps"):
            real(name, getattr(self, name), low=0, fix="See the class.")
        for value in (self.step_size, *self.scale):
            real("step_size and scale", value, low=0, open_low=True, fix="They multiply weights.")
        filters, samples = len(self.weights), len(self.inputs)
        if not len(self.head) == len(self.scale) == filters or len(self.targets) != samples or samples < 2:
            fail("weights", "must have a head and a scale per row, and two samples", self.describe(), "Add them.")

    @property
    def num_weights(self) -> int:
        """Entries of W."""
        return sum(map(len, self.weights))

    def describe(self) -> str:
        """Lines for people."""
        training = ", ".join(
            f"{name} {getattr(self, name):g}"
            for name in ("step_size", "momentum", "decay", "eps")
            if getattr(self, name)
        )
        return (
            f"{self.optimizer}, {training}; {self.history} steps before the rule and {self.num_steps} after it\n"
            f"  inputs {self.inputs}, targets {self.targets}\n"
            f"  weights {self.weights}, head {self.head}, scale {self.factors or self.scale}"
        )


@dataclass(eq=False)
class Trained:
    """A network while it trains: parameters by name (W, b, a), averages, options of each, running statistics.

    Attributes:
        values: W (filters, inputs), b and a (filters,).
        first: momentum buffers, or Adam's first moments.
        second: Adam's second moments.
        rates: step size of each parameter; of W a column, one per filter.
        decays: as `rates`.
        adam_eps: as `rates`.
        eps: of the normalisation, one per filter.
        mean: running mean of p.
        var: running variance of p.
        steps: taken so far.
    """

    values: dict[str, Array]
    first: dict[str, Array]
    second: dict[str, Array]
    rates: dict[str, Array]
    decays: dict[str, Array]
    adam_eps: dict[str, Array]
    eps: Array
    mean: Array
    var: Array
    steps: int = field(default=0)


def begin(net: NormedNet) -> Trained:
    """The network before any step; running statistics are those of its data."""
    filters = len(net.weights)
    bias = np.array(net.bias or (0.0,) * filters)
    values = {"W": np.array(net.weights, float), "b": bias.astype(float), "a": np.array(net.head, float)}
    shape = {"W": (filters, 1), "b": (filters,), "a": (filters,)}
    pre = np.array(net.inputs, float) @ values["W"].T + bias
    return Trained(
        values=values,
        first={name: np.zeros_like(value) for name, value in values.items()},
        second={name: np.zeros_like(value) for name, value in values.items()},
        rates={name: np.full(shape[name], net.step_size) for name in values},
        decays={name: np.full(shape[name], net.decay) for name in values},
        adam_eps={name: np.full(shape[name], net.adam_eps) for name in values},
        eps=np.full(filters, net.eps),
        mean=pre.mean(axis=0),
        var=pre.var(axis=0),
    )


def outputs(net: NormedNet, now: Trained, *, evaluation: bool = False, normed: bool = True) -> Array:
    """Outputs f of equation (1), (samples,).

    Args:
        net: for its data.
        now: its parameters.
        evaluation: by running statistics instead of the batch's.
        normed: False leaves the normalisation out.
    """
    pre = np.array(net.inputs, float) @ now.values["W"].T + now.values["b"]
    mean, var = (now.mean, now.var) if evaluation else (pre.mean(axis=0), pre.var(axis=0))
    hidden = (pre - mean) / np.sqrt(var + now.eps) if normed else pre
    found: Array = np.tanh(hidden) @ now.values["a"]
    return found


def gradient(net: NormedNet, now: Trained, *, normed: bool = True) -> dict[str, Array]:
    """Gradient of L by parameter, derived by hand."""
    inputs, targets = np.array(net.inputs, float), np.array(net.targets, float)
    pre = inputs @ now.values["W"].T + now.values["b"]
    sigma = np.sqrt(pre.var(axis=0) + now.eps) if normed else np.ones(len(now.eps))
    hidden = (pre - pre.mean(axis=0)) / sigma if normed else pre
    act = np.tanh(hidden)
    slope = (act @ now.values["a"] - targets) / len(targets)
    back = slope[:, None] * now.values["a"] * (1 - act**2)
    if normed:
        back = (back - back.mean(axis=0) - hidden * (back * hidden).mean(axis=0)) / sigma
    return {"W": back.T @ inputs, "b": back.sum(axis=0), "a": act.T @ slope}


def step(net: NormedNet, now: Trained, *, normed: bool = True) -> None:
    """One step on all samples, and the running statistics of the batch before it."""
    pre = np.array(net.inputs, float) @ now.values["W"].T + now.values["b"]
    now.mean = (1 - RUNNING) * now.mean + RUNNING * pre.mean(axis=0)
    now.var = (1 - RUNNING) * now.var + RUNNING * pre.var(axis=0)
    now.steps += 1
    for name, slope in gradient(net, now, normed=normed).items():
        slope = slope + now.decays[name] * now.values[name]
        if net.optimizer == "descent":
            now.first[name] = net.momentum * now.first[name] + slope
            now.values[name] = now.values[name] - now.rates[name] * now.first[name]
            continue
        one, two = _BETAS
        now.first[name] = one * now.first[name] + (1 - one) * slope
        now.second[name] = two * now.second[name] + (1 - two) * slope**2
        first, second = now.first[name] / (1 - one**now.steps), now.second[name] / (1 - two**now.steps)
        now.values[name] = now.values[name] - now.rates[name] * first / (np.sqrt(second) + now.adam_eps[name])


def small_nets(*, max_weights: int = 2, max_steps: int = 2, **settings: object) -> Iterator[NormedNet]:
    """Networks of one filter with small whole numbers: fewest weights first, then steps, then samples.

    A filter that sees no variance is left out: with eps = 0 it has no output.

    Args:
        max_weights: of the filter.
        max_steps: after the rule.
        **settings: fields of `NormedNet` that all of them have.
    """
    for num_weights in range(1, max_weights + 1):
        for num_steps in range(max_steps + 1):
            for samples in (2, 3):
                for entries in np.ndindex(*(3,) * (samples * num_weights)):
                    inputs = np.array(entries).reshape(samples, num_weights) - 1.0
                    if not np.ptp(inputs @ np.ones(num_weights)):
                        continue
                    yield NormedNet(
                        inputs=tuple(map(tuple, inputs.tolist())),
                        targets=(1.0,) + (0.0,) * (samples - 1),
                        weights=((1.0,) * num_weights,),
                        head=(1.0,),
                        scale=(0.5,),
                        num_steps=num_steps,
                        **settings,  # type: ignore[arg-type]
                    )
