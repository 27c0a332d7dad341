"""Tables of docs/results.md about changing streams, agents, the paper's setting and the comparison of remedies."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from dashtheory._spec import label_of
from dashtheory.measure import plasticity
from dashtheory.paper import summarize_runs
from dashtheory.paper.report import describe, setting_of
from dashtheory.record import load_results, paired_differences
from docs.made.blocks import interval, rows
from docs.made.figures import FIGURES, REMEDIES, ROOT
from docs.made.tables import read

PAPER = ROOT / "paper_repro" / "results" / "cpu"
ENDS = ("mean", "low", "high")


def streams(name: str) -> str:
    """Continued minus fresh over the last five tasks."""
    table = read(name)
    parts = []
    for metric, better, scale in (("online_accuracy", "higher", 100.0), ("online_error", "lower", 1.0)):
        if metric in set(table["metric"]):
            found = plasticity(table, metric=metric, better=better)
            found = found[found["quantity"] == "last_minus_fresh"]
            parts.append(found.assign(**{end: scale * found[end] for end in ENDS}))
    every = pd.concat(parts).set_index(["rule", "stream"])
    kinds = list(dict.fromkeys(every.index.get_level_values("stream")))
    body = [
        [
            label_of(rule),
            *(
                interval(every.loc[(rule, kind), list(ENDS)], decimals=2 if kind == "regression" else 1)
                for kind in kinds
            ),
        ]
        for rule in dict.fromkeys(every.index.get_level_values("rule"))
    ]
    return rows(["rule", *(f"`{kind}`" for kind in kinds)], body)


def two_phases(name: str) -> str:
    """Last loss of the mix minus that of a cold start."""
    table = read(name)
    rows_of_mix = table[(table["metric"] == "loss_mix") & (table["stage"] == 2)]
    last = rows_of_mix[rows_of_mix["characters"] == rows_of_mix["characters"].max()]
    starts = {"best": "from the least loss", "late": "from long after that", "decayed": "with weight decay before"}
    found = {}
    for start in starts:
        both = last[last["start"].isin([start, "cold"])].drop(columns=["start", "characters"])
        found[start] = paired_differences(both, "loss_mix", "cold").set_index("rule")
    body = [
        [label_of(rule), *(interval(found[start].loc[rule, list(ENDS)], decimals=2) for start in starts)]
        for rule in ("warm", "sp", "dash", "norm_matched", "fire")
    ]
    return rows(["rule, loss minus cold's (nats)", *starts.values()], body)


AGENTS = {"cold": "full reset", "reset_last": "new head", "explore": "random actions alone"}
"""What rules are called where an agent learns."""


def agents(name: str) -> str:
    """Each rule minus doing nothing: the lake with random moves by replay ratio, and Acrobot."""
    table = read(name)
    lake = table[(table["environment"] == "lake") & (table["epsilon"] == 0.1)]
    acrobot = table[table["environment"] == "acrobot"]
    parts = [
        (
            f"lake, {ratio} update{'' if ratio == 1 else 's'} a move",
            _here(lake, ratio),
            "success_after_switch",
            100,
        )
        for ratio in (1, 4, 16)
    ]
    parts.append(("Acrobot, return", acrobot.drop(columns=["epsilon", "replay_ratio"]), "episode_return", 1))
    found = [paired_differences(here, metric, "warm").set_index("rule") for _, here, metric, _ in parts]
    rules = [rule for rule in dict.fromkeys(table["rule"]) if all(rule in one.index for one in found)]
    body = [
        [
            AGENTS.get(rule, label_of(rule)),
            *(
                interval((scale * one.loc[rule, end] for end in ENDS), decimals=0)
                for one, (_, _, _, scale) in zip(found, parts, strict=True)
            ),
        ]
        for rule in rules
    ]
    return "With 10% random moves on the lake; points of success.\n\n" + rows(
        ["rule, minus doing nothing", *(words for words, *_ in parts)], body
    )


def _here(lake: pd.DataFrame, ratio: int) -> pd.DataFrame:
    return lake[lake["replay_ratio"] == ratio].drop(columns=["epsilon", "replay_ratio", "environment"])


def paper(name: str) -> str:
    """Test accuracy by stage in the paper's setting, as far as it went."""
    found = load_results(PAPER / f"{name}.csv")
    assert found.table is not None
    accuracy = found.table[found.table["metric"] == "test_accuracy"]
    wide = 100 * accuracy.groupby(["rule", "stage"])["value"].mean().unstack("stage")
    order = wide.assign(depth=wide.notna().sum(axis=1), last=wide[wide.columns[-1]])
    order = order.sort_values(["last", "depth"], na_position="first")
    cells = wide.to_dict(orient="index")
    body = [
        [label_of(rule), *(f"{value:.1f}" if pd.notna(value) else "" for value in cells[rule].values())]
        for rule in order.index
    ]
    seeds = accuracy.groupby("rule")["seed"].nunique().max()
    words = f"Test accuracy (%), {seeds} seed{'' if seeds == 1 else 's'}. {describe(found)}"
    return f"{words}\n\n" + rows(["rule", *(f"stage {stage}" for stage in wide)], body)


def cut(name: str) -> str:
    """Last and mean accuracy of whole runs."""
    found = load_results(PAPER / f"{name}.csv")
    assert found.table is not None
    runs = summarize_runs(found.table, setting_of(found).data.num_chunks)
    body = []
    for rule, run in runs.iterrows():
        cells = [
            f"{100 * run[column]:.1f}"
            + ("" if pd.isna(run[f"{column}_sd"]) else f" ± {100 * run[f'{column}_sd']:.1f}")
            for column in ("last_accuracy", "mean_accuracy")
        ]
        body.append([label_of(str(rule)), f"{run['n']:.0f}", *cells])
    return f"{describe(found)}\n\n" + rows(["rule", "seeds", "last accuracy (%)", "mean over stages (%)"], body)


def remedies(name: str = REMEDIES) -> str:
    """The summary of the comparison of all remedies, and its picture; "not run" where there is none."""
    folder = FIGURES / name
    tables = folder / "TABLES.md"
    if not tables.exists():
        return "**Not run** to its end yet, so no table stands here."
    summary = tables.read_text(encoding="utf-8").split("\n## ")[0].strip()
    picture = f"![What each remedy adds to a tuned warm start](../figures/{name}/{name}.png)"
    return f"{picture}\n\n{summary}\n\nAll rules, stream by stream: [tables](../figures/{name}/TABLES.md)."


TABLES: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(
        ("changing_streams", "optimizer_renewed/changing_streams", "while_training/changing_streams"), streams
    ),
    "two_phase_text": two_phases,
    "primacy_bias": agents,
    "cifar10-resnet18": paper,
    "cifar10-resnet18-cut": cut,
    "remedies": remedies,
}
"""Tables by the name of the figure, or of the paper's preset."""
