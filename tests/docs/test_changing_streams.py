"""docs/beyond.md tells what the committed table of changing streams says."""

from __future__ import annotations

import json

import pandas as pd

from dashtheory._spec import label_of
from dashtheory.measure import plasticity
from dashtheory.record import load_table
from tests.docs.results_cases import ROOT

PAGE = " ".join((ROOT / "docs" / "beyond.md").read_text().split())
STREAMS = ("input_permuted", "random_labels", "regression")


def numbers(folder: str = "") -> pd.DataFrame:
    """Continued minus fresh over the last five tasks, by rule and stream: points of accuracy, or squared error."""
    table, facts = load_table(ROOT / "figures" / folder / "changing_streams.csv")
    assert facts["quick"] is False
    parts = []
    for metric, better, scale in (("online_accuracy", "higher", 100.0), ("online_error", "lower", 1.0)):
        if metric not in set(table["metric"]):
            continue
        found = plasticity(table, metric=metric, better=better)
        found = found[found["quantity"] == "last_minus_fresh"]
        parts.append(found.assign(**{name: scale * found[name] for name in ("mean", "low", "high")}))
    return pd.concat(parts).set_index(["rule", "stream"])


def rows() -> list[str]:
    """The lines of the page's table."""
    found = numbers()
    lines = []
    for rule in dict.fromkeys(found.index.get_level_values("rule")):
        cells = []
        for stream in STREAMS:
            one, places = found.loc[(rule, stream)], 2 if stream == "regression" else 1
            cells.append(f"{one['mean']:+.{places}f} [{one['low']:+.{places}f}, {one['high']:+.{places}f}]")
        lines.append(f"| {label_of(rule)} | {' | '.join(cells)} |".replace("-", "−").replace("L2−init", "L2-init"))
    return lines


def test_the_table_of_the_page_is_that_of_the_committed_runs() -> None:
    for row in rows():
        assert row in PAGE, row


def test_the_numbers_with_a_new_optimizer_are_those_of_the_committed_runs() -> None:
    found = numbers("optimizer_renewed")
    for rule in ("sp", "dash", "warm", "cold_shrunk"):
        mean, low, high = found[["mean", "low", "high"]].xs((rule, "input_permuted")).to_numpy()
        words = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
        assert words in PAGE, (rule, words)


def minus_twin(found: pd.DataFrame, rule: str, stream: str) -> str:
    mean, low, high = found[["mean", "low", "high"]].xs((rule, stream)).to_numpy()
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")


def test_the_numbers_of_rules_that_act_while_training_are_those_of_the_committed_runs() -> None:
    found, (first, second) = numbers("while_training"), STREAMS[:2]
    rules = found.index.get_level_values("rule")
    both = {rule: [minus_twin(found, rule, stream) for stream in (first, second)] for rule in rules}
    for said in (
        f"A spectral penalty ends above its twin in both ({' and '.join(both['spectral'])})",
        f"weight clipping stays near it ({' and '.join(both['clip'])})",
        f"with permuted inputs ({both['parseval'][0]}) and of no certain sign with random labels "
        f"({both['parseval'][1]})",
        f"resets end at {' and '.join(both['snr'])}",
        f"make it worse**: {both['ewc'][1]} and {both['si'][1]} where warm is {both['warm'][1]}",
    ):
        assert said in PAGE, said
    resets = ("redo", "regrama", "cbp", "cpr", "swr_weights")
    means = {stream: found["mean"].xs(stream, level="stream") for stream in (first, second)}
    gains = {stream: [mean[rule] - mean["warm"] for rule in resets] for stream, mean in means.items()}
    lost = {stream: -mean["warm"] for stream, mean in means.items()}
    words = (
        f"recover at most {max(gains[first]):.1f} of the {lost[first]:.1f} points that warm has lost with "
        f"permuted inputs, and {max(gains[second]):.1f} of {lost[second]:.1f} with random labels"
    )
    assert words in PAGE, words


def test_what_is_said_of_redo_and_nap_is_what_the_committed_runs_show() -> None:
    last = ends("redo", "random_labels", "while_training").mean()
    assert f"({last['dormant_share']:.0%} and {last['fresh_dormant_share']:.0%})" in PAGE
    behind = 100 * (last["fresh_online_accuracy"] - last["online_accuracy"])
    assert f"learned {behind:.0f} points less in that task" in PAGE
    table, _ = load_table(ROOT / "figures" / "while_training" / "changing_streams.csv")
    means = table[table["rule"] == "nap"].pivot_table(index=["stream", "stage"], columns="metric", values="value")
    gaps = 100 * (means["online_accuracy"] - means["fresh_online_accuracy"])
    gap, other = gaps.xs("random_labels", level="stream"), gaps.xs("input_permuted", level="stream")
    assert f"in the first task already ({gap.loc[1]:.1f} points)".replace("-", "−") in PAGE
    assert gap.max() - gap.min() < 4
    words = f"With permuted inputs it falls from {other.loc[1]:.1f} to {other.iloc[-5:].mean():.1f} points"
    assert words.replace("-", "−") in PAGE, words


def test_only_bounds_and_fire_are_near_or_above_their_twin_in_both_streams() -> None:
    """The worse stream of each rule, in points."""
    found = numbers("while_training")["mean"].unstack("stream").min(axis=1).sort_values(ascending=False)
    assert {*found.index[:3]} == {"fire", "spectral", "clip"}
    assert found.iloc[2] > -2 > -9 > found.iloc[3]


def test_resets_come_as_often_as_is_said() -> None:
    """Updates: 400 a task of random labels; 90 in each of 40 passes with permuted inputs."""
    facts = json.loads((ROOT / "figures" / "while_training" / "changing_streams.json").read_text())
    batch, train = facts["config"]["batch_size"], facts["data"]["train"]
    assert 1000 / (20 * 320 / batch) == 2.5
    assert 40 * -(-train // batch) // 1000 == 3
    assert "once in two and a half tasks of random labels, and three times in all with permuted inputs" in PAGE


def test_what_bounds_the_spectrum_still_falls_with_random_labels() -> None:
    table, _ = load_table(ROOT / "figures" / "while_training" / "changing_streams.csv")
    means = table[table["stream"] == "random_labels"].pivot_table(
        index=["rule", "stage"], columns="metric", values="value"
    )
    gap = 100 * (means["online_accuracy"] - means["fresh_online_accuracy"])
    middle = {rule: gap[rule].loc[11:15].mean() for rule in ("spectral", "parseval", "clip", "fire")}
    one, two, three, fire = (f"{value:+.1f}" for value in middle.values())
    words = f"at {one} (spectral), {two} (Parseval) and {three} (clipping), and FIRE, which stays, at {fire}"
    assert words in PAGE, words
    fallen = {rule: value - gap[rule].loc[26:30].mean() for rule, value in middle.items()}
    assert min(fallen[rule] for rule in ("spectral", "parseval", "clip")) > 4
    assert fallen["fire"] < 1.5


def test_the_same_rule_in_both_tables_is_the_same_run() -> None:
    """Rules that act while training change nothing for their neighbours."""
    coordinates = ["rule", "stream", "seed", "stage", "metric"]
    one, two = (load_table(ROOT / "figures" / name / "changing_streams.csv")[0] for name in ("", "while_training"))
    both = one.merge(two, on=coordinates)
    assert {*both["rule"]} == {"warm", "fire", "l2_init:l2=0.001:form=textbook"}
    assert (both["value_x"] == both["value_y"]).all()


def ends(rule: str, stream: str, folder: str = "") -> pd.DataFrame:
    """Metrics of the last task, by seed."""
    table, _ = load_table(ROOT / "figures" / folder / "changing_streams.csv")
    mine = table[(table["rule"] == rule) & (table["stream"] == stream)]
    last: pd.DataFrame = mine[mine["stage"] == mine["stage"].max()]
    return last.pivot_table(index="seed", columns="metric", values="value")


def test_how_a_warm_network_loses_plasticity_is_what_the_committed_runs_show() -> None:
    table, _ = load_table(ROOT / "figures" / "changing_streams.csv")
    warm = table[(table["rule"] == "warm") & (table["stream"] == "random_labels")]
    means = warm.pivot_table(index="stage", columns="metric", values="value")
    ahead = means["online_accuracy"] - means["fresh_online_accuracy"]
    assert (ahead.loc[2:6] > 0.01).all()
    assert (ahead.loc[8:] < -0.01).all()
    last = ends("warm", "random_labels")
    shares = f"{last['dormant_share'].mean():.0%} of its hidden units are dormant (of its twin's "
    assert f"{shares}{last['fresh_dormant_share'].mean():.0%})" in PAGE
    assert (len(last), int((last["effective_rank"] == 0).sum())) == (10, 9)


def test_dormant_units_do_not_tell_what_the_effective_rank_does() -> None:
    last = ends("sp", "input_permuted").mean()
    assert f"learns {100 * (last['fresh_online_accuracy'] - last['online_accuracy']):.0f} points less" in PAGE
    assert last["dormant_share"] <= last["fresh_dormant_share"]
    assert last["effective_rank"] < last["fresh_effective_rank"] / 2


def test_the_speed_of_replicas_is_the_committed_one() -> None:
    saved = json.loads((ROOT / "benchmarks" / "results" / "streams.json").read_text())
    assert saved["quick"] is False
    ratios = {(row["optimizer"], row["networks"]): row["median_ratio"] for row in saved["measurements"]}
    words = (
        f"take {ratios['sgd', 32]:.1f} (SGD) and {ratios['adam', 32]:.1f} (Adam) times as long as 32 at once, "
        f"{ratios['sgd', 100]:.1f} and {ratios['adam', 100]:.1f} times as long as 100"
    )
    assert words in PAGE
