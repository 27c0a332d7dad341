"""docs/theory.md tells the truth: its anchors exist, its formulas are sympy's, its numbers those of saved runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from dashtheory.record import load_table
from dashtheory.theory import CLAIMS, STEP_CLAIMS, symbolic

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "theory.md").read_text()
WORLDS = {
    ("label_noise", 0.0): "the paper's",
    ("correlated", 0.6): "correlated, strength 0.6",
    ("correlated", 1.0): "correlated, strength 1 (half of the samples show nothing)",
    ("shared", 50.0): "all features shared by both classes",
    ("unbalanced", 0.9): "900 to 100 samples per chunk",
    ("label_noise", 0.4): "40% label noise",
}


def world_row(points: pd.DataFrame, kind: str, x: float, name: str) -> str:
    """A row of the table of worlds: means over seeds."""
    rows = points[(points["kind"] == kind) & (points["x"] == x)]
    mean: dict[tuple[str, str], float] = dict(rows.groupby(["metric", "rule"])["value"].mean().items())  # type: ignore[arg-type]
    accuracy = " | ".join(f"{100 * mean['test_accuracy', rule]:.1f}" for rule in ("cold", "ideal", "warm"))
    worst = " / ".join(f"{100 * mean['worst_class_accuracy', rule]:.1f}" for rule in ("cold", "warm"))
    grown = f"{mean['learned_first', 'warm']:.1f} → {mean['learned_features', 'warm']:.1f}"
    total = 100 - int(x) if kind == "shared" else 100
    cold = f"{mean['learned_features', 'cold']:.1f} of {total}"
    active = " / ".join(f"{mean['active_samples', rule]:,.0f}" for rule in ("cold", "ideal", "warm"))
    return f"| {name} | {accuracy} | {worst} | {grown} | {cold} | {active} |"


def test_the_table_of_worlds_is_the_committed_figure_s() -> None:
    table, _ = load_table(ROOT / "figures" / "beyond_independence.csv")
    points = table
    for (kind, x), name in WORLDS.items():
        assert world_row(points, kind, x, name) in DOCS, world_row(points, kind, x, name)
    order = points[points["metric"] == "in_time_order"]["value"]
    assert (order == 1).all()  # "in every stage, seed and world" in the text
    wide = points.pivot_table(index=["kind", "x", "seed"], columns=["metric", "rule"], values="value")
    gap = (wide["test_accuracy", "cold"] - wide["test_accuracy", "ideal"]).abs().max()
    assert f"at most {100 * gap:.1f} points" in DOCS


ALL = {**CLAIMS, **STEP_CLAIMS}


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_claim_has_its_place(name: str) -> None:
    path, anchor = ALL[name].section.split("#")
    assert (ROOT / path).exists()
    assert f'<a id="{anchor}"></a>' in DOCS


def test_no_anchor_without_a_claim() -> None:
    anchors = set(re.findall(r'<a id="([^"]+)">', DOCS))
    assert anchors == {claim.section.split("#")[1] for claim in ALL.values()}


@pytest.mark.parametrize("name", ["tail_equal", "tail_poisson"])
def test_displayed_formulas_are_sympy_s(name: str) -> None:
    assert f"$${symbolic.latex_table()[name]}$$" in DOCS


def test_names_marked_as_derived_exist_and_are_tested() -> None:
    marked = set(re.findall(r"∑ `(\w+)`", DOCS))
    assert len(marked) >= 7
    tests = "".join(path.read_text() for path in sorted((ROOT / "tests" / "theory").glob("test_symbolic*.py")))
    for name in marked:
        assert callable(getattr(symbolic, name)), name
        assert name in tests or (name.endswith("_identity") and "identities(" in tests), name


def test_the_survey_is_the_saved_one() -> None:
    saved = json.loads((ROOT / "benchmarks" / "results" / "claims.json").read_text())
    assert saved["quick"] is False
    universes, samples = saved["universes"], saved["samples"]
    for name, claim in CLAIMS.items():
        if name in universes["fails"]:
            assert (universes["fails"][name] == 0) == (claim.status == "theorem"), name
    number, fails = universes["number"], universes["fails"]
    stages, total = fails["warm_never_longer_than_ideal"], fails["warm_never_longer_cumulatively"]
    text = " ".join(DOCS.split())
    for words in (
        f"In {number:,} random universes",
        f"per-stage claim failed in {100 * stages / number:.1f}% of them "
        f"({100 * stages / universes['with_3_stages_or_more']:.1f}% of those with three stages",
        f"cumulative one in {100 * total / number:.1f}% "
        f"({100 * total / universes['with_4_stages_or_more']:.1f}% with four",
        f"On {samples['number']:,} small *sampled* streams",
        *(f"in {100 * count / samples['number']:.1f}%" for count in samples["fails"].values()),
    ):
        assert words in text, words


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    told = ("stage 3: active of warm 1, of ideal 0", "buffer_kept fails")
    for example, words in zip(examples, told, strict=True):
        exec(example, {})
        assert words in capsys.readouterr().out
