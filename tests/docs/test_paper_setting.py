"""What the pages say of the paper's setting, its controls and the effective step is what the tables hold."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from scipy import stats

from dashtheory._spec import split_text
from dashtheory.command.remedy_results import compared, kept_results
from dashtheory.experiments.remedy_scores import PUBLISHED, TUNED
from dashtheory.paper.precision import render_precision
from dashtheory.paper.published import PUBLISHED as AUTHORS
from dashtheory.paper.report import read_all
from dashtheory.record import holm, load_table, paired_differences
from tests.docs.results_cases import BENCHMARKS, RESULTS, ROOT, difference, measured, rows_not_asked

TEXT = " ".join(RESULTS.split())
THEORY = " ".join((ROOT / "docs" / "theory.md").read_text(encoding="utf-8").split())
RUNS, _ = load_table(ROOT / "paper_repro" / "results" / "cpu" / "cifar10-resnet18.csv")
WARM_SLOW, WARM_FAST = (f"warm:learning_rate={rate}" for rate in ("0.01", "0.1"))
SLOW, FAST, DECAYED = (f"cold:learning_rate={rate}" for rate in ("0.01", "0.1", "0.1:weight_decay=0.0005"))
ELSEWHERE = ["permuted", "permuted:move=within_filters", "permuted:move=across_filters", "scattered"]
CONTROLS = ["uniform", "norm_matched", *ELSEWHERE]


def first_seed(metric: str, scale: float = 1.0) -> dict[tuple[str, int], float]:
    """Of seed 0, by rule and stage."""
    return {(rule, stage): value for (rule, _, stage), value in measured(FIRST, metric, scale).items()}


FIRST = RUNS[RUNS["seed"] == 0]
ACCURACY, NORM, EPOCHS = first_seed("test_accuracy", 100), first_seed("weight_norm_at_start"), first_seed("epochs")


def samples(rule: str) -> float:
    """Thousands to stage 5."""
    return sum(stage * EPOCHS[rule, stage] for stage in range(1, 6))


def share(rule: str) -> str:
    return f"{100 * samples(rule) / samples('cold'):.0f}%"


def span(values: Iterable[float], decimals: int = 1) -> str:
    found = list(values)
    return f"{min(found):.{decimals}f}% to {max(found):.{decimals}f}%"


def signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def minus(table: pd.DataFrame, metric: str, reference: str) -> pd.DataFrame:
    """DASH minus another rule: a line with mean, low, high and p."""
    found = paired_differences(table, metric, reference)
    return found[found["rule"] == "dash"]


def bracket(line: pd.DataFrame, scale: float = 100, suffix: str = "") -> str:
    """The interval in a table of one line."""
    mean, low, high = (signed(scale * float(line[end + suffix].item())) for end in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def test_the_ends_of_the_stages() -> None:
    found = {place: f"{value:.1f}%" for place, value in ACCURACY.items()}

    def lead(rule: str, over: str, stage: int = 5) -> str:
        return f"{ACCURACY[rule, stage] - ACCURACY[over, stage]:.1f}"

    for words in (
        f"after stage 5 warm is at {found['warm', 5]}, cold at {found['cold', 5]}, S&P at {found['sp', 5]}, one "
        f"factor for all weights at {found['uniform', 5]}, DASH's factors at random places at "
        f"{found['permuted', 5]}, DASH at {found['dash', 5]}. DASH leads cold by {lead('dash', 'cold')} points. A "
        f"cold start with learning rate 0.1 has {lead(FAST, 'cold')} of them ({found[FAST, 5]}; it ends at "
        f"{found[SLOW, 5]} with 0.01, and at {found['cold_shrunk', 5]} from weights × 0.45), with weight "
        f"decay 0.0005 beside it {lead(DECAYED, 'cold')} ({found[DECAYED, 5]}), one factor for all "
        f"has all but {lead('dash', 'uniform')}, DASH's factors at random places all but "
        f"{lead('dash', 'permuted')}.",
        f"at the start of stage 5 it leaves a norm of {NORM['uniform', 5]:.1f}, random places "
        f"{NORM['permuted', 5]:.1f}, DASH {NORM['dash', 5]:.1f}.",
        f"DASH's {lead('dash', DECAYED)} points over the best cold start would be fewer if that start were tuned "
        "further: 0.1 is the largest step that was tried and 0.0005 the only weight decay, accuracy still rises "
        f"with the step ({found['cold', 5]}, {found[SLOW, 5]}, {found[FAST, 5]}), and the decay adds "
        f"{lead(DECAYED, FAST, 2)} points at stage 2, {lead(DECAYED, FAST)} at stage 5.",
        f"with 0.1 it is at {found[WARM_FAST, 5]} (with 0.01 at {found[WARM_SLOW, 5]}), "
        f"{lead(WARM_FAST, 'warm')} points above warm and {lead(FAST, WARM_FAST)} below a cold start with the "
        f"same step (no decay), on {share(WARM_FAST)} of cold's samples. One factor for all is "
        f"{lead('uniform', WARM_FAST)} points above that.",
        f"({found['scattered', 1]} in place of {found['dash', 1]} after stage 1)",
    ):
        assert words in TEXT, words


def test_steps_that_grow_do_what_a_shrink_does() -> None:
    def ends(rule: str) -> str:
        *first, last = (f"{ACCURACY[rule, stage]:.1f}%" for stage in (2, 3, 4, 5))
        return f"{', '.join(first)} and {last}"

    assert f"is at {ends('rewarm')} after stages 2 to 5, one factor for all at {ends('uniform')}" in TEXT
    *first, last = (f"{0.3 ** (-2 * (stage - 1)):,.0f}" for stage in (2, 3, 4, 5))
    assert f"(so that they are {', '.join(first)} and {last} times the first)" in TEXT
    rewarm, uniform, warm = (f"{ACCURACY[rule, 5]:.1f}%" for rule in ("rewarm", "uniform", "warm"))
    assert f"`rewarm` ends at {rewarm} (one factor for all {uniform}, warm {warm}, seed 0)" in TEXT
    old = first_seed("old_accuracy_reestimated_epoch0", 100)
    assert all(round(old["rewarm", stage]) == 100 for stage in (2, 3, 4, 5))


def test_the_largest_step_of_the_cold_starts_is_said_to_be_so() -> None:
    colds = [rule for rule in set(RUNS["rule"]) if split_text(str(rule))[0] == "cold"]
    assert set(colds) == {"cold", SLOW, FAST, DECAYED}
    assert ACCURACY["cold", 5] < ACCURACY[SLOW, 5] < ACCURACY[FAST, 5] < ACCURACY[DECAYED, 5]
    assert not [rule for rule in set(RUNS["rule"]) if rule.startswith("dash") and "decay" in rule]


def test_which_weights_shrink() -> None:
    def over(control: str) -> str:
        *first, last = (signed(ACCURACY["dash", stage] - ACCURACY[control, stage]) for stage in (2, 3, 4, 5))
        return f"{', '.join(first)} and {last}"

    old = first_seed("old_accuracy_reestimated_epoch0", 100)
    assert {round(old["dash", stage]) for stage in (2, 3)} == {12}
    assert {round(old[rule, 2]) for rule in ("uniform", "norm_matched")} == {100}
    elsewhere = [round(old[rule, 2]) for rule in ELSEWHERE]
    for words in (
        f"against its own factors at random places DASH is {over('permuted')} points after stages 2 to 5.",
        f"(Against its norms alone {over('norm_matched')}; against one factor for all, which has another norm, "
        f"{over('uniform')}.)",
        f"Stage 2 ends at {ACCURACY['uniform', 2]:.1f}% (one for all) and {ACCURACY['norm_matched', 2]:.1f}% "
        f"(DASH's norms alone) with equal factors, at {span(ACCURACY[rule, 2] for rule in ELSEWHERE)} with DASH's "
        "factors elsewhere (anywhere, within or across filters, or drawn anew), at "
        f"{ACCURACY['dash', 2]:.1f}% with DASH.",
        f"DASH has {old['dash', 2]:.0f}% of the old data right, its factors elsewhere {min(elsewhere)}% to "
        f"{max(elsewhere)}%, equal factors all.",
        f"the six controls end at {span(ACCURACY[rule, 3] for rule in CONTROLS)}, DASH at "
        f"{ACCURACY['dash', 3]:.1f}%.",
    ):
        assert words in TEXT, words


def test_factors_from_a_tenth_of_every_chunk_are_not_told_to_be_enough() -> None:
    ends = {rule: [ACCURACY[rule, stage] for stage in (2, 3)] for rule in ("dash:share=0.1", "dash")}
    tenth, full = (" and ".join(f"{end:.1f}%" for end in both) for both in ends.values())
    best = " and ".join(f"{max(ACCURACY[rule, stage] for rule in CONTROLS):.1f}%" for stage in (2, 3))
    behind = " and ".join(f"{end - other:.1f}" for other, end in zip(*ends.values(), strict=True))
    assert (
        f"with `share=0.1` DASH ends at {tenth} after stages 2 and 3 of seed 0, {behind} points below the whole "
        f"pass, and just above the best of the six controls ({best})."
    ) in TEXT
    assert f"{tenth} with a tenth, {full} with the full pass" in " ".join(BENCHMARKS.split())


def test_the_length_of_a_stage_goes_with_its_accuracy_at_stage_2_and_is_the_same_at_stage_3() -> None:
    seven = ["dash", *CONTROLS]
    epochs, ends = ([one[rule, 2] for rule in seven] for one in (EPOCHS, ACCURACY))
    rank = stats.spearmanr(epochs, ends).statistic
    assert (
        f"epochs trained, {min(epochs):.0f} to {max(epochs):.0f} (rank correlation over these seven {rank:.2f})"
        in TEXT
    )
    assert {EPOCHS[rule, 3] for rule in seven} == {12, 13}
    for words in (
        f"growing steps train {EPOCHS['rewarm', 2]:.0f} epochs, forget nothing, and are at "
        f"{ACCURACY['rewarm', 2]:.1f}%.",
        f"At stage 3 all seven train 12 or 13 epochs with seed 0 (growing steps {EPOCHS['rewarm', 3]:.0f})",
    ):
        assert words in TEXT, words


def test_who_trains_how_long() -> None:
    steps = first_seed("steps")
    assert (
        f"to stage 5 on {share('dash')} of cold's samples (uniform {share('uniform')}, S&P {share('sp')}, warm "
        f"{share('warm')}), in stage 5 for {steps['dash', 5]:,.0f} steps where cold takes "
        f"{steps['cold', 5]:,.0f} and cold with learning rate 0.1 takes {steps[FAST, 5]:,.0f}."
    ) in TEXT
    assert f"{1000 * samples('dash'):,.0f} ({share('dash')})" in TEXT


def effective_step(rule: str, stage: int) -> float:
    options = dict(option.split("=") for option in split_text(rule)[1])
    grown = 0.3 ** (-2 * (stage - 1)) if rule == "rewarm" else 1.0
    return grown * float(options.get("learning_rate", 0.001)) / NORM[rule, stage] ** 2


def test_how_far_the_effective_step_goes() -> None:
    ranks, counts = {}, {}
    for stage in (2, 5):
        rules = [rule for rule, when in ACCURACY if when == stage]
        pairs = [(effective_step(rule, stage), ACCURACY[rule, stage]) for rule in rules]
        ranks[stage], counts[stage] = stats.spearmanr(pairs).statistic, len(rules)
    assert (
        f"rank correlation {ranks[5]:.2f} with accuracy over the {counts[5]} rules of stage 5, and {ranks[2]:.2f} "
        f"over the {counts[2]} of stage 2."
    ) in TEXT


def test_warm_hardly_cools() -> None:
    apart = [abs(effective_step("warm", stage) / effective_step("cold", stage) - 1) for stage in (2, 3, 4, 5)]
    assert 0.001 < max(apart) < 0.002
    assert f"goes from {NORM['warm', 2]:.2f} to {NORM['warm', 5]:.2f} over the starts of stages 2 to 5" in THEORY
    table, _ = load_table(ROOT / "figures" / "effective_step.csv")
    last = table[(table["metric"] == "effective_step_at_start") & (table["stage"] == 5)]
    mean = last.groupby("rule")["value"].mean()
    assert 0.03 < 1 - mean["warm"] / mean["cold"] < 0.04
    assert "the step stays within 0.2% of cold's (digits: 4%)" in THEORY
    assert "warm's is within 4% of cold's, and within 0.2% in [the paper's setting](#paper)" in TEXT


def test_rounding_is_told_as_measured() -> None:
    """The difference between precisions is that of the page of results, whose last section it is."""
    page = render_precision(read_all(ROOT / "paper_repro" / "results"))
    (cold,) = (line for line in page.splitlines() if line.startswith("| cold |"))
    assert f"in the cut preset below: {cold.split(' | ')[2]} points)" in TEXT
    (first,) = (one.value for one in AUTHORS if (one.rule, one.stage, one.metric) == ("cold", 1, "test_accuracy"))
    assert f"The authors' run has {100 * first:.1f}% after stage 1" in TEXT


def test_the_early_pattern_in_the_small_setting_is_one_of_eight_contrasts() -> None:
    table, _ = load_table(ROOT / "figures" / "cifar10" / "rule_ablation.csv")
    found = {}
    for stage in (2, 3, 4, 5):
        for control in ("permuted", "uniform"):
            found[stage, control] = minus(table[table["stage"] == stage], "test_accuracy", control)
    p = holm([line["p"].item() for line in found.values()])
    assert len(p) == 8
    assert sorted(p)[0] == p[0]
    assert (
        f"at stage 2 DASH is {bracket(found[2, 'permuted'])} points from its factors permuted, one of eight "
        f"contrasts (two controls, stages 2 to 5; p = {p[0]:.2f} after Holm's correction), and at stage 3 "
        f"{bracket(found[3, 'permuted'])}."
    ).replace("p = 0.", "p = .") in TEXT
    norms = (
        table[(table["metric"] == "weight_norm_at_start") & (table["stage"] == 5)].groupby("rule")["value"].mean()
    )
    assert f"({norms['uniform']:.1f}, not {norms['dash']:.1f}, at the start of stage 5)" in TEXT


def test_the_step_alone_gains_as_much_on_digits_and_is_not_told_to_on_cifar() -> None:
    table, _ = load_table(ROOT / "figures" / "effective_step.csv")
    assert f"(warm is {difference(table, 'warm', 'cold')} from cold)" in TEXT
    scales = (
        table[(table["metric"] == "mean_scale") & (table["rule"] == "uniform")].groupby("stage")["value"].mean()
    )
    assert f"has s from {scales.min():.2f} to {scales.max():.2f} here" in TEXT
    folder = ROOT / "figures" / "remedies"
    (small,) = (one for one in compared(kept_results(folder)) if one.name == "cifar10")
    scores = small.scores

    def minus_warm(rule: str, arm: str) -> str:
        return bracket(scores[(scores["rule"] == rule) & (scores["arm"] == arm)], 1, "_warm")

    runs, _ = load_table(folder / "remedies.csv")
    plain = runs[(runs["experiment"] == "cifar10") & runs["rule"].isin(["dash", "rewarm"])]
    apart = minus(plain, "last", "rewarm")
    assert (
        f"with defaults) DASH is {bracket(apart)} points from it, and from a warm start with its defaults the "
        f"step alone is {minus_warm('rewarm', PUBLISHED)}, DASH {minus_warm('dash', PUBLISHED)}; with both tuned, "
        f"{minus_warm('rewarm', TUNED)} and {minus_warm('dash', TUNED)}."
    ) in TEXT


def test_the_commands_of_the_paper_s_setting_make_every_row_of_its_table() -> None:
    (section,) = (part for part in RESULTS.split("\n## ") if '<a id="paper"></a>' in part)
    assert rows_not_asked(section, RUNS) == []
