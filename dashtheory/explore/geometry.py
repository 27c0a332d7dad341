"""One weight vector in two dimensions, and what DASH, S&P and a uniform shrink do to it.

The negative gradient of the newest chunk points along the first axis, that of an older chunk at an angle of its
own; alpha mixes them into DASH's G. All vectors are rows of a linear layer, so that the rules of
`dashtheory.rules` themselves act on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dashtheory._check import fail
from dashtheory.explore.state import Slider, control
from dashtheory.rules import Context, Learner, Rule, ShrinkReport, make_rule, smoothed_descent
from dashtheory.seeds import torch_stream

NUM_DRAWS = 200
"""Draws of S&P's noise that are shown."""

FAN = 181
"""Vectors over all angles to G, from 0 to 180 degrees, over which the uniform shrink takes DASH's mean factor."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ShrinkState:
    """The controls of the geometry; angles in degrees."""

    angle: int = control(50, Slider(label="θ: angle of w, newest descent at 0°", low=0, high=180, step=1))
    old_angle: int = control(-40, Slider(label="angle of the older descent", low=-180, high=180, step=1))
    alpha: float = control(0.3, Slider(label="α: DASH's weight of newest chunk", low=0.02, high=1.0, step=0.02))
    lam: float = control(0.3, Slider(label="λ: DASH's smallest factor", low=0.0, high=1.0, step=0.01))
    shrink: float = control(0.3, Slider(label="λ: factor that S&P keeps", low=0.0, high=1.0, step=0.01))
    sigma: float = control(0.05, Slider(label="σ: noise S&P adds (paper: 0.01)", low=0.0, high=0.2, step=0.01))


@dataclass(frozen=True, kw_only=True, eq=False)
class ShrinkFound:
    """Vectors (2,) in units of the length of w, and factors.

    Attributes:
        weight: w, of length 1.
        newest: unit vectors of descent.
        older: unit vectors of descent.
        descent: G, scaled to length 1.
        cosine: of w with G.
        dash: w after these rules.
        uniform: w after these rules.
        draws: (NUM_DRAWS, 2), w after S&P.
        draws_factor: of S&P before its noise.
        angles: (FAN,) degrees between a vector and G.
        factors: (FAN,), DASH's at each.
        mean: of `factors`.
    """

    weight: Floats
    newest: Floats
    older: Floats
    descent: Floats
    cosine: float
    dash: Floats
    uniform: Floats
    draws: Floats
    draws_factor: float
    angles: Floats
    factors: Floats
    mean: float

    @property
    def degrees(self) -> float:
        """Angle of w to G."""
        return float(np.degrees(np.arccos(self.cosine)))


def act(rule: Rule, rows: Tensor, descents: Tensor, seed: int = 0) -> tuple[Tensor, ShrinkReport | None]:
    """The rows (n, 2) of a linear layer after a rule, and its report.

    Args:
        rule: of `dashtheory.rules`.
        rows: weights.
        descents: (chunks, 2), negative gradient of each row, oldest first.
        seed: of the noise.
    """
    model = _layer(rows)
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    context = Context(
        chunks=lambda: _chunks(descents),
        loss_fn=_loss,
        fresh=lambda: fail(
            "rule", "must change the vector at hand", rule.name, "Leave out rules that start anew."
        ),
        generator=torch_stream(seed, "perturbation", 1),
    )
    learner, report = rule.apply(learner, context)
    weight: Tensor = learner.model.weight  # type: ignore[assignment]
    return weight.detach().clone(), report


def mixed(descents: Tensor, alpha: float) -> Tensor:
    """G (2,) of the chunks' descents, float32."""
    found, _ = smoothed_descent(_layer(torch.ones(1, 2)), _chunks(descents), _loss, alpha=alpha)
    return found["weight"][0]


def compute(state: ShrinkState) -> ShrinkFound:
    """What the rules do to the vector of a state."""
    weight, newest, older = (_unit(degrees) for degrees in (state.angle, 0, state.old_angle))
    descents = torch.stack([older, newest])
    descent = mixed(descents, state.alpha)
    descent = torch.nn.functional.normalize(descent, dim=0)
    angles = np.linspace(0, 180, FAN)
    turn = float(np.degrees(np.arctan2(descent[1].item(), descent[0].item())))
    fan = torch.stack([_unit(turn + degrees) for degrees in angles.tolist()])
    dash = make_rule("dash", alpha=state.alpha, lam=state.lam)
    after, report = act(dash, torch.cat([weight[None], fan]), descents)
    assert report is not None
    layer = report["weight"]
    factors = layer.scales[1:].double()
    mean = float(factors.mean())
    draws, _ = act(
        make_rule("sp", shrink=state.shrink, perturb=state.sigma), weight.expand(NUM_DRAWS, 2), descents
    )
    return ShrinkFound(
        weight=_numpy(weight),
        newest=_numpy(newest),
        older=_numpy(older),
        descent=_numpy(descent),
        cosine=float(layer.cosines[0]),
        dash=_numpy(after[0]),
        uniform=mean * _numpy(weight),
        draws=_numpy(draws),
        draws_factor=state.shrink,
        angles=angles,
        factors=factors.numpy(),
        mean=mean,
    )


def describe(state: ShrinkState, found: ShrinkFound) -> str:
    """What both panels show, in words."""
    factor = float(np.linalg.norm(found.dash))
    why = "its cosine" if found.cosine > state.lam else f"the floor λ = {state.lam:g}"
    return (
        f"A weight vector w of length 1 at {state.angle}° to the newest chunk's negative gradient; the older "
        f"chunk's lies at {state.old_angle}°. G, the descent that DASH mixes with α = {state.alpha:g}, lies "
        f"{found.degrees:.0f}° from w (cosine {found.cosine:.2f}): DASH multiplies w by {factor:.2f}, {why}. "
        f"A uniform shrink by DASH's mean factor over all angles multiplies it by {found.mean:.2f}. S&P "
        f"multiplies it by {state.shrink:g} and adds noise of standard deviation {state.sigma:g} per entry "
        f"({NUM_DRAWS} draws), which alone can turn it. The second panel has each factor by the angle between a "
        "vector and G: DASH follows the cosine down to λ, the others are flat."
    )


def _layer(rows: Tensor) -> nn.Linear:
    model = nn.Linear(2, len(rows), bias=False)
    with torch.no_grad():
        model.weight.copy_(rows)
    return model


def _chunks(descents: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Batches whose loss has these negative gradients, for every row."""
    return [(descent[None], torch.zeros(1)) for descent in descents]


def _loss(outputs: Tensor, _: Tensor) -> Tensor:
    return -outputs.sum()


def _unit(degrees: float) -> Tensor:
    angle = np.deg2rad(degrees)
    return torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32)


def _numpy(vector: Tensor) -> Floats:
    return np.asarray(vector.double().numpy())
