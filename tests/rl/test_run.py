"""Runs: the same alone and in a stack, the same again, and what priming and exploring do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dashtheory.rl import Arms, DQNConfig, Draws, Record, Run, run_arms

LAKE = DQNConfig(hidden=(8, 8), num_steps=60, replay_ratio=2, rule_every=20, target_every=10, explore_steps=5)
PRIMED = replace(LAKE, prime_steps=15, prime_updates=23, rule_every=0)
RULES = ("warm", "explore", "cold", "dash", "warm:weight_decay=0.1")


@pytest.mark.parametrize("config", [LAKE, PRIMED], ids=["lake", "primed"])
def test_a_replica_in_a_stack_is_the_same_replica_alone(config: DQNConfig) -> None:
    together = Run(config, Arms(rules=RULES, seeds=(0, 1, 2)))
    record = together.go()
    for arm, rule in enumerate(RULES):
        alone = Run(config, Arms(rules=(rule,), seeds=(1,)))
        single, column = alone.go(), arm * 3 + 1
        assert torch.equal(record.rewards[:, column], single.rewards[:, 0])
        assert torch.equal(record.ended[:, column], single.ended[:, 0])
        torch.testing.assert_close(together.agents.weights[column], alone.agents.weights[0], rtol=1e-3, atol=1e-4)


def test_the_same_run_gives_the_same_bits() -> None:
    first, again = (Run(PRIMED, Arms(rules=RULES, seeds=(0, 5))) for _ in "ab")
    assert torch.equal(first.go().rewards, again.go().rewards)
    assert torch.equal(first.agents.weights, again.agents.weights)


def test_after_a_full_reset_a_primed_agent_is_one_that_was_never_primed() -> None:
    reset = Run(PRIMED, Arms(rules=("warm", "reset_full"), seeds=(0, 1)))
    never = Run(replace(PRIMED, prime_updates=0), Arms(rules=("warm",), seeds=(0, 1)))
    assert not torch.equal(reset.agents.weights[:2], never.agents.weights)
    assert torch.equal(reset.go().rewards[:, 2:], never.go().rewards)
    assert torch.equal(reset.agents.weights[2:], never.agents.weights)


def test_arms_share_their_draws_and_explore_draws_more_actions() -> None:
    record = run_arms(LAKE, ("warm", "explore"), (0, 1))
    warm, explore = record.random[:, :2], record.random[:, 2:]
    assert bool((explore | ~warm).all())  # where warm is random, explore is
    after = torch.zeros(60, dtype=torch.bool)
    for moment in (20, 40):
        after[moment : moment + 5] = True
    assert bool(explore[after].all())
    assert torch.equal(explore[~after], warm[~after])
    assert torch.equal(record.rewards[:20, :2], record.rewards[:20, 2:])
    greedy = run_arms(replace(LAKE, epsilon=0.0), ("warm",), (0,))
    assert not greedy.random.any()


def test_draws_do_not_depend_on_blocks_or_on_other_seeds() -> None:
    ahead, single = Draws((3, 4), "replay", (2, 5), block=7), Draws((4,), "replay", (2, 5), block=1)
    for _ in range(20):
        assert torch.equal(ahead.next()[1], single.next()[0])


def test_returns_stand_where_episodes_end() -> None:
    rewards = torch.tensor([[0.0, 1.0], [1.0, -1.0], [2.0, 3.0]])
    ended = torch.tensor([[False, True], [True, False], [False, True]])
    found = Record(rewards, ended, ended).returns()
    expected = torch.tensor([[torch.nan, 1.0], [1.0, torch.nan], [torch.nan, 2.0]])
    assert torch.equal(found.nan_to_num(9), expected.nan_to_num(9))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"environment": "cartpole"}, "environment must be one of lake, acrobot"),
        ({"hidden": ()}, "hidden must be a tuple"),
        ({"replay_ratio": 0}, "replay_ratio must be an integer"),
        ({"epsilon": 1.5}, "epsilon must be a number"),
        ({"prime_updates": 3}, "prime_updates must be 0 without prime_steps"),
        ({"learning_rate": 0.0}, "learning_rate must be a number"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DQNConfig(**values)  # type: ignore[arg-type]
