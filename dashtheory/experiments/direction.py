"""Does it matter which weights DASH shrinks? DASH beside controls without its directions, setting by setting.

Three controls take the direction away and leave the norm of each tensor (`norm_matched`), the factors of a layer,
at random groups (`permuted`), or their mean alone, for all weights (`uniform`). Each setting differs from the
first in one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from dashtheory._check import fail
from dashtheory._nested import flat
from dashtheory._spec import read_options
from dashtheory.deep.config import RunConfig
from dashtheory.deep.presets import ComparisonConfig
from dashtheory.deep.run import run_rule
from dashtheory.parallel import Job, Report
from dashtheory.record.table import COLUMNS, check_table
from dashtheory.rules.spec import rule_options

BASE = "base"
CONTROLS = ("norm_matched", "permuted", "uniform")
SETTINGS = (BASE, "lam=0.05", "width=32", "blocks=2", "learning_rate=0.003")
"""What is changed, one at a time."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting that differs from the first in one value.

    Attributes:
        name: "base", or the value that is changed, as name=value.
        config: of the runs.
        options: of DASH, in place of the published ones.
    """

    name: str
    config: RunConfig
    options: Mapping[str, Any] = field(default_factory=dict)

    def text(self, rule: str) -> str:
        """How a rule is written here."""
        given = [f"{name}={value}" for name, value in self.options.items() if rule != "warm"]
        return f"{rule}:of={'+'.join(['dash', *given])}" if rule == "norm_matched" else ":".join([rule, *given])


@dataclass(frozen=True, kw_only=True)
class DirectionConfig(ComparisonConfig):
    """DASH and its controls in several settings; all else as fits the data, but a network of convolutions.

    Raises:
        ValueError: as `ComparisonConfig`, or if a setting is none, or DASH or all controls are missing.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        **ComparisonConfig.defaults,
        "model": "narrow_resnet",
        "num_chunks": 3,
        "rules": ("warm", "dash", *CONTROLS),
    }

    settings: tuple[str, ...] = field(
        default=SETTINGS,
        metadata={"help": "values of setting, network or DASH to change, one at a time; base: none"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        others = {*CONTROLS, "warm"}
        if not {"dash"} < set(self.rules) <= {"dash", *others}:
            fail("rules", f"must be dash and some of {', '.join(sorted(others))}", ",".join(self.rules), "Choose.")
        if not self.settings or len(set(self.settings)) < len(self.settings):
            fail("settings", "must name at least one, each once", ",".join(self.settings), "Begin with base.")
        _ = self.all_settings

    @cached_property
    def all_settings(self) -> tuple[Setting, ...]:
        """The settings, made."""
        return tuple(self._setting(text) for text in self.settings)

    def _setting(self, text: str) -> Setting:
        plain = RunConfig.of(**{name: value for name, value in flat(self).items() if name != "settings"})
        if text == BASE:
            return Setting(name=text, config=plain)
        ((name, value),) = read_options("settings", [text]).items()
        if name in rule_options("uniform"):
            return Setting(name=text, config=plain, options={name: value})
        if name in flat(plain):
            return Setting(name=text, config=plain.with_values(**{name: value}))
        others = tuple(option for option in plain.model.options if not option.startswith(f"{name}="))
        return Setting(name=text, config=plain.with_values(model_options=(*others, text)))


def setting_jobs(config: DirectionConfig, seeds: list[int], experiment: str) -> list[Job]:
    """A job per setting, rule and seed; those of a seed share data, first initialisation and order.

    Args:
        config: the settings.
        seeds: root seeds.
        experiment: name for the tables.
    """
    return [
        Job(
            name=f"{setting.name}-{rule}-seed{seed}",
            function=run_in_setting,
            arguments={
                "config": setting.config.alone(setting.text(rule)),
                "setting": setting.name,
                "rule": rule,
                "text": setting.text(rule),
                "seed": seed,
                "experiment": experiment,
            },
            resumable=True,
        )
        for seed in seeds
        for setting in config.all_settings
        for rule in config.rules
    ]


def run_in_setting(
    config: RunConfig,
    setting: str,
    rule: str,
    text: str,
    seed: int,
    experiment: str,
    report: Report,
    folder: Path | None = None,
) -> pd.DataFrame:
    """Run one rule in one setting.

    Args:
        config: of the setting.
        setting: its name, a coordinate of the table.
        rule: its name in the table.
        text: how it is written here.
        seed: root seed.
        experiment: name for the table.
        report: told of progress.
        folder: of checkpoints.

    Returns:
        tidy table as that of `dashtheory.deep.run.run_rule`, with a coordinate `setting`.
    """
    table = run_rule(config, text, seed, experiment, report, folder)
    kept = table.attrs
    found = check_table(table[list(COLUMNS)].assign(rule=rule, setting=setting), "rows")
    found.attrs |= kept
    return found
