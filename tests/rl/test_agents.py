"""Targets and updates: by hand, and as one agent of torch would take them."""

from __future__ import annotations

import torch
from torch import Tensor

from dashtheory.rl import Agents, DQNConfig, Lake, Transitions, td_loss
from dashtheory.rl.agents import first_weights, shape_of
from tests.oracles import rl

CONFIG = DQNConfig(hidden=(6, 5), batch_size=8, target_every=3, learning_rate=0.02)


def agents(number: int, config: DQNConfig = CONFIG) -> Agents:
    lake = Lake(number, switch=10)
    weights = first_weights(shape_of(config, lake), range(number)).double()
    made = Agents(config, lake, weights, weight_decay=torch.zeros(number))
    made._states = torch.eye(4, dtype=torch.float64)
    return made


def batch(number: int, size: int, seed: int = 0) -> Transitions:
    generator = torch.Generator().manual_seed(seed)

    def draw(most: int) -> Tensor:
        return torch.randint(most, (number, size), generator=generator)

    return Transitions(draw(4), draw(4), draw(2).double(), draw(4), draw(2).bool())


def one(found: Transitions, row: int) -> list[tuple[Tensor, int, float, Tensor, bool]]:
    """The batch of a replica, transition by transition, states as one-hot vectors."""
    eye = torch.eye(4, dtype=torch.float64)
    lists = [value[row].tolist() for value in found.tensors()]
    return [(eye[s], int(a), float(r), eye[f], bool(t)) for s, a, r, f, t in zip(*lists, strict=True)]


def test_the_target_takes_the_value_that_the_target_network_gives_to_the_network_s_choice() -> None:
    made = agents(1, DQNConfig(hidden=(1,), discount=0.5))
    for weights, values in ((made.weights, [1.0, 9.0, 2.0, 3.0]), (made.target, [40.0, 10.0, 30.0, 20.0])):
        weights.zero_()
        made.shape.layers(weights)[-1][1].copy_(torch.tensor([values]))
    found = Transitions(*(torch.tensor([row]) for row in ([0, 0], [1, 2], [1.0, 1.0], [3, 3], [False, True])))
    # The network prefers action 1, to which the target network gives 10 (its own best is 40).
    assert made.targets(found).tolist() == [[1 + 0.5 * 10, 1.0]]


def test_updates_are_those_of_one_agent_alone_with_autograd() -> None:
    made = agents(3)
    learners = [made.learner(row) for row in range(3)]
    targets = [made.shape.module(row) for row in made.target]
    for update in range(1, 8):
        found = batch(3, CONFIG.batch_size, update)
        wanted = made.targets(found)
        made.update(found)
        for row, learner in enumerate(learners):
            theirs = rl.double_q_step(learner.model, targets[row], learner.optimizer, one(found, row), 0.9)
            torch.testing.assert_close(wanted[row].tolist(), theirs, rtol=1e-6, atol=1e-8)
            if update % CONFIG.target_every == 0:
                targets[row].load_state_dict(learner.model.state_dict())
    for row, learner in enumerate(learners):
        flat = torch.cat([value.detach().flatten() for value in learner.model.parameters()])
        torch.testing.assert_close(made.weights[row], flat, rtol=1e-6, atol=1e-8)


def test_the_target_network_stays_until_its_time_has_come() -> None:
    made = agents(2)
    first = made.target.clone()
    for update in range(1, 7):
        made.update(batch(2, 8, update))
        if update % 3 == 0:
            assert torch.equal(made.target, made.weights)
            first = made.target.clone()
        else:
            assert torch.equal(made.target, first)
            assert not torch.equal(made.target, made.weights)


def test_what_rules_minimize_is_what_agents_minimize() -> None:
    made, found = agents(1), batch(1, 8)
    wanted = torch.stack([found.actions[0].double(), made.targets(found)[0]], dim=1)
    learner = made.learner(0)
    td_loss(learner.model(torch.eye(4, dtype=torch.float64)[found.observed[0]]), wanted).backward()
    theirs = torch.cat([value.grad.flatten() for value in learner.model.parameters() if value.grad is not None])
    made.update(found)
    torch.testing.assert_close(made._gradient[0], theirs)


def test_the_best_action_is_that_of_the_largest_value() -> None:
    made = agents(3)
    observed = torch.tensor([0, 3, 2])
    for row, state in enumerate(observed.tolist()):
        values = made.learner(row).model(torch.eye(4, dtype=torch.float64)[state])
        assert int(made.greedy(observed)[row]) == int(values.argmax())
