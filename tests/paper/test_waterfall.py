"""The chain from cold to DASH: which links, at which stage, and what each adds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dashtheory.paper.waterfall import chain_of, chains_of, draw_chain, missing_words, render_chain, samples_of
from dashtheory.record import make_table, stage_rows

SLOW = "cold:learning_rate=0.01"
FAST = "cold:learning_rate=0.1:weight_decay=0.0005"
WARM = "warm:learning_rate=0.1"
# rule: accuracy in per cent by stage, for seed 0; seed 1 has one point more, and DASH two more
ACCURACIES = {
    "cold": {1: 30, 2: 37, 3: 42},
    SLOW: {2: 44},
    FAST: {2: 45},
    "cold:learning_rate=tuned": {2: 41},
    "cold_shrunk": {2: 60},
    "warm": {1: 30, 2: 36, 3: 38},
    WARM: {1: 33, 2: 43},
    "uniform": {1: 30, 2: 43, 3: 51},
    "uniform:lam=0.05": {2: 70},
    "dash": {1: 30, 2: 47, 3: 54},
}


def table(rules: tuple[str, ...] = tuple(ACCURACIES), seeds: int = 2) -> pd.DataFrame:
    return make_table(
        row
        for rule in rules
        for seed in range(seeds)
        for stage, accuracy in ACCURACIES[rule].items()
        for row in stage_rows(
            level="deep",
            experiment="x",
            rule=rule,
            seed=seed,
            stage=stage,
            metrics={
                "test_accuracy": (accuracy + seed * (3 if rule == "dash" else 1)) / 100,
                "steps": 10.0 * stage + seed,
                "epochs": 4.0 + 2 * seed,
            },
        )
    )


def test_links_are_the_best_of_each_kind_at_the_last_stage_with_a_tuned_cold_start() -> None:
    stage, links = chain_of(table(), 100)
    assert stage == 2
    assert [link.rule for link in links] == ["cold", FAST, WARM, "uniform", "dash"]
    assert [link.accuracy for link in links] == pytest.approx([0.375, 0.455, 0.435, 0.435, 0.485])
    assert math.isnan(links[0].change)
    assert [link.change for link in links[1:]] == pytest.approx([0.08, -0.02, 0, 0.05])
    assert [link.seeds for link in links] == [2] * 5
    assert links[1].steps == 20.5


def test_without_a_tuned_cold_start_it_is_the_last_common_stage() -> None:
    stage, links = chain_of(table(("cold", "uniform", "dash")), 100)
    assert (stage, [link.rule for link in links]) == (3, ["cold", "uniform", "dash"])
    assert chain_of(table(("cold", "dash")), 100) == (0, [])
    assert render_chain(0, []) == ""


def test_the_stage_with_most_links_has_a_chain_beside_the_last() -> None:
    later = {"cold": 50, FAST: 55, "uniform": 56, "dash": 57}
    last = table(tuple(later), 1)
    last = last[last["stage"] == 2].assign(stage=3)
    accuracies = last["rule"].map(later) / 100
    last["value"] = last["value"].where(last["metric"] != "test_accuracy", accuracies)
    both = pd.concat([table()[lambda rows: rows["stage"] < 3], last])
    assert chains_of(both, 100) == [(2, chain_of(table(), 100)[1]), chain_of(both, 100)]
    stage, links = chains_of(both, 100)[1]
    assert (stage, [link.rule for link in links]) == (3, list(later))
    assert [link.accuracy for link in links] == pytest.approx([0.5, 0.55, 0.56, 0.57])
    alike = both[both["rule"] != WARM]
    assert [stage for stage, _ in chains_of(alike, 100)] == [3]  # as many links, and later
    assert chains_of(table(), 100) == [chain_of(table(), 100)]
    assert chains_of(table(("cold", "dash")), 100) == []


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    _, links = chain_of(table(seeds=3), 100)
    mean, half = 0.06, stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3)  # differences of 4, 6 and 8 points
    assert (links[-1].low, links[-1].high) == pytest.approx((mean - half, mean + half))
    for seeds in (1, 2):
        _, few = chain_of(table(seeds=seeds), 100)
        assert all(math.isnan(link.low) for link in few)


def test_a_chain_is_of_the_seeds_that_all_links_have() -> None:
    """Else a bar would be a difference between networks of other seeds, and not what its link adds."""
    part = table()
    part = part[~((part["rule"] == WARM) & (part["seed"] == 1))]
    _, links = chain_of(part, 100)
    assert [link.seeds for link in links] == [1] * 5
    assert [link.accuracy for link in links] == pytest.approx([0.37, 0.45, 0.43, 0.43, 0.47])
    assert [link.change for link in links[1:]] == pytest.approx(np.diff([0.37, 0.45, 0.43, 0.43, 0.47]))
    assert links[1].steps == 20
    assert links[0].accuracy + sum(link.change for link in links[1:]) == pytest.approx(links[-1].accuracy)


def test_the_best_is_one_of_those_with_most_seeds() -> None:
    part = table()
    _, links = chain_of(part[~((part["rule"] == FAST) & (part["seed"] == 1))], 100)
    assert (links[1].rule, links[1].seeds) == (SLOW, 2)
    alone = part[~((part["rule"] == "uniform") & (part["seed"] == 1))]
    _, links = chain_of(alone[~((alone["rule"] == SLOW) & (alone["seed"] == 0))], 100)
    assert (links[1].rule, links[1].seeds) == (FAST, 1)


def test_links_without_a_common_seed_are_each_of_their_own() -> None:
    part = table()
    part = part[
        ~((part["rule"] == "uniform") & (part["seed"] == 1)) & ~((part["rule"] == "dash") & (part["seed"] == 0))
    ]
    _, links = chain_of(part, 100)
    assert [link.seeds for link in links] == [2, 2, 2, 1, 1]
    assert math.isnan(links[-1].change)


def test_samples_are_epochs_times_examples_of_whole_runs_alone() -> None:
    found = samples_of(table(), "dash", 3, 100)
    assert found == pytest.approx((4 + 6) / 2 * 100 * (1 + 2 + 3))
    assert math.isnan(samples_of(table(), SLOW, 2, 100))


def test_the_page_says_what_is_left_over_the_best_cold_start() -> None:
    text = render_chain(*chain_of(table(seeds=3), 100))
    assert "DASH is +12.0 points from cold, and +4.0 from the best cold start that was run (cold, " in text
    assert "are of the seeds that all its links have (n = 3)." in text
    assert text.count("\n|") == 2 + 5
    assert "| DASH | 3 | 50.0 | +6.0 [+1.0, +11.0] |" in text
    assert "| – |" in text  # samples of a run with stages left out


def test_a_warm_start_whose_training_is_not_that_of_the_cold_one_is_told() -> None:
    words = "So does that of the warm start, whose best training is another than the cold one's."
    assert words in render_chain(*chain_of(table(), 100))
    rules = tuple(rule for rule in ACCURACIES if rule not in {SLOW, FAST, WARM})
    alike = [
        table(rules),
        *(
            table((rule,)).replace({"rule": {rule: same}})
            for rule, same in ((FAST, "cold:learning_rate=0.1"), (WARM, "warm:learning_rate=0.1"))
        ),
    ]
    assert words not in render_chain(*chain_of(pd.concat(alike), 100))


def test_bars_go_from_one_link_to_the_next() -> None:
    stage, links = chain_of(table(), 100)
    figure = draw_chain(stage, links, {"title": "t", "setting": "s", "foot": "f"})
    (ax,) = figure.axes
    assert missing_words(stage, links) in [text.get_text() for text in ax.texts]
    bars = [bar for container in ax.containers for bar in container]
    ends = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in bars]
    assert [end for _, end in ends] == pytest.approx([37.5, 45.5, 43.5, 43.5, 48.5])
    assert [start for start, _ in ends] == pytest.approx([0, 37.5, 45.5, 43.5, 43.5])


def test_no_interval_is_cut_off() -> None:
    stage, links = chain_of(table(), 100)
    wide = [links[0], *(replace(link, low=-0.2, high=0.1) for link in links[1:])]
    figure = draw_chain(stage, wide, {"title": "", "setting": "", "foot": ""})
    low, high = figure.axes[0].get_ylim()
    drawn = [float(y) for line in figure.axes[0].lines for y in np.asarray(line.get_ydata())]
    assert low < min(drawn)
    assert max(drawn) < high


def test_links_that_were_not_run_are_named_until_they_are() -> None:
    every = table()
    steps, norms = "growing steps alone (rewarm)", "DASH's norms alone"
    assert missing_words(*chain_of(every, 100)) == f"Not run to stage 2: {steps}, {norms}."
    without = chain_of(every[every["rule"] != WARM], 100)
    assert (
        missing_words(*without)
        == f"Not run to stage 2: warm with another step size or weight decay, {steps}, {norms}."
    )
    assert render_chain(*without).endswith(f"\n\n{missing_words(*without)}\n")
    dash = every[every["rule"] == "dash"]
    whole = pd.concat([every, dash.assign(rule="norm_matched"), dash.assign(rule="rewarm")])
    assert missing_words(*chain_of(whole, 100)) == missing_words(0, []) == ""
    assert [link.rule for link in chain_of(whole, 100)[1]][2:4] == [WARM, "rewarm"]
    assert ["changes two things" in render_chain(*chain_of(one, 100)) for one in (whole, every)] == [True, False]
    assert "Not run" not in render_chain(*chain_of(whole, 100))
