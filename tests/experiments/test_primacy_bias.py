"""Primacy bias: scores by hand, the choice of a decay, and what the toy run must show."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

from dashtheory.experiments import primacy_bias
from dashtheory.experiments.primacy_bias import (
    AFTER_SWITCH,
    RETURN,
    TUNING_SEED,
    PrimacyConfig,
    primacy_jobs,
    run_primacy,
    stage_scores,
    tuned_decay,
)
from dashtheory.record import load_table
from dashtheory.rl import DQNConfig, Record
from tests.experiments.test_simulations import ROOT, script, toy_table

LAKE = DQNConfig(hidden=(4,), num_steps=20, replay_ratio=1, rule_every=10)


def record(successes: Sequence[float]) -> Record:
    """Crossings of two moves each, of one replica."""
    rewards = torch.tensor([value for success in successes for value in (0.0, success)])[:, None]
    ended = torch.tensor([False, True] * len(successes))[:, None]
    return Record(rewards, ended, ended)


def test_scores_are_shares_of_crossings_by_fifth_and_after_the_switch() -> None:
    scores = stage_scores(LAKE, record([1, 1, 0, 0, 0, 0, 0, 0, 1, 0]))
    assert [float(one["success_share"]) for one in scores] == [1, 0, 0, 0, 0.5]
    assert float(scores[-1][AFTER_SWITCH]) == pytest.approx(1 / 8)
    quarters = stage_scores(replace(LAKE, environment="acrobot"), record([-4, -2, -3, -3, -3, -3, -1, -1, -1, 0]))
    assert [float(one[RETURN]) for one in quarters] == [-3, -3, -2, pytest.approx(-2 / 3)]


def test_a_decay_is_chosen_by_the_mean_of_its_own_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def run(agent: DQNConfig, rules: Sequence[str], seeds: Sequence[int]) -> Record:
        asked.append((list(rules), list(seeds)))
        rewards = torch.zeros(20, 6)
        rewards[19] = torch.tensor([0.0, 1, 1, 1, 0, 0])
        ended = torch.zeros(20, 6, dtype=torch.bool)
        ended[1::2] = True
        return Record(rewards, ended, ended)

    monkeypatch.setattr(primacy_bias, "run_arms", run)
    seeds = range(TUNING_SEED, TUNING_SEED + 2)
    assert tuned_decay(LAKE, "warm:weight_decay=tuned", (0.1, 0.2, 0.3), seeds) == 0.2
    assert asked == [([f"warm:weight_decay={decay}" for decay in (0.1, 0.2, 0.3)], list(seeds))]


def test_the_chosen_decay_is_in_the_table_under_the_rule_s_name() -> None:
    rules = ("warm", "warm:weight_decay=tuned")
    table = run_primacy(LAKE, rules, (0.2,), 1, [0, 1], "x", lambda share, text: None)
    assert set(table["rule"]) == set(rules)
    chosen = table[table["metric"] == "chosen_weight_decay"]
    assert chosen["value"].tolist() == [0.2, 0.2]
    assert set(chosen["rule"]) == {"warm:weight_decay=tuned"}


def test_the_toy_run_has_every_point_and_rules_begin_alike(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium", reason="needs the extra rl")
    table = toy_table("primacy_bias", tmp_path)
    lake = table[table["metric"] == AFTER_SWITCH]
    assert lake.groupby(["replay_ratio", "epsilon"]).size().tolist() == [8] * 4
    assert lake["value"].between(0, 1).all()
    firsts = table[(table["metric"] == "success_share") & (table["stage"] == 1)]
    by = firsts.pivot_table(index=["replay_ratio", "epsilon", "seed"], columns="rule", values="value")
    assert (by.nunique(axis=1) == 1).all()  # 12 moves, and the first moment is after 20
    acrobot = table[table["metric"] == RETURN]
    assert set(acrobot["rule"]) == {"warm", "cold", "dash", "permuted", "reset_full"}
    assert acrobot.groupby(["rule", "seed"]).size().tolist() == [4] * 10
    assert acrobot["value"].between(-500, -1).all()


def test_the_figure_says_what_an_agent_reaches_that_is_left_alone() -> None:
    table, _ = load_table(ROOT / "figures" / "primacy_bias.csv")
    figure = script("primacy_bias").draw(table, PrimacyConfig())
    said = [text.get_text().strip() for ax in figure.axes for text in ax.texts]
    plt.close(figure)
    warm = table[table["rule"] == "warm"]
    points = warm[warm["metric"] == AFTER_SWITCH].groupby(["epsilon", "replay_ratio"])["value"].mean()
    last = warm[(warm["metric"] == RETURN) & (warm["stage"] == 4)]["value"].mean()
    assert said == [*(f"{100 * value:.0f}%" for value in points), f"{last:.0f}".replace("-", "−")]


def test_without_gymnasium_the_lake_runs_alone_and_the_error_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ValueError, match=r"dashtheory\[rl\].*acrobot_steps=0"):
        primacy_jobs(PrimacyConfig(), [0], "x")
    assert len(primacy_jobs(PrimacyConfig(acrobot_steps=0), [0], "x")) == 6


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rules": ("cold", "dash")}, "rules must name warm"),
        ({"rules": ("warm", "reset_full")}, "rules must not name reset_full"),
        ({"replay_ratios": ()}, "^replay_ratios must hold at least one value, each once"),
        ({"epsilons": (0.1, 0.1)}, "^epsilons must hold at least one value, each once"),
        ({"acrobot_steps": 10}, "acrobot_steps must be 0 or at least 2000"),
        ({"decays": ()}, "decays must be a number"),
        ({"epsilons": (2.0,)}, "epsilon must be a number"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PrimacyConfig(**values)  # type: ignore[arg-type]
