"""What docs/remedies.md says was found is what the committed comparison holds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from dashtheory.command.remedy_results import compared, kept_results
from dashtheory.experiments.equal_tuning import DIGITS, budget, grids_of
from dashtheory.experiments.remedies import STREAM_NAMES
from dashtheory.experiments.remedy_scores import CLAMPED, PUBLISHED, TUNED
from dashtheory.experiments.remedy_tables import at_ends, best_remedy, findings, idle_rules, render, told_over_all
from tests.docs.results_cases import ROOT

PAGE = " ".join((ROOT / "docs" / "remedies.md").read_text(encoding="utf-8").split())
FOLDER = ROOT / "figures" / "remedies"
KEPT = kept_results(FOLDER)
STREAMS = {one.name: one for one in compared(KEPT)}
WRONG = ("digits", "half", "equal_epochs")
IDLE = ("redo:every=200", "regrama:every=200", "snr")


def row(stream: str, rule: str, arm: str = TUNED) -> pd.Series[float]:
    scores = STREAMS[stream].scores
    (found,) = (one for _, one in scores[(scores["rule"] == rule) & (scores["arm"] == arm)].iterrows())
    return found


def minus(stream: str, rule: str, reference: str = "warm", arm: str = TUNED) -> str:
    return signed(row(stream, rule, arm), reference)


def signed(found: Mapping[Any, Any] | pd.Series[float], reference: str) -> str:
    parts = (found[f"{part}_{reference}"] for part in ("mean", "low", "high"))
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*parts).replace("-", "−")


def nats(rule: str, reference: str = "warm", arm: str = TUNED) -> str:
    """On text, in whole nats."""
    found = row("text", rule, arm)
    parts = (found[f"{part}_{reference}"] / 100 for part in ("mean", "low", "high"))
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*parts).replace("-", "−")


def scores_of(stream: str, text: str) -> pd.DataFrame:
    """Scores and steps of what was run under a text, by seed."""
    runs = STREAMS[stream].runs
    mine = runs[runs.index.get_level_values("rule") == text]
    return mine.droplevel("rule")[["last", "mean", "steps"]]


def chosen(stream: str, rule: str) -> Mapping[str, float]:
    (found,) = (choice for choice in STREAMS[stream].choices if choice.remedy.rule == rule)
    return found.values


def test_the_tables_are_those_of_the_results() -> None:
    assert (FOLDER / "TABLES.md").read_text(encoding="utf-8") == render(list(STREAMS.values()))


def test_what_was_not_run_is_named() -> None:
    missing = [name for name in STREAM_NAMES if name not in STREAMS]
    said = re.search(r"Not run yet: ([^.]*)\.", PAGE)
    assert (said is None) == (not missing)
    if said is not None:
        assert re.findall(r"`(\w+)`", said[1]) == missing


@pytest.mark.parametrize("stream", STREAMS)
def test_counts_of_the_finding(stream: str) -> None:
    one = STREAMS[stream]
    warm, cold = findings(one, "warm"), findings(one, "cold")
    total = sum(map(len, warm.values()))
    (line,) = re.findall(rf"\| `{stream}` \|[^|]*((?:\|[^|]*){{6}})\|", PAGE)
    counts = (total, *(len(found[kind]) for found in (warm, cold) for kind in ("better", "worse")))
    assert [cell.strip() for cell in line.split("|")[1:]] == [*map(str, counts), minus(stream, "dash", "left")]


def test_numbers_of_the_finding() -> None:
    assert [*STREAMS] == ["digits", "half", "wrong_first", "equal_epochs", "text", "cifar10"]
    for said in (
        f"({minus('cifar10', 'aid', 'cold')} points, a regulariser",
        f"Muon after a start with wrong labels ({minus('wrong_first', 'muon', 'cold')})",
        f"(NaP: {nats('nap', 'cold')} nats, {nats('nap_norm', 'cold')} with its norm before activations)",
        f"DASH is the best remedy ({minus('wrong_first', 'dash')} points from warm)",
        f"gains as much ({minus('wrong_first', 'uniform')})",
        f"with no weight touched ({minus('wrong_first', 'rewarm')})",
        f"DASH does harm ({minus('digits', 'dash')} in five chunks, {minus('half', 'dash')} from half to all; ",
        f"S&P {minus('digits', 'sp')} and {minus('half', 'sp')}). There",
        f"a tuned cold start is {minus('digits', 'cold')} and {minus('half', 'cold')} points from warm",
        f"for every rule DASH loses more ({minus('equal_epochs', 'dash')})",
    ):
        assert said in PAGE, said
    assert {name: findings(one, "cold")["better"] for name, one in STREAMS.items()} == {
        "digits": [],
        "half": [],
        "wrong_first": ["muon"],
        "equal_epochs": [],
        "text": ["nap", "nap_norm"],
        "cifar10": ["aid"],
    }
    assert best_remedy(STREAMS["wrong_first"]) == "dash"
    assert all(row(stream, "dash")["low_left"] <= 0 <= row(stream, "dash")["high_left"] for stream in STREAMS)
    for stream in ("wrong_first", "half", "digits"):  # "does about the same": intervals from warm overlap
        dash, uniform = row(stream, "dash"), row(stream, "uniform")
        assert max(dash["low_warm"], uniform["low_warm"]) < min(dash["high_warm"], uniform["high_warm"])
    ends = [at_ends(STREAMS[stream]) for stream in ("digits", "half")]
    steps, decays = (
        " and ".join(str(one[end]) for one in ends) for end in ("smallest step size", "largest weight decay")
    )
    assert {len(STREAMS[stream].choices) for stream in ("digits", "half")} == {57}
    said = f"{steps} of 57 rules are best with the smallest step size of the grid"
    assert f"{said} and {decays} with the largest weight decay" in PAGE


def test_corrected_over_all_streams_two_remedies_are_left() -> None:
    assert told_over_all(list(STREAMS.values()))["cold"] == {"text": ["nap"], "cifar10": ["aid"]}
    assert "Corrected over all streams at once interval dropout and NaP are left." in PAGE


def test_what_beats_a_tuned_warm_start() -> None:
    better = {name: findings(one, "warm")["better"] for name, one in STREAMS.items()}
    counts = [len(better[stream]) for stream in WRONG]
    said = f"{min(counts)} to {max(counts)} of 46"
    assert f"while where labels stay wrong {said} beat a tuned warm start" in PAGE
    assert all({"sam", "fire", "reset_last"} <= {*better[stream]} for stream in WRONG)
    rest = (
        f"{len(better['wrong_first'])} where they are put right, {len(better['text'])} on text, "
        f"{len(better['cifar10'])} on CIFAR-10."
    )
    assert f"{said} where labels stay wrong (SAM, FIRE and new last layers on all three streams), {rest}" in PAGE


def test_tuning_both_takes_much_of_what_defaults_gain() -> None:
    before, after = (
        [minus("cifar10", rule, arm=arm) for rule in ("sp", "dash", "fire")] for arm in (PUBLISHED, TUNED)
    )
    for said in (
        "S&P is {}, DASH {} and FIRE {} points from warm with the defaults of all".format(*before),
        "with both tuned it is {}, {} and {}.".format(*after),
    ):
        assert said in PAGE, said


def test_dash_hardly_chooses() -> None:
    shares = {name: 100 * row(name, "dash")[CLAMPED] for name in STREAMS}
    assert f"{min(shares.values()):.0f} to {max(shares.values()):.0f}% of the entries were at its floor" in PAGE
    pictures, _ = shares.pop("cifar10"), shares.pop("text")
    ends = (
        f"With {min(shares.values()):.0f} to {max(shares.values()):.0f}% of the entries at the floor on the digits"
    )
    assert f"{ends} DASH nearly is one factor there; on CIFAR-10 ({pictures:.0f}%)" in PAGE


def test_on_text_tuning_keeps_networks_from_learning_it_by_heart() -> None:
    one = STREAMS["text"]
    tuned = one.scores[one.scores["arm"] == TUNED].set_index("rule")
    before = {rule: row("text", rule, PUBLISHED)["last"] for rule in ("warm", "cold")}
    symbols = int(KEPT["text"].data["symbols"])
    guess = f"a guess among the {symbols} characters is at {math.log(symbols):.2f}"
    ends, short = at_ends(one), int((tuned["unconverged"] == one.setting.stages).sum())
    last = tuned["last"]
    worst = scores_of("text", str(tuned["text"]["warm"]))["last"].max()
    assert findings(one, "warm")["better"] == findings(one, "warm")["worse"] == []
    for said in (
        f"warm ends at {before['warm']:.2f} nats and cold at {before['cold']:.2f}, where {guess}.",
        f"the largest step size for {ends['largest step size']} of {len(one.choices)} rules and the smallest for "
        f"{ends['smallest step size']}, with which {short} end every run at the cap of 60 epochs, short of 1 nat.",
        f"Cold is then at {last['cold']:.2f} nats, warm at {last['warm']:.2f}",
        f"(one seed of five ends at {worst:.2f}, so that no remedy can be told from warm)",
        f"NaP at {last['nap']:.2f}, DASH ({nats('dash', 'cold')} from cold) and one factor for all "
        f"({nats('uniform', 'cold')}) at {last['dash']:.2f} and {last['uniform']:.2f}.",
        f"With the defaults of all DASH is {nats('dash', arm=PUBLISHED)} nats from warm, cold "
        f"{nats('cold', arm=PUBLISHED)}, and SAM {nats('sam', arm=PUBLISHED)}.",
    ):
        assert said in PAGE, said


def test_rules_that_find_nothing_to_do_are_named() -> None:
    assert set.intersection(*({*idle_rules(one)} for one in STREAMS.values())) - {"bn"} == {*IDLE}
    assert "ReDo, ReGraMa and self-normalized resets found no unit to reset, on any stream" in PAGE
    for rule in IDLE:
        tuned, warm = (scores_of("wrong_first", text) for text in (str(row("wrong_first", rule)["text"]), "warm"))
        pd.testing.assert_frame_equal(tuned, warm)
        assert f"the {minus('wrong_first', rule)} of three rules that did nothing there" in PAGE


def test_what_would_fool_it_is_counted() -> None:
    trials = [[round(one, DIGITS) for one in choice.trials.values()] for choice in STREAMS["wrong_first"].choices]
    best = [max(scores) for scores in trials]
    tied = sum(scores.count(most) > 1 for scores, most in zip(trials, best, strict=True))
    ends = f"between {min(best):.3f} and {max(best):.3f}"
    assert f"{tied} of {len(best)} rules have several best trials ({ends})" in PAGE
    *some, last = [str(at_ends(one)["end of some grid"]) for one in STREAMS.values()]
    assert f"({', '.join(some)} and {last} have a number at an end of one)" in PAGE
    for stream in WRONG:
        for rule in ("warm", "cold"):
            choice = next(one for one in STREAMS[stream].choices if one.remedy.rule == rule)
            grids = grids_of(choice.remedy, STREAMS[stream].setting)
            corner = {"learning_rate": grids["learning_rate"][0], "weight_decay": grids["weight_decay"][-1]}
            assert choice.values == corner


def test_numbers_of_the_predictions() -> None:
    wrong = ("half", "equal_epochs")
    for said in (
        f"in five chunks MAS is {minus('digits', 'mas')}, LwF {minus('digits', 'lwf')} and EWC "
        f"{minus('digits', 'ewc')} points from warm",
        f"worse than cold ({minus('digits', 'mas', 'cold')} for MAS)",
        f"EWC is {' and '.join(minus(stream, 'ewc') for stream in wrong)}, where the smallest strength was chosen",
        f"are above warm (MAS {' and '.join(minus(stream, 'mas') for stream in wrong)})",
        f"on CIFAR-10 (EWC {minus('cifar10', 'ewc')}) or text (EWC {nats('ewc')} nats, MAS {nats('mas')})",
        f"({minus('wrong_first', 'mas')} and {minus('wrong_first', 'lwf')}), EWC there does not "
        f"({minus('wrong_first', 'ewc')})",
        f"({minus('wrong_first', 'fire', 'left')}, {nats('fire', 'left')} nats on text, and "
        f"{minus('cifar10', 'fire', 'left')}); with ten steps",
        f"others, {minus('digits', 'fire', 'left')}, "
        f"{' and '.join(minus(stream, 'fire', 'left') for stream in wrong)}.",
        f"that its authors propose ({minus('wrong_first', 'hare_tortoise')})",
    ):
        assert said in PAGE, said
    for stream in wrong:
        assert chosen(stream, "ewc")["strength"] == 1
        assert chosen(stream, "dash")["lam"] == 0.3
        assert all(row(stream, rule)["mean_warm"] > 0 for rule in ("mas", "si", "lwf"))
    assert all(row("digits", rule)["high_cold"] < 0 for rule in ("ewc", "mas", "lwf"))
    assert row("text", "fire")["mean_left"] < 0
    steps = {stream: chosen(stream, "fire")["steps"] for stream in STREAMS}
    assert steps == {"digits": 10, "half": 10, "wrong_first": 5, "equal_epochs": 10, "text": 5, "cifar10": 5}


def test_a_wider_grid_does_less_harm_and_does_not_find_warm() -> None:
    (wide,) = compared(kept_results(FOLDER / "wider_grids"))
    assert (FOLDER / "wider_grids" / "TABLES.md").read_text(encoding="utf-8") == render([wide])
    (dash,) = (choice for choice in wide.choices if choice.remedy.rule == "dash")
    assert chosen("half", "dash")["lam"] == dash.remedy.grid[0] == 0.3
    assert dash.values["lam"] == 0.6
    scores = [dash.trials[text] for text in ("dash", "dash:lam=0.6", "dash:lam=0.9")]
    (found,) = wide.scores[(wide.scores["rule"] == "dash") & (wide.scores["arm"] == TUNED)].to_dict("records")
    assert found["mean_left"] == found["low_left"] == found["high_left"] == 0  # its norms alone are the same rule
    said = f"loses {signed(found, 'warm')} instead"
    assert said in PAGE
    assert f"({', '.join(f'{score:.3f}' for score in scores)} of labels of which a fifth is wrong)" in PAGE
    warm = dict(next(choice for choice in wide.choices if choice.remedy.rule == "warm").trials)
    assert abs(warm["warm"] - scores[1]) < 0.01 < warm["warm:learning_rate=0.0006"] - scores[1]


def test_a_second_round_of_searches_finds_other_numbers() -> None:
    (two,) = compared(kept_results(FOLDER / "two_rounds"))
    assert (FOLDER / "two_rounds" / "TABLES.md").read_text(encoding="utf-8") == render([two])
    tuned = {str(one["rule"]): one for _, one in two.scores[two.scores["arm"] == TUNED].iterrows()}
    found = {choice.remedy.rule: choice for choice in two.choices}
    other = {rule for rule, choice in found.items() if choice.values != chosen("half", rule)}
    assert other == {"dash", "uniform", "sp", "hare_tortoise", "sam"}
    assert len(found) == 12
    assert max(len(choice.trials) for choice in two.choices) == budget(2)
    assert findings(two, "cold")["better"] == ["sam", "hare_tortoise"]
    assert (found["dash"].values["lam"], found["sp"].values["shrink"]) == (0.9, 0.9)
    (wide,) = compared(kept_results(FOLDER / "wider_grids"))
    once = {str(one["rule"]): one for _, one in wide.scores[wide.scores["arm"] == TUNED].iterrows()}
    losses = [f"{once[rule]['mean_warm']:+.1f}".replace("-", "−") for rule in ("dash", "sp")]
    for said in (
        f"SAM ({signed(tuned['sam'], 'cold')}) and Hare & Tortoise ({signed(tuned['hare_tortoise'], 'cold')})",
        f"at {minus('half', 'sam', 'cold')} and {minus('half', 'hare_tortoise', 'cold')}",
        f"lose {signed(tuned['dash'], 'warm')} and {signed(tuned['sp'], 'warm')} points from warm instead of "
        f"{' and '.join(losses)}",
        f"at most {budget(2)} trials) for twelve rules on `half`",
    ):
        assert said in PAGE, said


def test_readme_counts_the_remedies_that_beat_cold() -> None:
    beat = [rule for one in STREAMS.values() for rule in findings(one, "cold")["better"]]
    assert len(beat) == len({*beat}) == 4
    assert "four beat cold, on one stream each" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_most_are_not_told_from_warm_and_with_wrong_labels_most_are_worse_than_cold() -> None:
    worse, alike = [], 0
    for name, one in STREAMS.items():
        warm, cold = findings(one, "warm"), findings(one, "cold")
        total = sum(map(len, warm.values()))
        if name == "digits":
            assert f"digits in five chunks, where {len(warm['better'])} of {total} are better" in PAGE
        else:
            assert len(warm["not told"]) > total / 2
        if name in ("digits", "half", "equal_epochs"):
            worse.append(len(cold["worse"]))
        else:
            assert len(cold["not told"]) > total / 2
            alike += 1
    assert alike == 3
    assert "from cold yes on three streams" in PAGE
    assert f"{min(worse)} to {max(worse)} of 46 are worse than cold" in PAGE
