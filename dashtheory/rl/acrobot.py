"""gymnasium's Acrobot-v1 for many replicas at once, in float64.

Two links hang from a hinge, and a torque at the joint between them is to swing the end above a line: reward -1 for
every step but the last, at most 500 steps. Equations of motion of Sutton & Barto's book, one Runge-Kutta step of
fourth order per action. All numbers (lengths, masses, bounds, torques, limit) are read from gymnasium, so that it
is the environment of that version; stepping it one by one in Python takes 40 times longer.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from dashtheory._check import fail
from dashtheory.rl.environment import Environment, Outcome


def gymnasium_acrobot() -> tuple[Any, int]:
    """The class of gymnasium's Acrobot, and the most steps of an episode of Acrobot-v1.

    Raises:
        ValueError: if gymnasium is not installed, in a line that names the extra.
    """
    try:
        import gymnasium
        from gymnasium.envs.classic_control.acrobot import AcrobotEnv
    except ImportError as error:
        fix = "Run pip install 'dashtheory[rl]'; the lake needs nothing."
        fail("environment", "must be lake unless gymnasium is installed", f"acrobot ({error})", fix)
    most = gymnasium.spec("Acrobot-v1").max_episode_steps
    return AcrobotEnv, int(most or 500)


class Acrobot(Environment):
    """Acrobots of R replicas.

    Attributes:
        state: float64 (R, 4): two angles, two velocities.
    """

    num_actions: ClassVar[int] = 3
    num_features: ClassVar[int] = 6
    num_draws: ClassVar[int] = 4

    def __init__(self, draws: Tensor) -> None:
        """Begin episodes.

        Args:
            draws: uniform on [0, 1), (R, 4); the starts.

        Raises:
            ValueError: if gymnasium is not installed.
        """
        self.kind, self.most_steps = gymnasium_acrobot()
        self.torques = torch.tensor(self.kind.AVAIL_TORQUE, dtype=torch.float64)
        self.bounds = torch.tensor([self.kind.MAX_VEL_1, self.kind.MAX_VEL_2], dtype=torch.float64)
        self.states = None
        self.state = _start(draws)
        self.observed = _observe(self.state)
        self._made = torch.zeros(len(draws), dtype=torch.int64)

    def step(self, actions: Tensor, draws: Tensor) -> Outcome:
        """Turn the joint once in all of them."""
        state = self._moved(self.state, self.torques[actions])
        terminal = -torch.cos(state[:, 0]) - torch.cos(state[:, 0] + state[:, 1]) > 1
        self._made += 1
        ended = terminal | (self._made >= self.most_steps)
        self._made[ended] = 0
        following = _observe(state)
        self.state = torch.where(ended[:, None], _start(draws), state)
        self.observed = _observe(self.state) if bool(ended.any()) else following
        return Outcome(terminal.float() - 1, following, terminal, ended)

    def _moved(self, state: Tensor, torque: Tensor) -> Tensor:
        """State (R, 4) after a torque (R,): a Runge-Kutta step, angles in [-pi, pi], velocities bounded."""
        dt = self.kind.dt
        first = self._slope(state, torque)
        second = self._slope(state + dt / 2 * first, torque)
        third = self._slope(state + dt / 2 * second, torque)
        fourth = self._slope(state + dt * third, torque)
        moved = state + dt / 6 * (first + 2 * second + 2 * third + fourth)
        angles = torch.remainder(moved[:, :2] + math.pi, 2 * math.pi) - math.pi
        return torch.cat([angles, moved[:, 2:].clamp(-self.bounds, self.bounds)], dim=1)

    def _slope(self, state: Tensor, torque: Tensor) -> Tensor:
        """Derivative of states by time, as in the book (gymnasium's `book_or_nips = "book"`)."""
        one, g = self.kind, 9.8
        m1, m2, l1 = one.LINK_MASS_1, one.LINK_MASS_2, one.LINK_LENGTH_1
        c1, c2, inertia = one.LINK_COM_POS_1, one.LINK_COM_POS_2, one.LINK_MOI
        angle1, angle2, speed1, speed2 = state.unbind(1)
        cos2, sin2 = torch.cos(angle2), torch.sin(angle2)
        d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * cos2) + 2 * inertia
        d2 = m2 * (c2**2 + l1 * c2 * cos2) + inertia
        phi2 = m2 * c2 * g * torch.sin(angle1 + angle2)
        phi1 = (
            -m2 * l1 * c2 * sin2 * speed2 * (speed2 + 2 * speed1)
            + (m1 * c1 + m2 * l1) * g * torch.sin(angle1)
            + phi2
        )
        turn2 = (torque + d2 / d1 * phi1 - m2 * l1 * c2 * speed1**2 * sin2 - phi2) / (
            m2 * c2**2 + inertia - d2**2 / d1
        )
        turn1 = -(d2 * turn2 + phi1) / d1
        return torch.stack([speed1, speed2, turn1, turn2], dim=1)


def _start(draws: Tensor) -> Tensor:
    """Angles and velocities uniform on [-0.1, 0.1)."""
    return 0.2 * draws.double() - 0.1


def _observe(state: Tensor) -> Tensor:
    """Cosine and sine of both angles, and the velocities: (R, 6) float32."""
    turned = [torch.cos(state[:, :1]), torch.sin(state[:, :1]), torch.cos(state[:, 1:2]), torch.sin(state[:, 1:2])]
    return torch.cat([*turned, state[:, 2:]], dim=1).float()
