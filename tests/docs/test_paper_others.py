"""What the page says of wrong labels and of VGG-16 in the paper's setting is what the tables hold."""

from __future__ import annotations

from dashtheory.record import load_table
from tests.docs.results_cases import RESULTS, ROOT, measured, rows_not_asked

FOLDER = ROOT / "paper_repro" / "results" / "cpu"
NOISE, VGG, CLEAN = (
    load_table(FOLDER / f"{name}.csv")[0]
    for name in ("cifar10-resnet18-noise", "cifar10-vgg16", "cifar10-resnet18")
)
Place = tuple[str, int, int]


def section(place: str) -> str:
    (found,) = (part for part in RESULTS.split("\n## ") if f'<a id="{place}"></a>' in part)
    return " ".join(found.split())


def ends(values: dict[Place, float], rule: str, *stages: int) -> str:
    """A rule's values at some stages, in words."""
    *first, last = (f"{values[rule, 0, stage]:.1f}%" for stage in stages)
    return f"{', '.join(first)} and {last}" if first else last


def ahead(values: dict[Place, float], rule: str, other: str) -> str:
    """By how much a rule leads another at stages 2 and 3, in words."""
    two, three = (values[rule, 0, stage] - values[other, 0, stage] for stage in (2, 3))
    return f"{two:.1f} and {three:.1f}"


def seen(epochs: dict[Place, float], rule: str) -> float:
    """Pictures to stage 5."""
    return sum(1000 * stage * epochs[rule, 0, stage] for stage in range(1, 6))


def test_wrong_labels_cost_dash_most_and_little_of_its_lead_is_left() -> None:
    text = section("paper_noise")
    noisy, clean = (measured(table, "test_accuracy", 100) for table in (NOISE, CLEAN))
    lost = {rule: clean[rule, 0, 5] - noisy[rule, 0, 5] for rule in ("warm", "cold", "uniform", "dash")}
    assert lost["dash"] > max(lost["warm"], lost["cold"]) + 5
    here, there = (values["cold", 0, 5] - values["warm", 0, 5] for values in (noisy, clean))
    lead, before = (values["dash", 0, 5] - values["cold", 0, 5] for values in (noisy, clean))
    for words in (
        f"A warm start loses about what it loses with right labels: {here:.1f} points to cold after stage 5 "
        f"({ends(noisy, 'warm', 5)}, {ends(noisy, 'cold', 5)}), there {there:.1f} (both, and what "
        "follows, of seed 0).",
        f"DASH's lead over cold is {lead:.1f} points where it was {before:.1f}",
        f"the wrong labels cost cold {lost['cold']:.1f} points, warm {lost['warm']:.1f}, one factor for all "
        f"{lost['uniform']:.1f}, DASH {lost['dash']:.1f}.",
        f"after stages 2 to 5 DASH is at {ends(noisy, 'dash', 2, 3, 4, 5)}, one factor for all at "
        f"{ends(noisy, 'uniform', 2, 3, 4, 5)}",
    ):
        assert words in text, words
    ahead = [noisy["uniform", 0, stage] > noisy["dash", 0, stage] for stage in range(2, 6)]
    assert ahead == [False, False, True, True]  # "the better of the two in the last two stages"
    assert "(at least 99.9% of all data fitted)" in text
    assert min(measured(NOISE, "train_accuracy").values()) >= 0.999


def test_what_is_forgotten_of_right_and_of_wrong_labels() -> None:
    text = section("paper_noise")
    wrong = measured(NOISE, "canary_accuracy_at_start_reestimated", 100)
    old = measured(NOISE, "old_accuracy_reestimated_epoch0", 100)
    right = {place: (old[place] - 0.2 * value) / 0.8 for place, value in wrong.items()}
    epochs = measured(NOISE, "epochs")
    four, five = ([f"{part['dash', 0, stage]:.0f}%" for part in (right, wrong)] for stage in (4, 5))
    words = (
        f"at the start of stage 4 {four[0]} of the right labels and {four[1]} of the wrong ones, at that of stage "
        f"5 {five[0]} and {five[1]}"
    )
    assert words in text
    gone = [one["dash", 0, stage] for one in (right, wrong) for stage in (2, 3)]
    fresh = [one["cold", 0, stage] for one in (right, wrong) for stage in (2, 5)]
    spans = [f"{min(part):.0f}% to {max(part):.0f}%" for part in (gone, fresh)]
    assert f"({spans[0]}; a fresh network has {spans[1]})" in text
    assert min(wrong["uniform", 0, stage] for stage in range(2, 6)) > 99
    dash, uniform, warm = (epochs[rule, 0, 5] for rule in ("dash", "uniform", "warm"))
    assert f"({dash:.0f} epochs in stage 5, one factor for all {uniform:.0f}, warm {warm:.0f})" in text


def test_vgg_is_not_harmed_and_gains_all_the_same() -> None:
    text = section("paper_vgg16")
    values, epochs = measured(VGG, "test_accuracy", 100), measured(VGG, "epochs")
    clean = measured(CLEAN, "test_accuracy", 100)
    warm, cold, dash = (values[rule, 0, 5] for rule in ("warm", "cold", "dash"))
    again = measured(VGG, "test_accuracy_reestimated", 100)
    apart = again["warm", 0, 5] - again["cold", 0, 5]
    assert f"warm leads cold by {apart:.1f} points after stage 5, not {warm - cold:.1f}." in text
    slow = [f"{clean[f'{rule}:learning_rate=0.01', 0, 5]:.1f}%" for rule in ("warm", "cold")]
    assert f"(warm {slow[0]}, cold {slow[1]} after stage 5)" in text
    assert warm > cold
    assert values["sp", 0, 3] < values["warm", 0, 3]
    assert measured(VGG, "old_accuracy_reestimated_epoch0")["uniform", 0, 3] > 0.999
    for words in (
        f"warm is at {ends(values, 'warm', 2, 5)} after stages 2 and 5, cold at {ends(values, 'cold', 2, 5)}",
        f"DASH is at {ends(values, 'dash', 2, 3, 4, 5)} after stages 2 to 5, {dash - warm:.1f} points over warm "
        f"and {dash - cold:.1f} over cold",
        f"(ResNet-18, seed 0: {clean['dash', 0, 5] - clean['cold', 0, 5]:.1f} over cold)",
        f"One factor for all, which forgets nothing, is at {ends(values, 'uniform', 2, 3)} after stages 2 and 3, "
        f"{ahead(values, 'dash', 'uniform')} points behind DASH (ResNet-18, seed 0: "
        f"{ahead(clean, 'dash', 'uniform')}) and {ahead(values, 'uniform', 'warm')} ahead of warm.",
        f"S&P is at {ends(values, 'sp', 2, 3)} there, behind warm at stage 3.",
        f"on {seen(epochs, 'dash'):,.0f} pictures where warm takes {seen(epochs, 'warm'):,.0f}",
    ):
        assert words in text, words


def test_the_commands_make_every_row() -> None:
    for place, table in (("paper_noise", NOISE), ("paper_vgg16", VGG)):
        assert rows_not_asked(section(place), table) == []
