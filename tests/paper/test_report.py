"""The page of results: every number is the table's, and what was not run says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from dashtheory.command.paper_table import main as table_main
from dashtheory.deep.config import RunConfig
from dashtheory.paper import PUBLISHED, preset, preset_names, render
from dashtheory.paper.authors import authors_rows, gap_words
from dashtheory.paper.report import NOT_RUN, read_all
from dashtheory.plot import rule_style
from dashtheory.record import COMPLETE, DEVICE, Results, run_name
from dashtheory.record.provenance import plain_config
from tests.paper.toys import made_table


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text


def number(rule: str, seed: int, stage: int, metric: str) -> float:
    """Any number, different everywhere."""
    return (1 + seed * stage + 10 * stage + len(rule)) / (100 if metric == "test_accuracy" else 0.01)


def results_of(
    name: str,
    *,
    device: str = "NVIDIA X",
    stages: int = 3,
    seeds: int = 3,
    rules: tuple[str, ...] = ("cold", "warm"),
    value: Callable[[str, int, int, str], float] = number,
    metrics: tuple[str, ...] = ("test_accuracy", "steps"),
    config: RunConfig | None = None,
) -> Results:
    config = config or preset(name.split("+")[0], num_chunks=3)
    setting = {part: values for part, values in plain_config(config).items() if part != "rules"}
    data = {"data": {"name": "CIFAR-10 (JPEG)", "sha256": "a"}}
    found = Results(name=name, config=setting, data=data)
    for rule in rules:
        for seed in range(seeds):
            table = made_table(value, (rule,), (seed,), stages, metrics)
            found = added(found, rule, seed, table, seconds=90.0, device=device)
    return found


def added(
    found: Results, rule: str, seed: int, table: pd.DataFrame, *, seconds: float, device: str = "NVIDIA X"
) -> Results:
    """With a run, complete if it has three stages."""
    table.attrs |= {COMPLETE: table["stage"].max() == 3, DEVICE: device}
    return found.with_run(run_name(rule, seed), table, identity={}, seconds=seconds)


def rows_of(text: str, heading: str) -> dict[str, list[str]]:
    """Cells of the table below a heading, by their first."""
    section = text.split(f"\n### {heading}", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:]}


def test_every_number_of_a_row_is_the_table_s() -> None:
    """Three seeds s: accuracy (15 + s j + 10 j) % - cold, at stage j, for instance - by hand."""
    rows = rows_of(
        render({("cuda", "cifar10-resnet18"): results_of("cifar10-resnet18")}), "cifar10-resnet18 on CIFAR"
    )
    # cold: stage 3 gives 35 + 3 s, so 35, 38, 41; the mean over stages 25 + 2 s, so 25, 27, 29
    authors = rows["cold"][-1]
    assert rows["cold"][:-1] == ["3", "38.0 ± 3.0", "27.0 ± 2.0", "3,800 ± 300", "2,700 ± 200"]
    assert rows["warm"][:-1] == rows["cold"][:-1]  # names of one length
    assert authors == (
        "29.9% (stage 1), 52.1% (stage 10), 60.5% (stage 25), 67.5% (stage 50), 57.6% (mean), "
        "5,083 steps (stage 50), 2,833 steps (mean)"
    )
    assert rows["warm"][-1] == "48.0% (stage 10), 50.0% (stage 10), 59.4% (stage 29), 681 steps (stage 29)"
    assert rows["DASH"] == ["0", *[NOT_RUN] * 4, "–"]
    single = render({("cuda", "svhn-mlp"): results_of("svhn-mlp", seeds=1)})
    assert rows_of(single, "svhn-mlp on")["cold"] == ["1", "35.0", "25.0", "3,500", "2,500", "–"]


def usual_labels() -> list[str]:
    """Of the preset's rules, the options of the last in order."""
    *others, last = preset("cifar10-resnet18").rules
    assert last == "cold:weight_decay=0.0005:learning_rate=0.1"
    return [*(rule_style(rule).label for rule in others), "cold, learning_rate=0.1, weight_decay=0.0005"]


def test_rules_of_the_preset_come_first_then_others_that_were_run() -> None:
    one = results_of("cifar10-resnet18+rho=0_5", rules=("l2_init", "dash:lam=0.05"))
    rows = rows_of(render({("cuda", one.name): one}), "cifar10-resnet18+rho=0_5 on")
    usual = usual_labels()
    assert list(rows) == [*usual, "L2-init"]
    assert rows["L2-init"][0] == rows["DASH, lam=0.05"][0] == "3"
    assert {rows[label][-1] for label in rows} == {"–"}  # the authors' figures are of another setting


def test_unfinished_runs_are_named_and_not_in_the_row() -> None:
    one = results_of("cifar10-resnet18", rules=("cold",))
    part = made_table(number, ("cold",), (3,), stages=2)
    one = added(one, "cold", 3, part, seconds=30.0)
    text = render({("cuda", one.name): one})
    assert "\nUnfinished: cold-seed3: 2 of 3 stages.\n" in text
    assert rows_of(text, "cifar10-resnet18 on")["cold"][0] == "3"
    assert "Unfinished" not in render({("cuda", one.name): results_of("cifar10-resnet18")})


def test_unfinished_runs_are_shown_stage_by_stage() -> None:
    one = results_of("cifar10-resnet18", rules=("warm",), stages=2)
    text = render({("cuda", one.name): added(one, "cold", 7, made_table(number, ("cold",), (7,), 1), seconds=1.0)})
    below = text.split("#### Test accuracy (%) by stage")[1].splitlines()
    head, _, cold, warm = [line for line in below if line.startswith("|")][:4]
    means = [sum(number("warm", seed, stage, "test_accuracy") for seed in range(3)) / 3 for stage in (1, 2)]
    steps = [sum(number("warm", seed, stage, "steps") for seed in range(3)) / 3 for stage in (1, 2)]
    cells = [f"{100 * mean:.1f} ({count:,.0f})" for mean, count in zip(means, steps, strict=True)]
    first = f"{100 * number('cold', 7, 1, 'test_accuracy'):.1f} ({number('cold', 7, 1, 'steps'):,.0f})"
    assert head == "| rule | seeds | stage 1 | stage 2 | samples so far |"
    assert warm == f"| warm | 3 | {' | '.join(cells)} | – |"  # how many epochs is not in this table
    assert cold == f"| cold | 1 | {first} | not run | – |"
    assert "| cold, authors | 1 each | 29.9 | – | – |" in below


@pytest.mark.parametrize(("ours", "words"), [(31.5, True), (31.3, False), (28.3, True)])
def test_a_wide_gap_to_the_authors_is_told_with_what_may_be_behind_it(ours: float, words: bool) -> None:
    theirs = {"cold": {1: ours, 10: 52.1}, "warm": {1: 30.0, 10: 49.0}}
    made = made_table(lambda rule, seed, stage, _: theirs[rule].get(stage, 0) / 100, ("cold", "warm"), (0, 1), 10)
    rows = authors_rows(made, "cifar10-resnet18", [1, 2, 10])
    assert rows == [
        "| cold, authors | 1 each | 29.9 | – | 52.1 | – |",
        f"| cold, minus the authors' (points) | – | {ours - 29.9:+.1f} | – | {0:+.1f} | – |",
        "| warm, authors | 1 each | – | – | 48.0 and 50.0 | – |",
        "| warm, minus the authors' (points) | – | – | – | +1.0 and -1.0 | – |",
    ]
    text = gap_words(made, "cifar10-resnet18", [1, 2, 10])
    assert (
        text.startswith("More than 1.5 points from the authors': cold at stage 1. Possible") == words == bool(text)
    )
    assert authors_rows(made, "svhn-mlp", [1]) == []


def test_presets_that_were_not_run_say_so() -> None:
    nothing = render({})
    listed = nothing.split("### Presets that were not run")[1]
    for name in preset_names():
        expected = not name.endswith("-cut") and not name.startswith("digits")
        assert (f"| {name} | {NOT_RUN} |" in listed) == expected
    rows = rows_of(nothing, "cifar10-resnet18\n")
    assert list(rows) == usual_labels()
    assert all(row[:5] == ["0", *[NOT_RUN] * 4] for row in rows.values())
    assert rows["cold"][-1].startswith("29.9% (stage 1)")
    assert nothing.split("## On a CPU\n\n")[1] == f"{NOT_RUN}\n"
    some = render(
        {("cuda", "cifar10-resnet18"): results_of("cifar10-resnet18"), ("cpu", "digits-mlp"): cpu_results()}
    )
    assert "| cifar10-resnet18 | not run |" not in some
    assert some.count("### cifar10-resnet18 ") == 1
    assert "### digits-mlp on CIFAR-10 (JPEG) (" in some.split("## On a CPU")[1]
    assert f"## On a CPU\n\n{NOT_RUN}" not in some
    on_cpu = render({("cpu", "cifar10-resnet18"): results_of("cifar10-resnet18", device="cpu")})
    assert "| cifar10-resnet18 | not run |" in on_cpu  # on a GPU


def cpu_results() -> Results:
    return results_of("digits-mlp", device="cpu")


def test_sections_tell_machine_setting_and_time() -> None:
    text = render(
        {("cuda", "cifar100-resnet18-sota"): results_of("cifar100-resnet18-sota", rules=("cold",), seeds=2)}
    )
    assert "\n### cifar100-resnet18-sota on CIFAR-10 (JPEG) (NVIDIA X)\n" in text
    assert (
        "resnet18 (max_pool=no), 3 chunks of 1,000 pictures, sgd, learning rate 0.1, batch 128, "
        "weight decay 0.0005, step size scheduled, augmented, 260 epochs a stage, bfloat16; 3 minutes of runs."
    ) in text
    noisy = results_of("cifar10-resnet18-noise", rules=("cold",), seeds=1)
    noisy = added(noisy, "warm", 0, made_table(number, ("warm",), (0,)), seconds=9.0, device="cpu")
    text = render({("cuda", noisy.name): noisy})
    assert re.search(r"\(NVIDIA X, .+, \d+ cores\)\n", text)
    assert "batch 128, accuracy 0.999 (at most 200 epochs), bfloat16; 20% wrong labels; 2 minutes of runs." in text
    assert "](figures/cuda-cifar10-resnet18-noise.png)" in text


def test_means_over_other_numbers_of_seeds_are_told() -> None:
    words = "Not all rules have all seeds"
    found = results_of("cifar10-resnet18", rules=("warm",), stages=2)
    assert words not in render({("cuda", found.name): found})
    fewer = added(found, "cold", 0, made_table(number, ("cold",), (0,), 2), seconds=1.0)
    assert words in render({("cuda", found.name): fewer})
    shorter = added(found, "warm", 3, made_table(number, ("warm",), (3,), 1), seconds=1.0)
    assert words in render({("cuda", found.name): shorter})


def test_the_time_of_a_run_is_at_least_that_of_its_stages() -> None:
    """A call that was killed leaves checkpoints, but not its time: the one that goes on knows its own alone."""
    found = results_of("cifar10-resnet18", rules=("cold",), seeds=1)
    metrics = ("test_accuracy", "steps", "train_seconds", "rule_seconds")
    stages = made_table(lambda *_: 300.0, ("warm",), (0,), 3, metrics)
    found = added(found, "warm", 0, stages, seconds=10.0)
    assert "; 32 minutes of runs." in render({("cuda", found.name): found})  # 90 s, and three stages of 600 s


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of results: a preset on a GPU, and a changed one on a CPU."""
    for kind, one in (
        ("cuda", results_of("cifar10-resnet18")),
        ("cpu", results_of("digits-mlp+label_noise=0_05", device="cpu")),
    ):
        one.save(tmp_path / "results" / kind / f"{one.name}.csv")
    return tmp_path / "results"


def test_the_page_and_its_figures_are_made_from_the_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    assert table_main(["--results", str(folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}/RESULTS.md from 2 tables\n"
    text = (out / "RESULTS.md").read_text()
    assert text == render(read_all(folder))
    pictures = re.findall(r"\]\((figures/.*?\.png)\)", text)
    assert pictures == ["figures/cuda-cifar10-resnet18.png", "figures/cpu-digits-mlp+label_noise=0_05.png"]
    assert all((out / picture).exists() for picture in pictures)
    assert all((out / picture).with_suffix(".svg").exists() for picture in pictures)
    assert list(read_all(folder)) == [("cuda", "cifar10-resnet18"), ("cpu", "digits-mlp+label_noise=0_05")]


def test_runs_that_went_further_have_a_table_and_a_figure_of_their_own(tmp_path: Path) -> None:
    one = results_of("cifar10-resnet18", seeds=1, stages=1)
    for rule, seed, stages in (("sp", 0, 1), ("dash", 0, 1), ("cold", 5, 3), ("warm", 5, 2), ("dash", 5, 3)):
        one = added(one, rule, seed, made_table(number, (rule,), (seed,), stages), seconds=60.0)
    one.save(tmp_path / "results" / "cuda" / f"{one.name}.csv")
    assert table_main(["--results", str(tmp_path / "results"), "--out", str(tmp_path / "page")]) == 0
    text = (tmp_path / "page" / "RESULTS.md").read_text()
    assert "\n#### Test accuracy (%) by stage, and the steps of the stage\n" in text
    section = text.split("steps of the stage: seed 5, to stage 3\n")[1].split("####")[0]
    assert re.findall(r"^\| ([^|]+) \| 1 \|", section, re.MULTILINE) == ["cold", "warm", "DASH"]
    cells = [
        f"{100 * number('dash', 5, stage, 'test_accuracy'):.1f} ({number('dash', 5, stage, 'steps'):,.0f})"
        for stage in range(1, 4)
    ]
    assert f"| DASH | 1 | {' | '.join(cells)} | – |" in section
    assert "| warm | 1 |" in section
    assert "not run | – |" in section  # warm, stage 3
    assert "Seed 5 alone, with which these runs went further than" in section
    for suffix in (".png", ".svg"):
        assert (tmp_path / "page" / "figures" / f"cuda-cifar10-resnet18-furthest{suffix}").is_file()
    assert "](figures/cuda-cifar10-resnet18-furthest.png)" in section
    results_of("cifar10-resnet18", seeds=1, stages=1).save(tmp_path / "results" / "cuda" / f"{one.name}.csv")
    assert table_main(["--results", str(tmp_path / "results"), "--out", str(tmp_path / "page")]) == 0
    left = {path.name for path in (tmp_path / "page" / "figures").iterdir()}
    assert left == {"cuda-cifar10-resnet18.png", "cuda-cifar10-resnet18.svg"}  # none that the page has no more


def test_an_empty_folder_gives_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert table_main(["--results", str(tmp_path / "results"), "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "RESULTS.md").read_text() == render({})
    assert not (tmp_path / "page" / "figures").exists()


def test_what_cannot_be_read_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "cuda" / "cifar10-resnet18.csv"
    path.write_text(path.read_text()[:-9])
    assert table_main(["--results", str(folder), "--out", str(tmp_path / "page")]) == 2
    assert f"another content in '{path}'" in one_line(capsys)
    assert table_main(["--results", str(tmp_path / "none"), "--out", str(tmp_path / "page")]) == 2
    assert "--results must be a folder of results" in one_line(capsys)
    (tmp_path / "file").write_text("")
    path.unlink()
    assert table_main(["--results", str(folder), "--out", str(tmp_path / "file")]) == 2
    assert "--out must be a folder that can be written" in one_line(capsys)


def test_a_figure_says_when_runs_are_not_finished(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    feet: list[tuple[str, list[str]]] = []
    titles: list[str] = []

    def note(table: pd.DataFrame, published: Any, *, title: str, setting: str, foot: str) -> Any:
        feet.append((foot, [one.rule for one in published]))
        titles.append(title)
        return plt.figure()

    monkeypatch.setattr("dashtheory.paper.report.draw_results", note)
    one = results_of("cifar10-resnet18")
    part = added(one, "dash", 0, made_table(number, ("dash",), (0,), 2), seconds=1.0)
    other = results_of("svhn-mlp+rho=0_5")
    for place, found in enumerate((one, part, other)):
        found.save(tmp_path / str(place) / "cuda" / f"{found.name}.csv")
        assert table_main(["--results", str(tmp_path / str(place)), "--out", str(tmp_path / "page")]) == 0
    assert [foot for foot, _ in feet] == [
        "; NVIDIA X",
        "; runs that are not finished yet as far as they went; NVIDIA X",
        "; NVIDIA X",
    ]
    assert titles == [*["CIFAR-10 (JPEG): cifar10-resnet18"] * 2, "CIFAR-10 (JPEG): svhn-mlp, changed"]
    assert [len(rules) for _, rules in feet] == [len(PUBLISHED), len(PUBLISHED), 0]
