"""The tables of docs/results.md, each from the table of its figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from dashtheory._spec import label_of
from dashtheory.record import load_table, paired_differences, summarize
from docs.made.blocks import interval, rows, signed
from docs.made.figures import FIGURES


def read(name: str) -> pd.DataFrame:
    """The table of a figure."""
    return load_table(FIGURES / f"{name}.csv")[0]


@dataclass(frozen=True)
class Column:
    """A column of means ± sample standard deviations at the last stage.

    Attributes:
        head: of the column.
        metric: of the table.
        decimals: that are shown.
        scale: of the numbers.
    """

    head: str
    metric: str
    decimals: int = 1
    scale: float = 1.0

    def cell(self, table: pd.DataFrame, rule: str) -> str:
        """The number of a rule; nothing if it has none."""
        rows_of_rule = table[(table["metric"] == self.metric) & (table["rule"] == rule)]
        if rows_of_rule.empty:
            return ""
        last = summarize(rows_of_rule, self.metric, "sd").iloc[-1]
        mean, sd = self.scale * last["mean"], self.scale * (last["high"] - last["mean"])
        return f"{mean:,.{self.decimals}f} ± {sd:,.{self.decimals}f}"


ACCURACY = Column("test accuracy (%)", "test_accuracy", 1, 100)


def by_rule(table: pd.DataFrame, labels: Mapping[str, str], columns: Sequence[Column], head: str = "rule") -> str:
    """A line per rule, a column per metric.

    Args:
        table: of a figure.
        labels: of the rules, in the order of the lines.
        columns: of the table.
        head: of the first column.
    """
    body = [[label, *(column.cell(table, rule) for column in columns)] for rule, label in labels.items()]
    return rows([head, *(column.head for column in columns)], body)


def minus(table: pd.DataFrame, rule: str, reference: str, metric: str = "test_accuracy") -> str:
    """The paired difference in points at the last stage, with its 95% interval; nothing for the reference."""
    if rule == reference:
        return ""
    found = paired_differences(table, metric, reference).set_index("rule").loc[rule]
    return interval(100 * found[end] for end in ("mean", "low", "high"))


MAIN = {"cold": "cold", "warm": "warm", "sp": "S&P", "dash": "DASH"}


def text(name: str) -> str:
    """Loss, accuracy and steps of the last stage."""
    heads = {
        "warm_start_text": "rule",
        "embedding_std_1/warm_start_text": "rule, embeddings with sd 1",
        "linear_std_0.02/warm_start_text": "rule, all weights as in GPT-2",
    }
    columns = (
        Column("test loss (nats per character)", "test_loss", 2),
        Column("next-character accuracy (%)", "test_accuracy", 1, 100),
        Column("steps of stage 4", "steps", 0),
    )
    return by_rule(read(name), MAIN, columns, heads[name])


def images(name: str) -> str:
    """Accuracy by rule, and what it is from cold and warm."""
    table = read(name)
    labels = {**MAIN, "uniform": "uniform shrink by DASH's mean"}
    body = [
        [label, ACCURACY.cell(table, rule), minus(table, rule, "cold"), minus(table, rule, "warm")]
        for rule, label in labels.items()
    ]
    return rows(["rule", ACCURACY.head, "minus cold's (points)", "minus warm's (points)"], body)


ABLATED = {
    "cold": "cold",
    "cold:learning_rate=tuned": "cold, learning rate tuned",
    "cold:weight_decay=tuned": "cold, weight decay tuned",
    "cold_shrunk": "cold from weights × 0.45",
    "warm": "warm",
    "sp": "S&P",
    "dash": "DASH",
    "dash:lam=0.05": "DASH, λ = 0.05",
    "uniform": "uniform shrink by DASH's mean",
    "permuted": "DASH's factors permuted",
    "threshold": "threshold (DASH reversed)",
}


def ablation(name: str) -> str:
    """Accuracy, differences to cold and DASH, steps after stage 1."""
    table = read(name)
    later = table[(table["metric"] == "steps") & (table["stage"] > 1)]
    steps = later.groupby(["rule", "seed"])["value"].sum().groupby("rule").mean()
    body = [
        [
            label,
            ACCURACY.cell(table, rule),
            minus(table, rule, "cold"),
            minus(table, rule, "dash"),
            f"{steps[rule]:,.0f}",
        ]
        for rule, label in ABLATED.items()
        if rule in steps.index
    ]
    head = ["rule", ACCURACY.head, "minus cold's (points)", "minus DASH's (points)", "steps after stage 1"]
    return rows(head, body)


def two_layer(name: str) -> str:
    """Accuracy and memorised noise in both networks."""
    both = [read(name), read(f"mlp_small/{name}")]
    labels = {
        **MAIN,
        "uniform": "uniform",
        "permuted": "permuted",
        "ideal": "ideal (oracle)",
        "ridge": "ridge on the same samples",
    }
    noise = "memorised noise (norm)"
    body = [
        [label]
        + [
            cell
            for table, decimals in zip(both, (1, 2), strict=True)
            for cell in (ACCURACY.cell(table, rule), Column(noise, "noise_norm", decimals).cell(table, rule))
        ]
        for rule, label in labels.items()
    ]
    return rows(
        ["rule", "patch network: test accuracy (%)", noise, "ReLU MLP: test accuracy (%)", noise],
        body,
    )


def alpha_lambda(name: str) -> str:
    """How far DASH is from its controls over the whole map."""
    table = read(name)
    found = table[table["metric"] == "test_accuracy"]
    mean = 100 * found.groupby(["regime", "rule", "alpha", "lam"])["value"].mean().unstack("rule")
    body = []
    for regime, here in mean.groupby("regime"):
        spans = [_span(here["dash"] - here[control]) for control in ("uniform", "permuted")]
        body.append([f"`{regime}`", str(len(here)), *spans])
    return rows(["network", "settings of α and λ", "DASH minus uniform", "DASH minus its factors permuted"], body)


def regimes(name: str) -> str:
    """What warm-starting costs and what DASH brings, by activation."""
    table = read(name)
    found = table[table["metric"] == "test_accuracy"]
    mean = 100 * found.groupby(["map", "q", "y", "rule"])["value"].mean().unstack("rule")
    dash = "dash:lam=0.05"
    body = [
        [f"{q:g}", *(_span(here[one] - here[other]) for one, other in pairs)]
        for pairs in [(("warm", "cold"), (dash, "warm"), (dash, "uniform:lam=0.05"), ("ideal", "cold"))]
        for q, here in mean.groupby("q")
    ]
    head = ["q", "warm minus cold", "DASH minus warm", "DASH minus uniform", "ideal minus cold"]
    return "Smallest to largest mean over both maps, in points.\n\n" + rows(head, body)


def _span(values: pd.Series) -> str:
    return f"{signed(values.min())} to {signed(values.max())}"


def phases(name: str) -> str:
    """Labels that are fitted, by epoch."""
    table = read(name)
    mean = 100 * table.groupby(["epoch", "metric"])["value"].mean().unstack("metric")
    metrics = ["right_accuracy", "wrong_accuracy", "true_class", "test_accuracy"]
    body = [
        [str(epoch), *(f"{mean[metric][epoch]:.1f}" for metric in metrics)] for epoch in (0, 1, 2, 5, 10, 20, 40)
    ]
    return rows(
        [
            "epoch",
            "right labels fitted (%)",
            "wrong labels fitted (%)",
            "wrongly labelled given their true class (%)",
            ACCURACY.head,
        ],
        body,
    )


def pretraining(name: str) -> str:
    """Accuracy after training on everything, by epochs of pretraining."""
    table = read(name)
    mean = 100 * table.groupby(["metric", "rule", "epochs"])["value"].mean()
    final, half = mean["test_accuracy"].unstack("rule"), mean["half_test_accuracy", "warm"]
    apart = paired_differences(table, "test_accuracy", "warm").set_index(["rule", "epochs"])
    ends = ["mean", "low", "high"]
    body = [
        [
            f"{epochs:.0f}",
            f"{half[epochs]:.1f}" if epochs in half.index else "",
            *(f"{line[rule]:.1f}" if pd.notna(line[rule]) else "" for rule in ("warm", "dash")),
            interval(100 * apart.loc[("dash", epochs), ends]) if epochs else "",  # at 0 no rule acts
        ]
        for epochs, line in final.iterrows()
    ]
    head = ["epochs on the half", "accuracy by then (%)", "then on all: warm (%)", "then DASH, on all (%)"]
    return rows([*head, "DASH minus warm (points)"], body)


def steps(name: str) -> str:
    """Effective step and accuracy."""
    table = read(name)
    last = table[(table["metric"] == "effective_step_at_start") & (table["stage"] == table["stage"].max())]
    mean = last.groupby("rule")["value"].mean().sort_values()
    body = [
        [
            label_of(rule),
            f"{step:.2g}",
            ACCURACY.cell(table, rule),
            minus(table, rule, "warm"),
            minus(table, rule, "cold"),
        ]
        for rule, step in mean.items()
    ]
    head = ["rule", "effective step at the start of stage 5", ACCURACY.head, "minus warm's", "minus cold's"]
    return rows(head, body)


def direction(name: str) -> str:
    """DASH beside what shrinks as much, and beside warm, setting by setting."""
    table = read(name)
    body = []
    others = ("uniform", "permuted", "norm_matched", "warm")
    found = {
        other: paired_differences(table, "test_accuracy", other).set_index(["rule", "setting"]) for other in others
    }
    for setting in table["setting"].unique():
        lines = [found[other].loc[("dash", setting)] for other in others]
        body.append(
            [
                f"`{setting}`",
                *(interval(100 * line[end] for end in ("mean", "low", "high")) for line in lines),
            ]
        )
    return rows(
        ["setting", "DASH minus uniform", "minus its factors permuted", "minus its norms alone", "minus warm"],
        body,
    )


def geometry(name: str) -> str:
    """The factor on the length of a vector, by its angle."""
    table = read(name)
    wide = table.pivot_table(index=["rule", "angle"], columns="metric", values="value")
    factor = (wide["along"] ** 2 + wide["across"] ** 2) ** 0.5
    angles = (0, 30, 60, 75, 90, 180)
    body = [
        [label_of(str(rule)), *(f"{factor[rule, angle]:.2f}" for angle in angles)]
        for rule in ("warm", "sp", "uniform", "dash", "dash:lam=0.05", "threshold")
    ]
    return rows(["rule", *(f"{angle}°" for angle in angles)], body)


TABLES: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(
        ("warm_start_text", "embedding_std_1/warm_start_text", "linear_std_0.02/warm_start_text"), text
    ),
    **dict.fromkeys(("warm_start_images", "cifar10/warm_start_images"), images),
    **dict.fromkeys(("rule_ablation", "cifar10/rule_ablation"), ablation),
    **dict.fromkeys(("learning_phases", "cifar10/learning_phases"), phases),
    "two_layer_dynamics": two_layer,
    "alpha_lambda_map": alpha_lambda,
    "activation_regimes": regimes,
    "pretraining_epochs": pretraining,
    "effective_step": steps,
    "direction": direction,
    "shrink_geometry": geometry,
}
"""Tables by the name of the figure; the rest are in `discrete_tables`, `beyond_tables` and `paper_tables`."""
