"""The switching lake: 2 x 2 places, a hole that moves once, and an answer that becomes the opposite.

    before    S H      after    S .        S start, G goal (reward 1), H hole; both end the crossing,
              . G               H G        and so do two moves

Moves are those of the Frozen Lake: 0 left, 1 down, 2 right, 3 up; a move against the edge stays. Before the switch
the only way is down, right; after it, right, down. The idea is from a post of the ICLR blog track of 2024, "It's
Time to Move On: Primacy Bias and Why It Helps to Forget"; its numbers are not taken over.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dashtheory._check import integer
from dashtheory.rl.environment import Environment, Outcome

START, GOAL = 0, 3
HOLES = (1, 2)
"""Where the hole is: before and after the switch."""
MOST_MOVES = 2
_NEXT = torch.tensor([[0, 2, 1, 0], [0, 3, 1, 1], [2, 2, 3, 0], [2, 3, 3, 1]])  # [state, move]


class Lake(Environment):
    """Lakes of R replicas, whose hole moves after so many moves of each.

    Attributes:
        moves: that were made in each.
    """

    num_actions: ClassVar[int] = 4
    num_features: ClassVar[int] = 4
    num_draws: ClassVar[int] = 0

    def __init__(self, num_replicas: int, *, switch: int) -> None:
        """Begin at the start.

        Args:
            num_replicas: R.
            switch: moves before the hole moves.
        """
        self.switch = integer("switch", switch, minimum=0, fix="It counts moves.")
        self.states = torch.eye(4)
        self.observed = torch.full((num_replicas,), START)
        self.moves = 0
        self._made = torch.zeros(num_replicas, dtype=torch.int64)

    def step(self, actions: Tensor, draws: Tensor) -> Outcome:
        """Move once in all lakes; nothing is drawn."""
        following = _NEXT[self.observed, actions]
        goal = following == GOAL
        terminal = goal | (following == HOLES[self.moves >= self.switch])
        self._made += 1
        ended = terminal | (self._made >= MOST_MOVES)
        self._made[ended] = 0
        self.observed = following.masked_fill(ended, START)
        self.moves += 1
        return Outcome(goal.float(), following, terminal, ended)
