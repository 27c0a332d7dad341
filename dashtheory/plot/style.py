"""One visual language: a colour, a marker and a dash pattern for every rule, the same in every figure.

Colours are Okabe & Ito's set for all kinds of colour vision ("Color Universal Design", 2008); markers and dashes
tell the rules apart without any colour.
"""

from __future__ import annotations

import zlib
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
    "uniform": RuleStyle("uniform (DASH's mean)", "#E69F00", (0, (8, 2)), "P"),
    "permuted": RuleStyle("DASH permuted", "#56B4E9", (0, (4, 1, 1, 1)), "X"),
    "threshold": RuleStyle("threshold", "#8C564B", (0, (2, 1, 2, 1, 6, 1)), "<"),
    "sp_ash_adams": RuleStyle("S&P (Ash & Adams)", "#AA4499", (0, (5, 1, 1, 1, 1, 1)), ">"),
    "perturb": RuleStyle("noise alone", "#BBBB33", (0, (1, 1)), "*"),
    "warm_rm": RuleStyle("warm, new optimizer", "#660099", (0, (2, 2)), "h"),
    "reset": RuleStyle("new classifier", "#332288", (0, (7, 1, 2, 1)), "p"),
    "l2_init": RuleStyle("L2-init", "#117733", (0, (6, 2, 2, 2)), "d"),
    "cold_shrunk": RuleStyle("cold, shrunk start", "#0B3C6F", (0, (10, 1.5)), "8"),
    "dash_channels": RuleStyle("DASH by channel", "#44CC88", (0, (3, 1, 1, 1)), "1"),
    "soft": RuleStyle("half of the noise (oracle)", "#888888", (0, (2, 1)), "2"),
    "oracle": RuleStyle("neurons by share (oracle)", "#EE8844", (0, (4, 2, 1, 2)), "3"),
    "ridge": RuleStyle("ridge (linear)", "#446666", (0, (1, 2)), "+"),
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


_VARIANTS = (("#004D40", "1"), ("#A0522D", "2"), ("#4B0082", "3"), ("#708090", "4"))
_SWEPT = {  # values of one option that are drawn together
    **dict(
        zip(
            ("lam=0.1", "lam=0.2", "lam=0.3", "lam=0.5"),
            (("#E69F00", "o"), ("#56B4E9", "s"), ("#CC79A7", "^"), ("#000000", "D")),
            strict=True,
        )
    ),
    **dict(
        zip(
            ("alpha=0.1", "alpha=0.3", "alpha=0.5", "alpha=0.7"),
            (("#E69F00", "o"), ("#56B4E9", "s"), ("#CC79A7", "^"), ("#000000", "D")),
            strict=True,
        )
    ),
}


def rule_style(rule: str) -> RuleStyle:
    """Style of `rule`; one without an entry is grey, named as it is.

    A rule with options ("dash:lam=0.05") is named by both; its options choose one of four looks of its own, or
    one that differs from those of the values that are usually drawn beside it.
    """
    name, colon, options = rule.partition(":")
    if not colon or name not in RULE_STYLES:
        return RULE_STYLES.get(rule, RuleStyle(rule, "#7f7f7f", "-", "x"))
    base = RULE_STYLES[name]
    color, marker = _SWEPT.get(options) or _VARIANTS[zlib.crc32(options.encode()) % len(_VARIANTS)]
    return RuleStyle(f"{base.label}, {options.replace(':', ', ')}", color, base.linestyle, marker)


def sort_rules(rules: Iterator[str] | list[str]) -> list[str]:
    """Order of rules in legends: that of `RULE_STYLES`, unknown ones last by name."""
    known = list(RULE_STYLES)

    def place(rule: str) -> tuple[int, str]:
        name = rule.partition(":")[0]
        return (known.index(name) if name in known else len(known)), rule

    return sorted(set(rules), key=place)


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
