"""Rules on replicas: the package's own, each on its own replica, with the buffer as its chunks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dashtheory.rl import RL_RULES, Agents, Arms, DQNConfig, Moments, ReDo, Run, parse_arm, td_loss
from dashtheory.rules import Context, Learner, dash_
from tests.oracles import rl

CONFIG = DQNConfig(hidden=(8, 8), num_steps=30, replay_ratio=2, rule_every=0, num_chunks=4, target_every=7)
PLAIN = ("warm", "explore")


def trained(*rules: str, seeds: tuple[int, ...] = (0, 1)) -> Run:
    run = Run(CONFIG, Arms(rules=rules, seeds=seeds))
    run.go()
    return run


def state(agents: Agents, row: int) -> list[Tensor]:
    kept = (agents.weights, agents.target, agents.optimizer.averages, agents.optimizer.squares)
    return [value[row].clone() for value in (*kept, agents.optimizer.counts)]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_rule_changes_its_own_replicas_and_no_other() -> None:
    for rule in RL_RULES:
        run = trained("warm", rule)
        before = [state(run.agents, row) for row in range(4)]
        run.moments.apply(run.agents, run.replay)
        after = [state(run.agents, row) for row in range(4)]
        assert all(same(before[row], after[row]) for row in (0, 1)), rule
        changes = rule not in PLAIN and not (rule == "redo" and same(before[2], after[2]))
        assert same(before[2], after[2]) != changes, rule
        if changes and rule != "warm_rm":
            assert torch.equal(run.agents.target[2], run.agents.weights[2]), rule
        assert all(bool(value.isfinite().all()) for value in after[2])


def test_dash_of_a_replica_is_dash_on_that_network_alone() -> None:
    run = trained("dash:lam=0.05", "warm")
    row, agents = 1, run.agents
    model = agents.shape.module(agents.weights[row])
    target = agents.shape.module(agents.target[row])
    kept, eye = run.replay.all_of(row), torch.eye(4)
    chunks = []
    for places in torch.arange(run.replay.size).tensor_split(4):  # oldest first
        following = eye[kept.following[0, places]]
        best = model(following).argmax(dim=1, keepdim=True)
        later = target(following).detach().gather(1, best)[:, 0] * ~kept.terminal[0, places]
        wanted = torch.stack([kept.actions[0, places].float(), kept.rewards[0, places] + 0.9 * later], dim=1)
        chunks.append((eye[kept.observed[0, places]], wanted))
    report = dash_(model, chunks, td_loss, lam=0.05)
    assert report.num_batches == 4
    run.moments.apply(agents, run.replay)
    assert 0.05 < report.mean_scale < 1
    torch.testing.assert_close(agents.weights[row], flat(model), rtol=1e-5, atol=1e-7)


def test_norm_matched_keeps_directions_and_has_dash_s_norms() -> None:
    run = trained("dash", "norm_matched", seeds=(0,))
    before = run.agents.weights.clone()
    run.moments.apply(run.agents, run.replay)
    layers = zip(*(run.agents.shape.layers(values) for values in (before, run.agents.weights)), strict=True)
    for (first, _), (changed, _) in layers:
        torch.testing.assert_close(changed[0].norm(), changed[1].norm())
        cosine = nn.functional.cosine_similarity(first[1].flatten(), changed[1].flatten(), dim=0)
        assert float(cosine) == pytest.approx(1)


def test_a_new_head_leaves_the_layers_below_and_a_new_optimizer_the_weights() -> None:
    run = trained("reset_last", "warm_rm", "reset_full", seeds=(3,))
    before = run.agents.weights.clone()
    first = Run(CONFIG, Arms(rules=("warm",), seeds=(3,))).agents.weights
    run.moments.apply(run.agents, run.replay)
    start = run.agents.shape.spans[-1][0]
    assert torch.equal(run.agents.weights[0, :start], before[0, :start])
    assert not torch.isclose(run.agents.weights[0, start:], before[0, start:]).any()
    assert run.agents.optimizer.counts[0].tolist() == [60, 60, 0]
    assert torch.equal(run.agents.weights[1], before[1])
    assert run.agents.optimizer.counts[1:].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert torch.equal(run.agents.weights[2], first[0])


def test_redo_resets_dormant_units_as_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sets = [[nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 2)] for _ in "ab"]
    (first, second, _), new = sets
    model, fresh = (nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), c) for a, b, c in sets)
    inputs = torch.randn(40, 3, generator=generator)
    with torch.no_grad():
        first.bias[1] = -50
        second.bias[:2] = -50
    optimizer = torch.optim.Adam(model.parameters())
    model(inputs).square().mean().backward()
    for value in model.parameters():
        optimizer.state[value] = {
            "step": torch.tensor(1.0),
            "exp_avg": torch.ones_like(value),
            "exp_avg_sq": torch.ones_like(value),
        }
    theirs = copy.deepcopy(Learner(model, optimizer))
    layers = [one for one in theirs.model.children() if isinstance(one, nn.Linear)]
    context = Context(
        chunks=lambda: [(inputs[:13], None), (inputs[13:], None)],
        loss_fn=td_loss,
        fresh=lambda: Learner(fresh, optimizer),
        generator=generator,
    )
    scored = model(inputs)
    ReDo(tau=0.1).apply(Learner(model, optimizer), context)
    assert rl.redo(layers, new, theirs.optimizer.state, inputs, 0.1) >= 3
    for ours, other in zip(model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(ours, other)
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state[ours][name], theirs.optimizer.state[other][name])
    with torch.no_grad():  # units that were dead made no difference
        first.bias[1] = -50
        second.bias[:2] = -50
    torch.testing.assert_close(model(inputs), scored, atol=0.3, rtol=0)


def test_what_no_arm_can_be_is_refused_in_one_line() -> None:
    for text, words in (
        ("ewc", "must be one of warm, explore"),
        ("dash:learning_rate=0.1", "must leave the learning rate"),
        ("dash:warmup_epochs=2", "must leave the step size as it is"),
        ("python:mine.py:Mine", "must be one of"),
    ):
        with pytest.raises(ValueError, match=words) as raised:
            parse_arm(text)
        assert "\n" not in str(raised.value)
    for rules, seeds in (((), (0,)), (("warm",), ())):
        with pytest.raises(ValueError, match=r"^(rules|seeds) must hold at least one, got none"):
            Arms(rules=rules, seeds=seeds)
    with pytest.raises(ValueError, match="values that are given"):
        Arms(rules=("warm:weight_decay=tuned",), seeds=(0,))


def test_moments_know_their_seed_whatever_stands_beside_them() -> None:
    both, alone = trained("warm", "sp", seeds=(4, 2)), trained("sp", seeds=(2,))
    for run in (both, alone):
        run.moments.apply(run.agents, run.replay)
    torch.testing.assert_close(both.agents.weights[3], alone.agents.weights[0], rtol=1e-4, atol=1e-5)
    assert isinstance(both.moments, Moments)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in module.parameters()])
