"""Tables of docs/results.md about changing streams, agents and the comparison of remedies."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from dashtheory._spec import label_of
from dashtheory.measure import plasticity
from dashtheory.record import paired_differences
from docs.made.blocks import interval, rows
from docs.made.figures import FIGURES, REMEDIES
from docs.made.tables import read

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
    "remedies": remedies,
}
"""Tables by the name of the figure."""
