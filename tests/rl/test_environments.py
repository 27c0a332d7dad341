"""Environments of many replicas are the single ones: a lake written down naively, and gymnasium's Acrobot."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from dashtheory.rl import Acrobot, Lake
from tests.oracles import rl


def test_every_lake_is_the_one_of_the_naive_loop() -> None:
    switch, steps, replicas = 40, 90, 6
    moves = torch.randint(4, (steps, replicas), generator=torch.Generator().manual_seed(0))
    lake, none = Lake(replicas, switch=switch), torch.empty(replicas, 0)
    found: list[list[tuple[object, ...]]] = [[] for _ in range(replicas)]
    for row in moves:
        before = lake.observed
        outcome = lake.step(row, none)
        kept = (before, outcome.reward, outcome.following, outcome.terminal, outcome.ended)
        for replica in range(replicas):
            found[replica].append(tuple(value[replica].item() for value in kept))
    for replica in range(replicas):
        assert found[replica] == rl.cross(moves[:, replica].tolist(), switch), replica


def test_the_answer_becomes_the_opposite() -> None:
    down_right, right_down = torch.tensor([[1, 2], [2, 1]]).unbind(0)
    for switch, answer in ((100, down_right), (0, right_down)):
        lake, none = Lake(1, switch=switch), torch.empty(1, 0)
        first, second = (lake.step(move[None], none) for move in answer)
        assert not first.ended
        assert second.reward == 1
        assert second.terminal


def test_acrobots_move_as_gymnasium_s_does() -> None:
    gymnasium = pytest.importorskip("gymnasium", reason="needs the extra rl")
    steps, replicas = 60, 4
    draws = torch.rand(replicas, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = Acrobot(draws)
    theirs = [gymnasium.make("Acrobot-v1").unwrapped for _ in range(replicas)]
    for replica, one in enumerate(theirs):
        one.reset(seed=replica)
        one.state = ours.state[replica].numpy().copy()
        one.state[2:] = ours.state[replica, 2:].numpy() + replica  # some of them fast
        ours.state[replica] = torch.from_numpy(one.state)
    actions = torch.randint(3, (steps, replicas), generator=torch.Generator().manual_seed(1))
    for row in actions:
        outcome = ours.step(row, draws)
        for replica, one in enumerate(theirs):
            observed, reward, terminated, _, _ = one.step(int(row[replica]))
            np.testing.assert_allclose(outcome.following[replica].numpy(), observed, atol=1e-6)
            assert float(outcome.reward[replica]) == reward
            assert bool(outcome.terminal[replica]) == terminated
            if terminated:
                one.state = ours.state[replica].numpy().copy()
            np.testing.assert_allclose(ours.state[replica].numpy(), one.state, atol=1e-6)


def test_an_episode_of_acrobot_ends_at_its_line_or_its_limit() -> None:
    pytest.importorskip("gymnasium", reason="needs the extra rl")
    acrobot = Acrobot(torch.full((2, 4), 0.5))
    acrobot.state[1] = torch.tensor([3.1, 0.0, 0.0, 0.0])  # upright: above the line
    start = torch.tensor([[0.0, 0.25, 0.5, 0.75]] * 2)
    outcome = acrobot.step(torch.tensor([1, 1]), start)
    assert outcome.terminal.tolist() == outcome.ended.tolist() == [False, True]
    assert outcome.reward.tolist() == [-1, 0]
    torch.testing.assert_close(acrobot.state[1], torch.tensor([-0.1, -0.05, 0.0, 0.05], dtype=torch.float64))
    assert not torch.equal(outcome.following[1], acrobot.observed[1])  # what is learned from is what it led to
    for _ in range(acrobot.most_steps - 1):
        assert not outcome.ended[0]
        outcome = acrobot.step(torch.tensor([1, 1]), start)
    assert bool(outcome.ended[0])
    assert not outcome.terminal[0]


def test_without_gymnasium_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ValueError, match=r"gymnasium.*dashtheory\[rl\]"):
        Acrobot(torch.rand(1, 4))
    Lake(1, switch=3)
