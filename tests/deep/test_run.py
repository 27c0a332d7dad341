"""The runner: one rule on one seed's stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from dashtheory.deep import run as run_module
from dashtheory.deep.config import RunConfig
from dashtheory.deep.presets import ComparisonConfig
from dashtheory.deep.run import rule_jobs, run_rule
from dashtheory.deep.task import make_source, make_task
from dashtheory.protocol.optimizers import make_optimizer
from dashtheory.protocol.tuning import tune
from dashtheory.record import COMPLETE, DEVICE
from dashtheory.record.results import identity_of
from dashtheory.rules import make_rule
from dashtheory.rules.spec import parse_rule, parse_spec

MLP: dict[str, Any] = {
    "model": "mlp",
    "model_options": ("widths=16+16",),
    "num_chunks": 2,
    "chunk_size": 60,
    "num_test": 100,
}
FAST: dict[str, Any] = {**MLP, "batch_size": 16, "max_epochs": 6, "learning_rate": 0.1}


def silent(share: float, text: str) -> None:
    """No progress."""


def test_a_spec_has_options_of_the_rule_and_of_its_training() -> None:
    spec = parse_spec("dash:lam=0.05:weight_decay=1e-3:alpha=1")
    assert spec.rule == make_rule("dash", lam=0.05, alpha=1)
    assert (spec.training, spec.tuned) == ({"weight_decay": 1e-3}, "")
    tuned = parse_spec("cold:learning_rate=tuned:weight_decay=0")
    assert (tuned.rule, tuned.training, tuned.tuned) == (make_rule("cold"), {"weight_decay": 0.0}, "learning_rate")
    assert parse_rule("sp:shrink=0.5") == make_rule("sp", shrink=0.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "cold:weight_decay=tuned:learning_rate=tuned",
            "rule cold may have one tuned option, got learning_rate and",
        ),
        ("cold:weight_decay=-1", r"weight_decay must be a number in \[0, inf\), got -1. Or say tuned"),
        ("cold:learning_rate=0", r"learning_rate must be a number in \(0, inf\)"),
        ("cold:weight_decay=much", "weight_decay must be a number"),
        ("cold:momentum=0.5", "options of rule cold must be among none"),
        ("cold:warmup_epochs=1.5", "warmup_epochs must be an integer"),
        ("cold:warmup_epochs=-1", "warmup_epochs must be an integer >= 0, got -1"),
        ("cold:weight_decay=0:warmup_epochs=tuned", r"warmup_epochs must be an integer.* it cannot be tuned"),
    ],
)
def test_bad_specs_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_spec(spec).make()


def test_a_rule_alone_has_no_training() -> None:
    with pytest.raises(ValueError, match="rule must have options of the rule alone"):
        parse_rule("cold:weight_decay=0.1")
    with pytest.raises(ValueError, match="rule must have options of the rule alone"):
        parse_rule("cold:weight_decay=tuned")


@pytest.mark.parametrize(("option", "value"), [("weight_decay", 0.05), ("warmup_epochs", 3)])
def test_training_options_of_a_spec_are_the_run_s_for_that_rule(option: str, value: float) -> None:
    own = run_rule(RunConfig.of(**FAST), f"warm:{option}={value}", 0, "x", silent)
    whole = run_rule(RunConfig.of(**FAST, **{option: value}), "warm", 0, "x", silent)
    plain = run_rule(RunConfig.of(**FAST), "warm", 0, "x", silent)
    assert own["value"].tolist() == whole["value"].tolist()
    assert own["value"].tolist() != plain["value"].tolist()


def test_a_rule_may_go_without_the_run_s_warm_up_or_needs_more_epochs_than_that() -> None:
    warmed = RunConfig.of(**FAST, warmup_epochs=3)
    without = run_rule(warmed, "warm:warmup_epochs=0", 0, "x", silent)
    plain = run_rule(RunConfig.of(**FAST), "warm", 0, "x", silent)
    assert without["value"].tolist() == plain["value"].tolist()
    with pytest.raises(ValueError, match=r"^anneal must last longer than the warm-up, got 4 with a warm-up of 5"):
        RunConfig.of(**FAST, anneal=4, rules=("warm", "warm:warmup_epochs=5"))


def test_the_chosen_value_is_in_the_table_and_is_what_was_run() -> None:
    config = RunConfig.of(**FAST, decays=(0.0, 0.02, 5.0))
    table = run_rule(config, "cold:weight_decay=tuned", 0, "x", silent)
    chosen = set(table[table["metric"] == "chosen_weight_decay"]["value"])
    assert len(chosen) == 1
    again = run_rule(config, f"cold:weight_decay={chosen.pop()}", 0, "x", silent)
    assert table[table["metric"] != "chosen_weight_decay"]["value"].tolist() == again["value"].tolist()
    assert set(again["metric"]) == set(table["metric"]) - {"chosen_weight_decay"}


def test_each_option_is_tuned_over_its_own_values_as_tune_says() -> None:
    config = RunConfig.of(**FAST, decays=(0.0, 0.02, 5.0), rates=(0.001, 0.2))
    source = make_source(config, 3)
    for spec, name, values, others in (
        ("cold:weight_decay=tuned", "weight_decay", config.training.decays, {}),
        ("cold:learning_rate=tuned:weight_decay=3", "learning_rate", config.training.rates, {"weight_decay": 3.0}),
    ):
        told: list[str] = []
        table = run_rule(config, spec, 3, "x", lambda share, text, told=told: told.append(text))  # type: ignore[misc]
        scores: list[float] = []
        chosen = tune(
            source.stream,
            lambda value, name=name, others=others: make_task(config, source, **{**others, name: value}),  # type: ignore[misc]
            config.training,
            values,
            seed=3,
            on_candidate=lambda value, score, scores=scores: scores.append(score),  # type: ignore[misc]
        )
        assert set(table[table["metric"] == f"chosen_{name}"]["value"]) == {chosen}
        assert told[: len(values)] == [
            f"{name} {value:g}: held-out accuracy {100 * score:.1f}%"
            for value, score in zip(values, scores, strict=True)
        ]


def test_progress_rises_within_a_run_and_never_beyond_it() -> None:
    told: list[tuple[float, str]] = []
    run_rule(RunConfig.of(**{**FAST, "num_chunks": 3}), "warm", 0, "x", lambda *one: told.append(one))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    for stage in (1, 2, 3):  # a stage is as long as its data: 1, 2 and 3 parts of 6
        own = [share for share, text in told if text.startswith(f"stage {stage}/3,")]
        assert stage * (stage - 1) / 12 < min(own) <= max(own) < stage * (stage + 1) / 12


def test_checkpoints_of_another_seed_rule_or_setting_are_refused(tmp_path: Path) -> None:
    config = RunConfig.of(**FAST)
    table = run_rule(config, "warm", 0, "x", silent, tmp_path)
    for other, rule, seed in (
        (config, "warm", 1),
        (config, "cold", 0),
        (RunConfig.of(**FAST, rho=1.0), "warm", 0),
    ):
        with pytest.raises(ValueError, match="must be of this run and stage"):
            run_rule(other, rule, seed, "x", silent, tmp_path)
    told: list[str] = []
    newest = max(tmp_path.glob("*.checkpoint"))
    newest.write_bytes(newest.read_bytes()[:-1])
    again = run_rule(config, "warm", 0, "x", lambda share, text: told.append(text), tmp_path)
    assert again.equals(table)
    assert str(newest) in told[0]
    assert told[1].startswith("stage 2/2")


def test_spans_of_measures_are_their_own() -> None:
    table = run_rule(
        RunConfig.of(**{**FAST, "threshold": 1.0, "batch_size": 64}, retention=1, alignment=3, gradients=True),
        "warm",
        0,
        "x",
        silent,
    )
    names = set(table[table["stage"] == 2]["metric"])
    assert {name for name in names if "_epoch" in name and "reestimated" not in name} == {
        *(f"old_accuracy_epoch{epoch}" for epoch in (0, 1)),
        *(f"alignment_epoch{epoch}" for epoch in (0, 1, 2, 3)),
    }
    assert {f"gradient_norm_{part}" for part in ("old", "new", "all")} < names


def test_the_optimizer_is_that_of_the_configuration() -> None:
    options: dict[str, Any] = {"learning_rate": 0.02, "momentum": 0.3, "weight_decay": 0.004}
    for name in ("sgd", "sam"):
        config = RunConfig.of(**{**MLP, **options}, optimizer=name, rho=0.7)
        made = make_task(config, make_source(config, 0)).fresh(torch.Generator().manual_seed(0)).optimizer
        same = make_optimizer(name, [nn.Parameter(torch.zeros(1))], rho=0.7, **options)
        settings = [
            {key: value for key, value in each.param_groups[0].items() if key != "params"} for each in (made, same)
        ]
        assert settings[0] == settings[1]
        assert settings[0]["momentum"] == 0.3
        if name == "sam":
            assert settings[0]["rho"] == 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "text"}, "model must fit the data, got narrow_resnet for text"),
        ({"model": "transformer"}, "model must fit the data, got transformer for digits"),
        (
            {"data": "text", "model": "transformer", "label_noise": 0.1},
            "label_noise and balanced must be off for text",
        ),
        (
            {"data": "text", "model": "transformer", "balanced": True},
            "label_noise and balanced must be off for text",
        ),
        (
            {"data": "python:mine.py:stream", "label_noise": 0.1},
            "label_noise and balanced must be off for your own stream",
        ),
        (
            {"model_options": ("height=",)},
            "options of model narrow_resnet must be name=value, each once, got 'height='",
        ),
        ({"model_options": ("height=3",)}, "model_options of model narrow_resnet must be among"),
        ({"rules": ("cold:weight_decay=tuned",), "decays": ()}, "decays and rates must offer a weight_decay"),
        ({"rates": (0.0,)}, "rates must be a number in"),
        (
            {"chunk_size": 103, "batch_size": 46, "rules": ("cold:weight_decay=tuned",)},
            "batch_size must leave no last batch",
        ),
        ({"decays": (-1.0,)}, "decays must be a number in"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig.of(**options)


def test_wall_time_is_measured_on_request_alone() -> None:
    plain = run_rule(RunConfig.of(**FAST), "dash", 0, "x", silent)
    timed = run_rule(RunConfig.of(**FAST, seconds=True), "dash", 0, "x", silent)
    names = {"rule_seconds", "train_seconds"}
    assert set(timed["metric"]) - set(plain["metric"]) == names
    assert (timed[timed["metric"].isin(names)]["value"] >= 0).all()
    assert (timed[timed["metric"] == "train_seconds"]["value"] > 0).all()
    assert timed[~timed["metric"].isin(names)]["value"].tolist() == plain["value"].tolist()


def test_a_table_says_whether_it_is_whole_and_what_computed_it() -> None:
    config = RunConfig.of(**FAST)
    whole, part = run_rule(config, "warm", 0, "x", silent), run_rule(config, "warm", 0, "x", silent, num_stages=1)
    assert [one.attrs[COMPLETE] for one in (whole, part)] == [True, False]
    assert {one.attrs[DEVICE] for one in (whole, part)} == {"cpu"}
    pd.testing.assert_frame_equal(part, whole[whole["stage"] == 1], check_exact=True)


def test_a_run_is_known_by_the_kind_of_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the word auto, nor by the number of a device among several."""
    monkeypatch.setattr(run_module, "find_device", lambda name: {"auto": "cuda", "cuda": "cuda"}.get(name, name))
    jobs = [
        rule_jobs(RunConfig.of(**FAST, device=name), [0], "x")[0] for name in ("auto", "cuda", "cuda:1", "cpu")
    ]
    devices = [job.arguments["device"] for job in jobs]
    assert devices == ["cuda", "cuda", "cuda:1", "cpu"]
    known = [identity_of(job, {})["setting"] for job in jobs]
    assert known[0] == known[1] == known[2] != known[3]


def test_a_run_does_not_depend_on_rules_beside_it_or_on_the_title() -> None:
    alone = RunConfig.of(**FAST, rules=("warm",))
    beside = RunConfig.of(**FAST, rules=("cold", "warm"), data_name="ours")
    (job,), (_, same) = rule_jobs(alone, [3], "x"), rule_jobs(beside, [3], "y", num_stages=1, deadline=5.0)
    assert identity_of(job, {}) == identity_of(same, {})
    other = ComparisonConfig.of(**{**FAST, "data": "digits", "rules": ("warm",)})
    assert type(rule_jobs(other, [3], "x")[0].arguments["config"]) is RunConfig


def test_known_wrong_labels_are_followed_on_request_and_change_nothing() -> None:
    plain = run_rule(RunConfig.of(**FAST, label_noise=0.2), "warm", 0, "x", silent)
    followed = run_rule(RunConfig.of(**FAST, label_noise=0.2, canaries=True), "warm", 0, "x", silent)
    new = set(followed["metric"]) - set(plain["metric"])
    assert new == {f"canary_accuracy{when}{how}" for when in ("", "_at_start") for how in ("", "_reestimated")}
    assert followed[~followed["metric"].isin(new)]["value"].tolist() == plain["value"].tolist()


def test_bytes_are_those_of_the_rule_and_of_the_optimizer() -> None:
    config, kept = RunConfig.of(**FAST, memory=True), {}
    for rule in ("warm", "l2_init", "warm:learning_rate=0.2"):
        table = run_rule(config, rule, 0, "x", silent)
        kept[rule] = [set(table[table["metric"] == f"{whose}_bytes"]["value"]) for whose in ("rule", "optimizer")]
    source = make_source(config, 0)
    model = make_task(config, source).fresh(torch.Generator()).model
    weights = sum(value.numel() for value in model.parameters())
    layers = sum(
        value.numel() for one in model.modules() if isinstance(one, nn.Linear) for value in one.parameters()
    )
    assert kept["warm"] == kept["warm:learning_rate=0.2"] == [{0.0}, {4.0 * weights}]
    assert kept["l2_init"] == [{4.0 * layers}, {4.0 * weights}]
