"""What the environments have in common: many at once, one per replica, that begin anew when an episode ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an action led to, in R environments.

    Attributes:
        reward: float (R,).
        following: what is observed after it, before an ended episode begins anew; as `Environment.observed`.
        terminal: bool (R,): no value follows.
        ended: bool (R,): the episode is over, by a terminal state or by its limit of time.
    """

    reward: Tensor
    following: Tensor
    terminal: Tensor
    ended: Tensor


class Environment(ABC):
    """R environments of one kind.

    Attributes:
        num_actions: actions are 0, ..., num_actions - 1.
        num_features: entries of an observation.
        num_draws: uniform numbers that a step takes, from which an episode that begins after it has its start.
        states: (states, num_features) if there are finitely many: what is observed are then their numbers;
            else None.
        observed: now, int64 (R,) or float (R, num_features).
    """

    num_actions: ClassVar[int]
    num_features: ClassVar[int]
    num_draws: ClassVar[int]
    states: Tensor | None
    observed: Tensor

    @abstractmethod
    def step(self, actions: Tensor, draws: Tensor) -> Outcome:
        """Act in all of them.

        Args:
            actions: int64 (R,).
            draws: uniform on [0, 1), (R, num_draws).
        """
