"""R double DQN agents that learn together: values, targets, updates, and one agent as a learner of the package."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashtheory.rl.config import DQNConfig
from dashtheory.rl.environment import Environment
from dashtheory.rl.replay import Transitions
from dashtheory.rl.stack import Adam, Shape, backward, forward
from dashtheory.rules.rule import Learner
from dashtheory.seeds import torch_stream


def td_loss(values: Tensor, target: Tensor) -> Tensor:
    """Mean Huber loss of the values of actions that were taken, against fixed targets.

    Args:
        values: of all actions, (n, actions).
        target: (n, 2): the action that was taken, and its target.
    """
    taken = values.gather(1, target[:, :1].long())
    return functional.smooth_l1_loss(taken, target[:, 1:].to(values.dtype))


class Agents:
    """Networks, target networks and optimizers of R replicas.

    Attributes:
        config: of all.
        shape: of the networks.
        weights: (R, P).
        target: weights of the target networks, (R, P).
        optimizer: of all.
        updates: so far.
    """

    def __init__(
        self, config: DQNConfig, environment: Environment, weights: Tensor, *, weight_decay: Tensor
    ) -> None:
        """Begin at given weights.

        Args:
            config: of all.
            environment: whose observations the networks take.
            weights: first weights, (R, P); copied.
            weight_decay: of each replica, (R,).
        """
        self.config, self.shape = config, shape_of(config, environment)
        self.weights, self.target = weights.clone(), weights.clone()
        self.optimizer = Adam(
            self.shape, self.weights, learning_rate=config.learning_rate, weight_decay=weight_decay
        )
        self.updates = 0
        self._states = environment.states
        self._gradient = torch.zeros_like(self.weights)

    def of(self, rows: Tensor, weight_decay: Tensor) -> Agents:
        """Copies of these replicas, each with a weight decay of its own from now on."""
        copy = object.__new__(Agents)
        copy.config, copy.shape, copy.updates, copy._states = self.config, self.shape, self.updates, self._states
        copy.weights, copy.target = self.weights[rows], self.target[rows]
        copy.optimizer = Adam(
            self.shape, copy.weights, learning_rate=self.config.learning_rate, weight_decay=weight_decay
        )
        for name in ("averages", "squares", "counts"):
            setattr(copy.optimizer, name, getattr(self.optimizer, name)[rows])
        copy._gradient = torch.zeros_like(copy.weights)
        return copy

    def greedy(self, observed: Tensor) -> Tensor:
        """Actions of the largest value, int64 (R,), for what is observed, (R,) or (R, features)."""
        inputs, rows = self._seen(observed[:, None])
        values = forward(self.shape, self.weights, inputs)[0]
        best: Tensor = values.argmax(dim=2).gather(1, rows)[:, 0]
        return best

    def targets(self, batch: Transitions) -> Tensor:
        """Targets r + discount Q_target(s', argmax_a Q(s', a)), r alone after a terminal step; (R, n)."""
        inputs, rows = self._seen(batch.following)
        best = forward(self.shape, self.weights, inputs)[0].argmax(dim=2, keepdim=True)
        values = forward(self.shape, self.target, inputs)[0].gather(2, best)[:, :, 0].gather(1, rows)
        return batch.rewards + self.config.discount * values.masked_fill(batch.terminal, 0)

    def update(self, batch: Transitions) -> None:
        """One step of Adam on `td_loss`, and a new target network when its time has come."""
        wanted = self.targets(batch)
        inputs, rows = self._seen(batch.observed)
        values, entering = forward(self.shape, self.weights, inputs)
        places = rows * values.shape[2] + batch.actions
        error = values.flatten(1).gather(1, places) - wanted
        slope = torch.zeros_like(values).flatten(1)
        slope.scatter_add_(1, places, error.clamp_(-1, 1).div_(error.shape[1]))
        backward(self.shape, self.weights, entering, slope.view_as(values), self._gradient)
        self.optimizer.step(self.weights, self._gradient)
        self.updates += 1
        if self.updates % self.config.target_every == 0:
            self.target.copy_(self.weights)

    def _seen(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (R, n, features), and which of them each observation (R, b) is.

        Of finitely many states, each is one input however often it is observed.
        """
        if self._states is not None:
            return self._states.expand(len(observed), -1, -1), observed
        return observed, torch.arange(observed.shape[1]).expand(len(observed), -1)

    def learner(self, row: int) -> Learner:
        """A replica as a network of torch with torch's Adam: copies."""
        module = self.shape.module(self.weights[row])
        return Learner(module, self.optimizer.twin(row, module))

    def take(self, row: int, learner: Learner) -> None:
        """Put a learner in the place of a replica; if its weights are others, its target network becomes it."""
        module = learner.model
        assert isinstance(module, nn.Sequential)
        found = torch.cat([value.detach().flatten() for value in module.parameters()])
        self.optimizer.take(row, module, learner.optimizer)
        if not torch.equal(found, self.weights[row]):
            self.weights[row] = found
            self.target[row] = found

    def chunks(self, row: int, kept: Transitions) -> list[tuple[Tensor, Tensor]]:
        """The buffer of a replica as chunks for `td_loss`: oldest first, `num_chunks` parts of near equal length.

        Targets are those of the moment, from the replica's two networks.

        Args:
            row: the replica.
            kept: all that it has, R = 1.
        """
        alone = self.of(torch.tensor([row]), self.optimizer.weight_decay[row : row + 1])
        wanted = torch.stack([kept.actions[0].to(self.weights.dtype), alone.targets(kept)[0]], dim=1)
        inputs = kept.observed[0] if self._states is None else self._states[kept.observed[0]]
        number = min(self.config.num_chunks, len(inputs))
        return list(zip(inputs.tensor_split(number), wanted.tensor_split(number), strict=True))


def shape_of(config: DQNConfig, environment: Environment) -> Shape:
    """The shape of networks for an environment."""
    return Shape((environment.num_features, *config.hidden, environment.num_actions))


def first_weights(shape: Shape, seeds: Sequence[int]) -> Tensor:
    """Weights (seeds, P) that runs begin with."""
    return torch.stack([shape.draw(torch_stream(seed, "init")) for seed in seeds])
