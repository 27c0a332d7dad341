"""What the page says of a recipe of today is what the tables hold."""

from __future__ import annotations

from dashtheory.record import load_table
from tests.docs.results_cases import RESULTS, ROOT, measured, rows_not_asked

(SECTION,) = (part for part in RESULTS.split("\n## ") if '<a id="paper_modern"></a>' in part)
TEXT = " ".join(SECTION.split())
FOLDER = ROOT / "paper_repro" / "results" / "cpu"
RUNS, _ = load_table(FOLDER / "cifar10-resnet18-modern.csv")
LONG, _ = load_table(FOLDER / "cifar10-resnet18-modern+anneal=45+max_epochs=45.csv")
PAPER, _ = load_table(FOLDER / "cifar10-resnet18.csv")


ENDS = measured(RUNS, "test_accuracy", 100)
FITTED = measured(RUNS, "train_accuracy", 100)
OLD = measured(RUNS, "old_accuracy_reestimated_epoch0", 100)


def test_a_cold_start_with_as_many_pictures_ends_where_warm_does() -> None:
    cold, fitted = (100 * measured(LONG, metric)["cold", 0, 5] for metric in ("test_accuracy", "train_accuracy"))
    epochs = measured(LONG, "epochs")["cold", 0, 5]
    assert all(value == 15 for value in measured(RUNS, "epochs").values())
    pictures = sum(15 * 1000 * stage for stage in range(1, 6))
    assert pictures == 5000 * epochs
    for words in (
        f"warm ends at {ENDS['warm', 0, 5]:.1f}%, and a cold start that sees as many pictures in that stage alone "
        f"as warm in all five ({epochs:.0f} epochs, {pictures:,} pictures) at {cold:.1f}%, with {fitted:.0f}% of "
        "its data fitted.",
        f"(With 15 epochs cold is at {ENDS['cold', 0, 5]:.1f}%, with the other seed at {ENDS['cold', 1, 5]:.1f}%, "
        f"but has fitted {FITTED['cold', 0, 5]:.0f}% and {FITTED['cold', 1, 5]:.0f}%.)",
    ):
        assert words in TEXT, words
    assert abs(cold - ENDS["warm", 0, 5]) < 0.2


def test_shrinking_costs_and_forgetting_does_not_explain_it() -> None:
    dash, uniform, sp, warm = (ENDS[rule, 0, 5] for rule in ("dash", "uniform", "sp", "warm"))
    assert sp < uniform < dash < warm - 1
    again, further = ENDS["dash", 1, 5], ENDS["warm", 1, 5]
    assert ENDS["sp", 1, 5] < again < further - 1
    fitted = {rule: f"{FITTED[rule, 0, 5]:.0f}%" for rule in ("dash", "uniform", "sp", "warm")}
    old = 100 * measured(PAPER, "test_accuracy")["dash", 0, 5]
    epochs = measured(PAPER, "epochs")
    seen = sum(1000 * stage * epochs["dash", 0, stage] for stage in range(1, 6))
    for words in (
        f"DASH ends at {dash:.1f}% (with the other seed at {again:.1f}%, where warm is at {further:.1f}%), one "
        f"factor for all at {uniform:.1f}%, S&P at {sp:.1f}% (with the other seed at {ENDS['sp', 1, 5]:.1f}%), on "
        "as many pictures. "
        f"They come to {fitted['dash']}, {fitted['uniform']} and {fitted['sp']} of the data in the 15 epochs in "
        f"which warm comes to {fitted['warm']}.",
        f"one factor for all forgets nothing ({OLD['uniform', 0, 5]:.0f}% right at the start of stage 5, "
        f"{FITTED['uniform', 0, 4]:.0f}% when stage 4 ended), DASH falls from {FITTED['dash', 0, 4]:.0f}% to "
        f"{OLD['dash', 0, 5]:.0f}%, and DASH ends higher.",
        f"All four end ahead of DASH with the paper's recipe ({old:.1f}% on {seen:,.0f} pictures with seed 0)",
    ):
        assert words in TEXT, words
    assert min(dash, uniform, sp, warm) > old
    assert max(FITTED.values()) < 81  # "no rule fits its data"
    assert f"those of warm are {further - warm:.1f} points apart" in TEXT


def test_at_stage_2_the_order_is_another_and_seeds_are_further_apart() -> None:
    ends = [ENDS[rule, 0, 2] for rule in ("sp", "uniform", "warm", "dash")]
    sp, uniform, warm, dash = (f"{end:.1f}%" for end in ends)
    words = f"S&P and one factor for all are ahead of warm ({sp}, {uniform}, {warm}) and DASH is not ({dash})"
    assert words in TEXT
    assert ends == sorted(ends, reverse=True)
    apart = ENDS["dash", 1, 2] - ENDS["dash", 0, 2]
    other = {rule: ENDS[rule, 1, 2] for rule in ("sp", "warm", "dash")}
    assert other["sp"] > other["warm"] > other["dash"]
    cold = ENDS["cold", 1, 2] - ENDS["cold", 0, 2]
    for words in (
        f"S&P leads warm, too ({other['sp']:.1f}%, {other['warm']:.1f}%), and DASH does not "
        f"({other['dash']:.1f}%).",
        f"Cold's two seeds are {cold:.1f} points apart there, DASH's {apart:.1f}.",
    ):
        assert words in TEXT, words
    assert apart > ENDS["uniform", 0, 2] - ENDS["warm", 0, 2]


def test_the_commands_make_every_row() -> None:
    assert rows_not_asked(SECTION, RUNS) == []
    assert rows_not_asked(SECTION, LONG, "--max-epochs 45 --anneal 45") == []
