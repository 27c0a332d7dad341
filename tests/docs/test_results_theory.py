"""Numbers of docs/results.md about theory, controls and two-layer networks are those of the committed tables."""

from __future__ import annotations

import pandas as pd

from dashtheory.record import load_table
from tests.docs.results_cases import RESULTS, ROOT, difference, last_stage


def test_the_share_at_the_floor_is_the_committed_one() -> None:
    table, _ = load_table(ROOT / "figures" / "warm_start_text.csv")
    shares = table[table["metric"] == "share_clamped"]["value"]
    assert f"{100 * shares.min():.0f} to {100 * shares.max():.0f}%" in RESULTS


def creep_sentence() -> str:
    """What warm and cold know after a thousand chunks."""
    table, _ = load_table(ROOT / "figures" / "warm_creep.csv")
    last = table[table["stage"] == table["stage"].max()].groupby(["rule", "metric"])["value"].mean()
    first = table[table["stage"] == 1].groupby(["rule", "metric"])["value"].mean()
    warm = last["warm"]
    return (
        f"after 1,000 chunks it knows {warm['learned_features']:.1f} of 100 features "
        f"({first['warm', 'learned_features']:.1f} after the first), as the exact chain "
        f"({warm['chain_learned_features']:.1f}) and a law without sampling "
        f"({warm['law_learned_features']:.1f}) say, "
        f"while cold knows {last['cold', 'learned_features']:.1f}."
    )


def forgetting_sentences() -> tuple[str, str]:
    """How far accuracy moves with phi_feature, and what forgetting features costs."""
    table, _ = load_table(ROOT / "figures" / "forgetting_map.csv")
    mean = table.groupby(["metric", "phi_noise", "phi_feature"])["value"].mean()
    accuracy = 100 * mean["test_accuracy"].unstack()
    spread = (accuracy.max(axis=1) - accuracy.min(axis=1)).max()
    active = mean["mean_active_samples"]
    half = [active[0.5, feature] for feature in (0.0, 0.05, 0.5)]
    return (
        f"from {accuracy.loc[0.0].mean():.1f}% at 0 to {accuracy.loc[0.1].mean():.1f}% at 0.1 and "
        f"{accuracy.loc[1.0].mean():.1f}% at 1, it moves by at most {spread:.1f} points with φ_feature.",
        f"at φ_noise = 0.5 a stage starts with {half[0]:,.0f} active samples on average if no feature is "
        "forgotten, "
        f"{half[1]:,.0f} at φ_feature = 0.05, and {half[2]:,.0f} if features are forgotten as often as noise.",
    )


def phase_sentence() -> str:
    """Errors of both predictions over all cells of all maps."""
    table, _ = load_table(ROOT / "figures" / "phase_diagram.csv")
    points = table
    wide = points.groupby(["map", "x", "y", "rule", "metric"])["value"].mean().unstack(["metric", "rule"])
    gap = wide["test_accuracy", "cold"] - wide["test_accuracy", "warm"]
    cold = wide["predicted_test_accuracy", "cold"]
    limit = (cold - wide["predicted_test_accuracy", "warm"] - gap).abs().mean()
    law = (cold - wide["law_test_accuracy", "warm"] - gap).abs().mean()
    return (
        f"over {len(gap)} cells of five maps the gap between cold and warm runs from {100 * gap.min():.0f} to "
        f"{100 * gap.max():.0f} points, and the law for finite chunks misses it by {100 * law:.1f} points on "
        "average "
        f"(the limit of large chunks by {100 * limit:.1f})."
    )


def beyond_sentence() -> str:
    """The larger and the smaller class at 900 to 100 samples per chunk."""
    table, _ = load_table(ROOT / "figures" / "beyond_independence.csv")
    points = table
    rows = points[(points["kind"] == "unbalanced") & (points["x"] == 0.9)]
    mean = rows.groupby(["metric", "rule"])["value"].mean()
    accuracy, worst = 100 * mean["test_accuracy"], 100 * mean["worst_class_accuracy"]
    return (
        f"with 900 samples of one class and 100 of the other per chunk, warm is at {accuracy['warm']:.1f}% "
        "against "
        f"{accuracy['cold']:.1f}% for cold, yet at {worst['warm']:.1f}% (guessing) against "
        f"{worst['cold']:.1f}% in the "
        "smaller class."
    )


def test_every_number_about_theory_is_the_committed_one() -> None:
    text = " ".join(RESULTS.split())
    for sentence in (creep_sentence(), *forgetting_sentences(), phase_sentence(), beyond_sentence()):
        assert sentence in text, sentence


def ablation_rows() -> list[str]:
    """A row per rule on CIFAR-10 (JPEG): accuracy, differences to cold and DASH, steps after stage 1."""
    table, _ = load_table(ROOT / "figures" / "cifar10" / "rule_ablation.csv")
    rows = table[(table["metric"] == "steps") & (table["stage"] > 1)]
    steps = rows.groupby(["rule", "seed"])["value"].sum().groupby("rule").mean()
    names = (
        ("cold", "cold"),
        ("cold:learning_rate=tuned", "cold, learning rate tuned"),
        ("cold:weight_decay=tuned", "cold, weight decay tuned"),
        ("cold_shrunk", "cold from weights × 0.45"),
        ("warm", "warm"),
        ("sp", "S&P"),
        ("dash", "DASH"),
        ("dash:lam=0.05", "DASH, λ = 0.05"),
        ("uniform", "uniform shrink by DASH's mean"),
        ("permuted", "DASH's factors permuted"),
        ("threshold", "threshold (DASH reversed)"),
    )
    return [
        f"| {label} | {last_stage(table, rule, 'test_accuracy', 1, 100.0)} | {difference(table, rule, 'cold')} | "
        f"{difference(table, rule, 'dash')} | {steps[rule]:,.0f} |".replace("|  |", "| |")
        for rule, label in names
    ]


def test_every_number_about_the_controls_is_the_committed_one() -> None:
    for row in ablation_rows():
        assert row in RESULTS, row


def two_layer_rows() -> list[str]:
    """A row per rule: accuracy and memorised noise in two regimes of level 2."""
    tables = [load_table(ROOT / "figures" / f"{name}two_layer_dynamics.csv")[0] for name in ("", "mlp_small/")]
    names = (
        ("cold", "cold"),
        ("warm", "warm"),
        ("sp", "S&P"),
        ("dash", "DASH"),
        ("uniform", "uniform"),
        ("permuted", "permuted"),
        ("ideal", "ideal (oracle)"),
        ("ridge", "ridge on the same samples"),
    )
    rows = []
    for rule, label in names:
        cells = []
        for table, decimals in zip(tables, (1, 2), strict=True):
            cells.append(last_stage(table, rule, "test_accuracy", 1, 100.0))
            cells.append("" if rule == "ridge" else last_stage(table, rule, "noise_norm", decimals))
        rows.append(f"| {label} | {' | '.join(cells)} |".replace("|  |", "| |"))
    return rows


def alpha_lambda_sentence() -> str:
    """How far DASH is from a uniform shrink by its own mean, over the map."""
    points = load_table(ROOT / "figures" / "alpha_lambda_map.csv")[0]
    rows = points[points["rule"].isin(["dash", "uniform"]) & (points["metric"] == "test_accuracy")]
    mean = rows.groupby(["regime", "alpha", "lam", "rule"])["value"].mean().unstack("rule")
    apart = 100 * (mean["dash"] - mean["uniform"])
    low, high = (f"{value:+.1f}".replace("-", "−") for value in (apart.min(), apart.max()))
    return (
        f"over {len(apart)} settings of α and λ in both networks, DASH is {low} to {high} points from a uniform "
        "shrink by its own mean factor"
    )


def alpha_lambda_steps() -> str:
    """How many training steps DASH takes in the MLP, of those of a uniform shrink, over the map."""
    points = load_table(ROOT / "figures" / "alpha_lambda_map.csv")[0]
    rows = points[(points["regime"] == "mlp_small") & (points["metric"] == "steps")]
    mean = rows.groupby(["alpha", "lam", "rule"])["value"].mean().unstack("rule")
    share = mean["dash"] / mean["uniform"]
    return f"with {share.min():.2f} to {share.max():.2f} of the training steps"


def regimes_sentence() -> str:
    """Where DASH helps most and hurts most."""
    points = load_table(ROOT / "figures" / "activation_regimes.csv")[0]
    rows = points[points["metric"] == "test_accuracy"]
    mean = 100 * rows.groupby(["map", "q", "y", "rule"])["value"].mean().unstack("rule")
    lost, gained = mean["warm"] - mean["cold"], mean["dash:lam=0.05"] - mean["warm"]
    relu = lost.xs(1.0, level="q")
    ends = [
        f"{value:+.1f}".replace("-", "−") for which in ("init", "threshold") for value in _ends(relu.loc[which])
    ]
    order = gained.sort_values()
    worst, best = order.index.get_level_values("q")[[0, -1]]
    guess = mean["dash:lam=0.05"][order.index].iloc[0]
    return (
        f"in the patch network with the ReLU (q = 1) warm-starting moves accuracy by {ends[0]} to {ends[1]} "
        f"points over four scales of the initialisation, and by {ends[2]} to {ends[3]} over stopping losses "
        f"from 0.2 to 0.01; over both maps DASH's largest gain over warm is {order.iloc[-1]:.1f} points "
        f"(q = {best:g}), its largest loss {-order.iloc[0]:.0f} points (q = {worst:g}), to {guess:.0f}% "
        "(guessing): there it fits its samples by their noise alone"
    )


def _ends(values: pd.Series) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def test_every_number_about_two_layer_networks_is_the_committed_one() -> None:
    text = " ".join(RESULTS.split())
    for row in two_layer_rows():
        assert row in RESULTS, row
    for sentence in (alpha_lambda_sentence(), alpha_lambda_steps(), regimes_sentence()):
        assert sentence in text, sentence
