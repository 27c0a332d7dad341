"""From cold to DASH, step by step: how much of its lead is left over a tuned cold start, a warm one, a shrink?

A chain of rules at one stage, each beside the one before it: cold; the best cold start with a step size, weight
decay or warm-up of its own; the best such warm start; step sizes that grow from stage to stage as if layers with a
normalisation behind them shrank (`rewarm`), no weight touched; one factor for all weights; DASH's norms alone;
DASH. From `rewarm` on the step size is the usual one again, so that the link to it changes two things, as does
that to the warm start where its best training is not the cold one's; of all others, what a link adds is what its
rule does beyond the one before. Best means best on the test set among the few that were run, which favours those
controls; no held-out data were spent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashtheory._spec import split_text
from dashtheory.plot import add_heading, rule_style
from dashtheory.record import paired_differences
from dashtheory.rules.spec import TRAINING_OPTIONS

CHAIN = ("cold", "cold, tuned", "warm, tuned", "rewarm", "uniform", "norm_matched", "dash")
"""Links in order; a tuned one is the best of the rule's variants with a training of their own."""
NEEDED = ("cold", "uniform", "dash")
"""Without these at one stage there is no chain."""
FEWEST = 3
"""Seeds of an interval at the least: that of two is 12.7 times as wide as they are apart, and says no more."""
_OPTIONAL = {
    "cold, tuned": "cold with another step size or weight decay",
    "warm, tuned": "warm with another step size or weight decay",
    "rewarm": "growing steps alone (rewarm)",
    "norm_matched": "DASH's norms alone",
}
"""What the other links are called where they are missing."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A rule of the chain at the stage.

    Attributes:
        rule: as written.
        accuracy: mean over its seeds.
        seeds: how many.
        change: minus the link before, mean over the seeds that both have; NaN for the first.
        low: of the 95% t interval of the paired difference; NaN with fewer than three seeds.
        high: of the same.
        steps: of the stage, mean over seeds.
        samples: of all stages up to this one, mean over seeds; NaN if some were left out.
    """

    rule: str
    accuracy: float
    seeds: int
    change: float
    low: float
    high: float
    steps: float
    samples: float


def chain_of(table: pd.DataFrame, chunk_size: int) -> tuple[int, list[Link]]:
    """The chain at the last stage that has enough of it.

    Args:
        table: tidy, of one setting.
        chunk_size: examples that come with every stage.

    Returns:
        the stage, and the links that were run, of the seeds that all of them have (of all seeds where there is no
        such seed); 0 and none if there is no stage with all of `NEEDED`.
    """
    stages = _stages(table)
    return (stages[-1], _links(table, stages[-1], chunk_size)) if stages else (0, [])


def chains_of(table: pd.DataFrame, chunk_size: int) -> list[tuple[int, list[Link]]]:
    """The chain at the stage with most links (the last of these), and that of `chain_of`, where it is another.

    Args:
        table: tidy, of one setting.
        chunk_size: examples that come with every stage.

    Returns:
        stages in order, each with its links; empty if there is no stage with all of `NEEDED`.
    """
    chains = {stage: _links(table, stage, chunk_size) for stage in _stages(table)}
    if not chains:
        return []
    fullest = max(chains, key=lambda stage: (len(chains[stage]), stage))
    return [(stage, chains[stage]) for stage in sorted({fullest, max(chains)})]


def _stages(table: pd.DataFrame) -> list[int]:
    """Stages with all of `NEEDED` and a tuned cold start, in order; of those without one if none has it."""
    rows = table[table["metric"] == "test_accuracy"]
    common = set.intersection(*(set(rows.loc[rows["rule"] == rule, "stage"]) for rule in NEEDED))
    tuned = [stage for stage in common if _tuned(_at(rows, stage), "cold")]
    return sorted(tuned or common)  # a later stage without its best cold start would flatter DASH


def _links(table: pd.DataFrame, stage: int, chunk_size: int) -> list[Link]:
    """The chain at a stage."""
    here = _at(table[table["metric"] == "test_accuracy"], stage)
    rules = [_tuned(here, plain) if kind else plain for plain, _, kind in (name.partition(", ") for name in CHAIN)]
    rules = [rule for rule in rules if rule in here.columns]
    here = _whole(here, rules)
    table = table[table["seed"].isin(here.index)]
    return [
        _link(rule, before, here, table, stage, chunk_size)
        for before, rule in zip(["", *rules], rules, strict=False)
    ]


def _at(rows: pd.DataFrame, stage: int) -> pd.DataFrame:
    """Accuracies at a stage, a line per seed and a column per rule: of seeds that have all of `NEEDED`, if any."""
    wide = rows[rows["stage"] == stage].pivot_table(index="seed", columns="rule", values="value")
    return _whole(wide, [rule for rule in NEEDED if rule in wide.columns])


def _whole(wide: pd.DataFrame, rules: list[str]) -> pd.DataFrame:
    """Lines that hold all of the rules; every line if none does."""
    whole = wide.dropna(subset=rules)
    return wide if whole.empty else whole


def missing_words(stage: int, links: list[Link]) -> str:
    """Which links were not run to the stage of the chain; empty if all were, or there is no chain.

    Args:
        stage: of the chain.
        links: of it.
    """
    rules = [link.rule for link in links]
    missing = [words for name, words in _OPTIONAL.items() if not any(_is_link(rule, name) for rule in rules)]
    return f"Not run to stage {stage}: {', '.join(missing)}." if links and missing else ""


def _is_link(rule: str, name: str) -> bool:
    plain, _, kind = name.partition(", ")
    return _is_variant(rule, plain) if kind else rule == plain


def _tuned(here: pd.DataFrame, name: str) -> str:
    """The best of the rule's variants with a training of its own, of those with most seeds; empty if none."""
    found = here[[rule for rule in here.columns if _is_variant(str(rule), name)]]
    seeds = found.count()
    most = found.loc[:, (seeds == seeds.max()) & (seeds > 0)]
    return "" if most.empty else str(most.mean().idxmax())


def _is_variant(rule: str, name: str) -> bool:
    plain, options = split_text(rule)
    return plain == name and bool(options) and all(o.partition("=")[0] in TRAINING_OPTIONS for o in options)


def _link(rule: str, before: str, here: pd.DataFrame, table: pd.DataFrame, stage: int, chunk_size: int) -> Link:
    values = here[rule].dropna()
    change = low = high = math.nan
    if before and not (both := here[[before, rule]].dropna()).empty:
        pair = table["rule"].isin([before, rule]) & table["seed"].isin(both.index) & (table["stage"] == stage)
        (row,) = paired_differences(table[pair], "test_accuracy", before).to_dict("records")
        change = float(row["mean"])
        if len(both) >= FEWEST:
            low, high = float(row["low"]), float(row["high"])
    return Link(
        rule=rule,
        accuracy=float(values.mean()),
        seeds=len(values),
        change=change,
        low=low,
        high=high,
        steps=float(table.query("rule == @rule and stage == @stage and metric == 'steps'")["value"].mean()),
        samples=samples_of(table, rule, stage, chunk_size),
    )


def samples_of(table: pd.DataFrame, rule: str, stage: int, chunk_size: int) -> float:
    """Training samples of all stages up to one, mean over seeds: epochs times examples; NaN if a stage is missing.

    Args:
        table: tidy, of one setting.
        rule: as written.
        stage: the last one counted.
        chunk_size: examples that come with every stage.
    """
    rows = table[(table["rule"] == rule) & (table["metric"] == "epochs") & (table["stage"] <= stage)]
    whole = [run for _, run in rows.groupby("seed") if len(run) == stage]
    counts = [float((run["value"] * run["stage"]).sum()) * chunk_size for run in whole]
    return sum(counts) / len(counts) if counts else math.nan


def render_chain(stage: int, links: list[Link]) -> str:
    """The chain as a section of a page; empty if there is none."""
    if not links:
        return ""
    lines = [
        f"| rule | seeds | test accuracy after stage {stage} (%) | minus the one before (points) | steps of the "
        "stage | samples so far |",
        "|---|---|---|---|---|---|",
    ]
    for link in links:
        samples = "–" if math.isnan(link.samples) else f"{link.samples:,.0f}"
        label = rule_style(link.rule).label
        cells = (label, link.seeds, f"{100 * link.accuracy:.1f}", _change(link), f"{link.steps:,.0f}", samples)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lead = 100 * (links[-1].accuracy - links[0].accuracy)
    best = max(links, key=lambda link: link.accuracy if link.rule.startswith("cold") else -1)
    left = 100 * (links[-1].accuracy - best.accuracy)
    words = (
        f"DASH is {lead:+.1f} points from cold, and {left:+.1f} from the best cold start that was run "
        f"({rule_style(best.rule).label}). The best is taken on the test set."
    )
    if len({link.seeds for link in links}) == 1:
        words += f" Numbers of the chain are of the seeds that all its links have (n = {links[0].seeds})."
    if any(link.rule == "rewarm" for link in links):
        words += " The larger step alone begins with the usual step size again: its link changes two things."
    tuned = [options for options in (split_text(link.rule)[1] for link in links) if options]
    if len(tuned) == 2 and tuned[0] != tuned[1]:  # cold's and warm's
        words += " So does that of the warm start, whose best training is another than the cold one's."
    missing = missing_words(stage, links)
    lines += ["", missing] if missing else []
    return f"\n#### From cold to DASH, step by step\n\n{words}\n\n" + "\n".join(lines) + "\n"


def _change(link: Link) -> str:
    if math.isnan(link.change):
        return "–"
    interval = "" if math.isnan(link.low) else f" [{100 * link.low:+.1f}, {100 * link.high:+.1f}]"
    return f"{100 * link.change:+.1f}{interval}"


def draw_chain(stage: int, links: list[Link], words: Mapping[str, str]) -> Figure:
    """The chain as a waterfall: each bar goes from the link before to its own.

    Args:
        stage: of the chain.
        links: at least one.
        words: title, setting and foot of the figure.
    """
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(11.6, 4.8))
    for place, link in enumerate(links):
        _draw_bar(ax, place, link, 0.0 if place == 0 else links[place - 1].accuracy)
    ax.set_xticks(range(len(links)), [_name(link) for link in links], fontsize=8)
    ax.set(ylabel=f"test accuracy after stage {stage} (%)", ylim=(100 * _lowest(links) - 4, None))
    ax.margins(y=0.12)
    ax.grid(axis="x", visible=False)
    ax.text(0.012, 0.93, missing_words(stage, links), transform=ax.transAxes, fontsize=8, color="#444444")
    figure.subplots_adjust(left=0.06, right=0.985, top=0.82, bottom=0.27)
    add_heading(figure, words["title"], words["setting"], words["foot"])
    return figure


def _lowest(links: list[Link]) -> float:
    """The lowest accuracy, or end of an interval, that is drawn; 0 at the least."""
    ends = [before.accuracy + link.low for before, link in itertools.pairwise(links) if not math.isnan(link.low)]
    return max(min([*(link.accuracy for link in links), *ends]), 0.0)


def brief_label(rule: str) -> str:
    """A rule's name in figures, with a training of its own in short words."""
    label = rule_style(rule).label.replace("learning_rate=", "step ").replace("weight_decay=", "decay ")
    return label.replace("warmup_epochs=", "warm-up ")


def _name(link: Link) -> str:
    label = brief_label(link.rule).replace(", ", "\n").replace(" (", "\n(")
    return f"{label}\n{link.steps:,.0f} steps, n = {link.seeds}"


def _draw_bar(ax: Axes, place: int, link: Link, before: float) -> None:
    look = rule_style(link.rule)
    ax.bar(place, 100 * (link.accuracy - before), bottom=100 * before, width=0.62, color=look.color, alpha=0.85)
    if place:
        ax.hlines(100 * before, place - 1 + 0.31, place - 0.31, color="#444444", linewidth=1)
        if not math.isnan(link.low):
            ends = [100 * (before + link.low), 100 * (before + link.high)]
            ax.plot([place + 0.38] * 2, ends, color="#222222", linewidth=1.6)
    top = 100 * max(link.accuracy, before if place else 0)
    text = (
        f"{100 * link.accuracy:.1f}" if not place else f"{_change(link).split(' ')[0]}\n{100 * link.accuracy:.1f}"
    )
    ax.annotate(
        text, (place, top), ha="center", va="bottom", fontsize=9, xytext=(0, 3), textcoords="offset points"
    )
