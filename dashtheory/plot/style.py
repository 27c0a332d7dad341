"""One visual language: a colour, a marker and a dash pattern for every rule, the same in every figure.

Colours are Okabe & Ito's set for all kinds of colour vision ("Color Universal Design", 2008); markers and dashes
tell the rules apart without any colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from dashtheory.record import replacing


@dataclass(frozen=True)
class RuleStyle:
    """How a rule is named and drawn."""

    label: str
    color: str
    linestyle: Any
    marker: str


RULE_STYLES = {
    "cold": RuleStyle("cold", "#0072B2", "-", "o"),
    "warm": RuleStyle("warm", "#D55E00", (0, (5, 1.5)), "s"),
    "ideal": RuleStyle("ideal (oracle)", "#000000", (0, (1.2, 1.6)), "D"),
    "sp": RuleStyle("S&P", "#CC79A7", (0, (6, 1.5, 1.2, 1.5)), "^"),
    "dash": RuleStyle("DASH", "#009E73", (0, (3, 1)), "v"),
}
"""Style of each rule, in the order in which legends list them."""

_SETTINGS: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.hashsalt": "dashtheory",
    "svg.fonttype": "path",
}


def rule_style(rule: str) -> RuleStyle:
    """Style of `rule`; a rule without an entry is grey, named as it is."""
    return RULE_STYLES.get(rule, RuleStyle(rule, "#7f7f7f", "-", "x"))


def sort_rules(rules: Iterator[str] | list[str]) -> list[str]:
    """Order of rules in legends: that of `RULE_STYLES`, unknown ones last by name."""
    known = list(RULE_STYLES)
    return sorted(set(rules), key=lambda rule: (known.index(rule) if rule in known else len(known), rule))


@contextmanager
def style() -> Iterator[None]:
    """Use the package's settings for every figure made inside, and the callers' again after."""
    with mpl.rc_context():
        mpl.rcdefaults()  # keeps the backend
        mpl.rcParams.update(_SETTINGS)
        yield


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write `figure` to `stem`.png (160 dpi) and .svg, atomically; the same figure gives the same bytes.

    Returns: the two paths.
    """
    paths = []
    for suffix, facts in ((".png", {"Software": None}), (".svg", {"Date": None})):
        path = stem.with_suffix(suffix)
        with replacing(path) as temporary:
            figure.savefig(temporary, metadata=facts)
        paths.append(path)
    return paths
