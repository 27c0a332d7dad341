"""The pages with numbers, and how these are taken from the committed tables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd

from dashtheory.record import paired_differences, summarize

ROOT = Path(__file__).parents[2]
README, RESULTS, BENCHMARKS = (
    (ROOT / name).read_text() for name in ("README.md", "docs/results.md", "docs/benchmarks.md")
)


def measured(table: pd.DataFrame, metric: str, scale: float = 1.0) -> dict[tuple[str, int, int], float]:
    """By rule, seed and stage."""
    rows = table[table["metric"] == metric][["rule", "seed", "stage", "value"]].to_numpy()
    return {(rule, seed, stage): scale * value for rule, seed, stage, value in rows}


def asked(section: str) -> dict[tuple[str, int, str], set[int]]:
    """Stages that the commands of a section run, by rule, seed and further options.

    Each is a piece of code with --rules and --stages, of seed 0 alone where it names no others. A cold start may
    leave stages out.
    """
    found: dict[tuple[str, int, str], set[int]] = {}
    for code in re.findall(r"`([^`]*--rules[^`]*)`", section):
        words = shlex.split(code)
        words = words[words.index("--rules") :]
        options = dict(zip(words[::2], words[1::2], strict=True))
        rules, stages = options.pop("--rules"), [int(stage) for stage in options.pop("--stages").split(",")]
        first, count = int(options.pop("--first-seed", "0")), int(options.pop("--seeds", "1"))
        options.pop("--budget", None)
        more = " ".join(f"{name} {value}" for name, value in options.items())
        for rule in rules.split(","):
            for seed in range(first, first + count):
                found.setdefault((rule, seed, more), set()).update(
                    stages if len(stages) > 1 else range(1, stages[0] + 1)
                )
    return found


def rows_not_asked(section: str, table: pd.DataFrame, more: str = "") -> list[str]:
    """Rows of a table that its commands do not make, and commands that made none, in words.

    Args:
        section: with the commands.
        table: tidy.
        more: options of the commands that made it, beside rules, seeds and stages.
    """
    wanted = {(rule, seed): stages for (rule, seed, options), stages in asked(section).items() if options == more}
    made: dict[tuple[str, int], set[int]] = {}
    for rule, seed, stage in set(zip(table["rule"], table["seed"], table["stage"], strict=True)):
        made.setdefault((rule, seed), set()).add(stage)
    wrong = [f"{run}: not asked" for run in made.keys() - wanted.keys()]
    wrong += [f"{run}: not made" for run in wanted.keys() - made.keys()]
    for run in made.keys() & wanted.keys():
        if not made[run] <= wanted[run] or max(made[run]) != max(wanted[run]):
            wrong.append(f"{run}: {sorted(made[run])}, asked for {sorted(wanted[run])}")
        elif made[run] != wanted[run] and not run[0].startswith("cold"):
            wrong.append(f"{run}: lacks {sorted(wanted[run] - made[run])}")
    return wrong


def last_stage(table: pd.DataFrame, rule: str, metric: str, decimals: int, scale: float = 1.0) -> str:
    """Mean ± sample sd over seeds at the last stage, as the results print it."""
    summary = summarize(table, metric, "sd")
    row = summary[(summary["rule"] == rule)].iloc[-1]
    mean, sd = scale * row["mean"], scale * (row["high"] - row["mean"])
    return f"{mean:,.{decimals}f} ± {sd:,.{decimals}f}"


def difference(table: pd.DataFrame, rule: str, reference: str) -> str:
    """Paired difference of test accuracy in points at the last stage, with its 95% interval."""
    if rule == reference:
        return ""
    row = paired_differences(table, "test_accuracy", reference).set_index("rule").loc[rule]
    mean, low, high = (f"{100 * row[name]:+.1f}".replace("-", "−") for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
