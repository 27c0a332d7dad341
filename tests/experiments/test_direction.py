"""Settings that differ in one value, and runs in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dashtheory._nested import flat
from dashtheory.deep.config import RunConfig
from dashtheory.deep.run import run_rule
from dashtheory.experiments.direction import BASE, DirectionConfig, run_in_setting, setting_jobs
from dashtheory.record import load_results
from dashtheory.rules.spec import parse_rule
from tests.experiments.test_simulations import toy_table

SMALL: dict[str, Any] = {
    "data": "digits",
    "model_options": ("width=4",),
    "num_chunks": 2,
    "chunk_size": 40,
    "num_test": 60,
    "batch_size": 16,
    "max_epochs": 3,
}
SETTINGS = (BASE, "lam=0.05", "width=2", "blocks=2", "learning_rate=0.1")


def silent(share: float, text: str) -> None:
    """No progress."""


def test_each_setting_differs_from_the_first_in_one_value() -> None:
    config = DirectionConfig.of(**SMALL, settings=SETTINGS)
    base, *others = config.all_settings
    changed = [
        {name: value for name, value in flat(one.config).items() if value != flat(base.config)[name]}
        for one in others
    ]
    assert changed == [
        {},
        {"model_options": ("width=2",)},
        {"model_options": ("width=4", "blocks=2")},
        {"learning_rate": 0.1},
    ]
    assert [dict(one.options) for one in config.all_settings] == [{}, {"lam": 0.05}, {}, {}, {}]


def test_an_option_of_dash_is_that_of_all_its_controls() -> None:
    config = DirectionConfig.of(**SMALL, settings=("lam=0.05",))
    (setting,) = config.all_settings
    texts = {rule: setting.text(rule) for rule in config.rules}
    assert texts.pop("warm") == "warm"
    for rule, text in texts.items():
        made: Any = parse_rule(text)
        assert (made.rule() if rule == "norm_matched" else made).lam == 0.05, text


def test_a_run_in_a_setting_is_that_run_under_the_rule_s_plain_name() -> None:
    config = DirectionConfig.of(**SMALL, settings=SETTINGS, rules=("dash", "uniform"))
    jobs = {job.name: job for job in setting_jobs(config, [3], "x")}
    assert len(jobs) == len(SETTINGS) * 2
    arguments: Any = jobs["lam=0.05-uniform-seed3"].arguments
    table = run_in_setting(**arguments, report=silent)
    expected = run_rule(
        RunConfig.of(**{name: value for name, value in flat(config).items() if name != "settings"}),
        "uniform:lam=0.05",
        3,
        "x",
        silent,
    )
    assert set(table["rule"]) == {"uniform"}
    assert set(table["setting"]) == {"lam=0.05"}
    columns = ["seed", "stage", "metric", "value"]
    pd.testing.assert_frame_equal(table[columns], expected[columns], check_exact=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": ("warm", "uniform")}, "rules must be dash and some of norm_matched, permuted, uniform, warm"),
        ({"rules": ("dash", "sp")}, "rules must be dash and some of"),
        ({"settings": ()}, "settings must name at least one, each once"),
        ({"settings": ("width=2", "width=2")}, "settings must name at least one, each once"),
        ({"settings": ("depth=2",)}, "model_options of model narrow_resnet must be among"),
        ({"settings": ("lam",)}, "options of settings must be name=value"),
    ],
)
def test_bad_settings_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DirectionConfig.of(**{**SMALL, **options})


def test_settings_may_begin_with_other_weights_and_rules_of_a_setting_may_not(tmp_path: Path) -> None:
    """A width of its own draws other first weights; the script runs them side by side."""
    table = toy_table("direction", tmp_path)
    assert set(table["setting"]) == {"base", "lam=0.05", "width=2", "learning_rate=0.1"}
    results = load_results(tmp_path / "direction.csv")
    first = {name: run["origin"]["first weights"] for name, run in results.runs.items()}
    for seed in (0, 1):
        assert len({bits for name, bits in first.items() if name.endswith(f"seed{seed}")}) == 2
        assert first[f"width=2-dash-seed{seed}"] == first[f"width=2-warm-seed{seed}"]
    assert not any(any(results.stranger(name)) for name in results.runs)
    changed = {**results.runs["width=2-dash-seed0"], "origin": {"first weights": "others"}}
    strange = dataclasses.replace(results, runs={**results.runs, "width=2-dash-seed0": changed})
    other, what = strange.stranger("width=2-dash-seed0")
    assert other.startswith("width=2-")
    assert what == "first weights"
