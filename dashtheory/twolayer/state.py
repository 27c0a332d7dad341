"""What a stack is between two stages: weights, and what makes memorised noise readable.

    W = origin + learned,      W_noise = origin_noise + sum_i rho_i xi_i                               (1)

`origin` is what became of the initialisation and of all noise that rules added; steps of training enter `learned`
alone. Factors of rules scale both, so ||learned|| splits by axes into what was learned of features and of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dashtheory.twolayer.stack import HIDDEN, Params
from dashtheory.twolayer.train import OptimizerState, StackTraining


@dataclass(frozen=True, kw_only=True, eq=False)
class StackState:
    """A stack between stages; every tensor is (S, R, ...).

    Attributes:
        params: weights.
        initial: those at the initialisation that each replica began with last.
        origin: what became of it, equation (1).
        drift: the same part of the velocity.
        moments: state of the optimizer.
        rho: (S, R, rows, N) coefficients of equation (1), for all samples so far; NaN where a rule has left the
            span of the samples, None once steps were on weights.
        rho_velocity: the same of the velocity.
    """

    params: Params
    initial: Params
    origin: Params
    drift: Params
    moments: OptimizerState
    rho: Tensor | None
    rho_velocity: Tensor | None

    @classmethod
    def begin(cls, params: Params, optimizer: str) -> StackState:
        """Of a stack that has not been trained."""
        rho = params[HIDDEN].new_zeros((*params[HIDDEN].shape[:3], 0))
        return cls(
            params=params,
            initial=params,
            origin=params,
            drift={name: torch.zeros_like(value) for name, value in params.items()},
            moments=OptimizerState.zero(params, optimizer),
            rho=rho,
            rho_velocity=rho,
        )

    def learned(self) -> Tensor:
        """First-layer weights less what is left of the initialisation, (S, R, rows, C K + d)."""
        return self.params[HIDDEN] - self.origin[HIDDEN]

    def trained(self, training: StackTraining) -> StackState:
        """After a stage."""
        moved = {name: training.affine.moved(self.origin[name], self.drift[name]) for name in self.origin}
        rho = velocity = None
        if training.coefficients is not None and self.rho is not None and self.rho_velocity is not None:
            new = training.coefficients[0].shape[-1] - self.rho.shape[-1]
            before = [functional.pad(value, (0, new)) for value in (self.rho, self.rho_velocity)]
            after = training.affine.moved(*before)
            rho, velocity = (old + more for old, more in zip(after, training.coefficients, strict=True))
        return replace(
            self,
            params=training.params,
            moments=training.moments,
            origin={name: position for name, (position, _) in moved.items()},
            drift={name: velocity for name, (_, velocity) in moved.items()},
            rho=rho,
            rho_velocity=velocity,
        )

    def renewed(self, replicas: Sequence[int]) -> StackState:
        """With an optimizer that has not stepped, for some replicas."""
        stack_state = self.copy()
        sets = [*stack_state.moments.tensors, stack_state.drift]
        for values in [one for tensors in sets for one in tensors.values()] + [stack_state.moments.steps]:
            values[:, list(replicas)] = 0
        if stack_state.rho_velocity is not None:
            stack_state.rho_velocity[:, list(replicas)] = 0
        return stack_state

    def copy(self) -> StackState:
        """With tensors of its own."""

        def cloned(params: Params) -> Params:
            return {name: value.clone() for name, value in params.items()}

        return StackState(
            params=cloned(self.params),
            initial=cloned(self.initial),
            origin=cloned(self.origin),
            drift=cloned(self.drift),
            moments=OptimizerState(tuple(map(cloned, self.moments.tensors)), self.moments.steps.clone()),
            rho=None if self.rho is None else self.rho.clone(),
            rho_velocity=None if self.rho_velocity is None else self.rho_velocity.clone(),
        )
