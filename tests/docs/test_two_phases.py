"""What the page says of the two phases of text is what the committed table holds."""

from __future__ import annotations

import pandas as pd
import pytest

from dashtheory.record import load_table, paired_differences
from tests.docs.results_cases import RESULTS, ROOT

PAGE = (ROOT / "docs" / "beyond.md").read_text()
ROWS = {"warm": "warm", "sp": "S&P", "dash": "DASH", "norm_matched": "DASH's norms alone", "fire": "FIRE"}


def last_losses() -> pd.DataFrame:
    table, _ = load_table(ROOT / "figures" / "two_phase_text.csv")
    rows = table[(table["metric"] == "loss_mix") & (table["stage"] == 2)]
    last: pd.DataFrame = rows[rows["characters"] == rows["characters"].max()]
    return last


def differences(start: str) -> dict[str, str]:
    last = last_losses()
    both = last[last["start"].isin([start, "cold"])].drop(columns=["start", "characters"])
    found = paired_differences(both, "loss_mix", "cold").to_dict("records")
    return {
        row["rule"]: f"{row['mean']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]".replace("-", "−")
        for row in found
    }


@pytest.mark.parametrize("rule", ROWS)
def test_rows_of_the_page(rule: str) -> None:
    cells = [differences(start)[rule] for start in ("best", "late", "decayed")]
    assert f"| {ROWS[rule]} | {' | '.join(cells)} |" in PAGE


def test_sentences_of_the_page_and_of_the_results() -> None:
    last = last_losses()
    cold = last[last["rule"] == "cold"]["value"].mean()
    assert f"cold ends at {cold:.3f}" in PAGE
    wide = last.pivot_table(index="start", columns="rule", values="value")
    apart = (wide["dash"] - wide["norm_matched"]).abs().max()
    assert apart < 0.003
    assert "within 0.003 nats" in PAGE
    assert f"ends {differences('late')['warm'].removeprefix('+')} nats behind a cold start" in " ".join(
        RESULTS.split()
    )
    table, _ = load_table(ROOT / "figures" / "two_phase_text.csv")
    best = table[(table["metric"] == "first_epochs") & (table["start"] == "best")]["value"]
    assert f"epoch {best.min():.0f} to {best.max():.0f}" in PAGE
    early = table[(table["metric"] == "loss_mix") & (table["stage"] == 2) & (table["start"] == "best")]
    early = early[(early["characters"] > 0) & (early["characters"] <= 65_536)]
    means = early.groupby(["characters", "rule"])["value"].mean().unstack()
    ahead, others = means[["warm", "fire"]].max(axis=1), means[["sp", "dash", "norm_matched"]].min(axis=1)
    assert (ahead < others).all()
