"""Tables of docs/results.md about the discrete world."""

from __future__ import annotations

from collections.abc import Callable

from docs.made.blocks import rows
from docs.made.tables import ACCURACY, Column, by_rule, read


def learning(name: str) -> str:
    """Accuracy, features, noise and training time."""
    columns = (
        ACCURACY,
        Column("learned features (of 100)", "learned_features"),
        Column("memorised samples", "memorized_samples", 0),
        Column("active samples at the start of stage 50", "active_samples", 0),
    )
    return by_rule(read(name), {rule: rule for rule in ("cold", "warm", "ideal")}, columns)


def creep(name: str) -> str:
    """Learned features of a warm learner, by simulation, exact chain and law, and of a cold one."""
    table = read(name)
    mean = table.groupby(["metric", "rule", "stage"])["value"].mean()
    kinds = ("learned_features", "chain_learned_features", "law_learned_features", "limit_learned_features")
    body = [
        [
            f"{stage:,}",
            *(f"{mean[kind, 'warm', stage]:.1f}" for kind in kinds),
            f"{mean['learned_features', 'cold', stage]:.1f}",
        ]
        for stage in (1, 10, 100, 1000)
    ]
    return rows(["chunks", "warm", "its exact chain", "its law", "limit of large chunks", "cold"], body)


def forgetting(name: str) -> str:
    """Accuracy by phi_noise, and what forgetting features costs."""
    table = read(name)
    mean = table.groupby(["metric", "phi_noise", "phi_feature"])["value"].mean()
    accuracy, active = 100 * mean["test_accuracy"].unstack(), mean["mean_active_samples"].unstack()
    body = [
        [
            f"{phi:g}",
            f"{accuracy.loc[phi].min():.1f} to {accuracy.loc[phi].max():.1f}",
            *(f"{active.loc[phi, feature]:,.0f}" for feature in (0.0, 0.05, 0.5)),
        ]
        for phi in (0.0, 0.01, 0.1, 0.5, 1.0)
    ]
    starts = [f"active samples, φ_feature = {feature}" for feature in ("0", "0.05", "0.5")]
    return rows(["φ_noise", "test accuracy over all φ_feature (%)", *starts], body)


def diagram(name: str) -> str:
    """The gap between cold and warm in each map, and how far both predictions miss it."""
    table = read(name)
    wide = table.groupby(["map", "x", "y", "rule", "metric"])["value"].mean().unstack(["metric", "rule"])
    gap = wide["test_accuracy", "cold"] - wide["test_accuracy", "warm"]
    cold = wide["predicted_test_accuracy", "cold"]
    limit = (cold - wide["predicted_test_accuracy", "warm"] - gap).abs()
    law = (cold - wide["law_test_accuracy", "warm"] - gap).abs()
    body = [
        [
            f"`{name}`",
            str(len(here)),
            f"{100 * here.min():.0f} to {100 * here.max():.0f}",
            f"{100 * law[here.index].mean():.1f}",
            f"{100 * limit[here.index].mean():.1f}",
        ]
        for name, here in gap.groupby("map")
    ]
    head = ["map", "cells", "cold minus warm (points)", "law misses it by (mean)", "limit of large chunks by"]
    return rows(head, body)


def beyond(name: str) -> str:
    """Both ends of every kind of structure."""
    table = read(name)
    mean = 100 * table.groupby(["kind", "x", "metric", "rule"])["value"].mean()
    body = []
    for kind, values in table.groupby("kind")["x"].unique().items():
        for x in (min(values), max(values)):
            accuracy, worst = mean[str(kind), x, "test_accuracy"], mean[str(kind), x, "worst_class_accuracy"]
            body.append(
                [
                    f"`{kind}` {x:g}",
                    *(f"{accuracy[rule]:.1f}" for rule in ("cold", "ideal", "warm")),
                    *(f"{worst[rule]:.1f}" for rule in ("cold", "warm")),
                ]
            )
    return rows(["world", "cold (%)", "ideal", "warm", "worst class: cold", "warm"], body)


TABLES: dict[str, Callable[[str], str]] = {
    "discrete_learning": learning,
    "warm_creep": creep,
    "forgetting_map": forgetting,
    "phase_diagram": diagram,
    "beyond_independence": beyond,
}
"""Tables by the name of the figure."""
