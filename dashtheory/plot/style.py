"""One visual language: a colour, a marker and a dash pattern for every rule, the same in every figure.

The rules that most figures show have a colour each. The others share one by family (resets, averages, penalties
on spectra, ...), and differ in marker and dashes within it.

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

from dashtheory._spec import LABELS, is_own, label_of, split_text


@dataclass(frozen=True)
class RuleStyle:
    """How a rule is named and drawn."""

    label: str
    color: str
    linestyle: Any
    marker: str


_LOOKS: dict[str, tuple[str, Any, str]] = {
    "cold": ("#0072B2", "-", "o"),
    "warm": ("#D55E00", (0, (5, 1.5)), "s"),
    "ideal": ("#000000", (0, (1.2, 1.6)), "D"),
    "sp": ("#CC79A7", (0, (6, 1.5, 1.2, 1.5)), "^"),
    "dash": ("#009E73", (0, (3, 1)), "v"),
    "uniform": ("#E69F00", (0, (8, 2)), "P"),
    "permuted": ("#56B4E9", (0, (4, 1, 1, 1)), "X"),
    "scattered": ("#7F7FD5", (0, (1, 2, 4, 2)), "$s$"),
    "norm_matched": ("#FF5FA2", (0, (9, 1, 1, 1)), "4"),
    "proportional": ("#8FBC5A", (0, (5, 3)), "."),
    "threshold": ("#8C564B", (0, (2, 1, 2, 1, 6, 1)), "<"),
    "sp_ash_adams": ("#AA4499", (0, (5, 1, 1, 1, 1, 1)), ">"),
    "perturb": ("#BBBB33", (0, (1, 1)), "*"),
    "warm_rm": ("#660099", (0, (2, 2)), "h"),
    "reset": ("#332288", (0, (7, 1, 2, 1)), "p"),
    "l2_init": ("#117733", (0, (6, 2, 2, 2)), "d"),
    "cold_shrunk": ("#0B3C6F", (0, (10, 1.5)), "8"),
    "rewarm": ("#CC0033", (0, (9, 1.5, 1, 1.5)), "H"),
    **{  # rules on units; no pairs of markers and dashes are left for an eleventh family
        name: ("#00DCDC", dashes, marker)
        for name, dashes, marker in (
            ("redo", (0, (3, 2)), "o"),
            ("regrama", (0, (7, 2)), "s"),
            ("cbp", (0, (5, 2, 1, 2)), "^"),
            ("snr", (0, (3, 1, 3, 1, 1, 1)), "D"),
            ("cpr", (0, (10, 3)), "v"),
            ("swr_weights", (0, (2, 1, 6, 1)), "P"),
        )
    },
    "dash_channels": ("#44CC88", (0, (3, 1, 1, 1)), "1"),
    "soft": ("#888888", (0, (2, 1)), "2"),
    "oracle": ("#EE8844", (0, (4, 2, 1, 2)), "3"),
    "ridge": ("#446666", (0, (1, 2)), "+"),
}
_FAMILIES: dict[str, tuple[str, ...]] = {
    "#DC00F0": ("fire",),
    "#0000F0": ("sp_init", "sp_steps", "sp_all"),
    "#642814": ("reset_last", "reset_full", "inject"),
    "#28C800": ("swr", "nap", "bn", "clip"),
    "#6428F0": ("l1_init", "huber_init", "wasserstein"),
    "#788C00": ("parseval", "spectral", "isometry", "adamo", "decoupling"),
    "#3C003C": ("ewc", "ewc_online", "mas", "si", "lwf"),
    "#A0C8C8": ("hare_tortoise", "ema", "distill", "cchain"),
    "#F0A0A0": ("sam", "muon", "upgd", "trac"),
    # Dashes begin again in a tenth family, whose first look is FIRE's.
    "#505000": ("", "crelu", "fourier", "aid", "layer_norm", "nap_norm"),
}
_FAMILY_MARKERS = ("o", "s", "^", "D", "v", "P")
_FAMILY_DASHES: tuple[Any, ...] = (
    *("-.", ":", (0, (12, 2)), (0, (4, 4)), (0, (12, 2, 2, 2)), (0, (6, 2, 6, 2, 1, 2))),
    *((0, (2, 4)), (0, (8, 1, 1, 1, 1, 1, 1, 1)), (0, (12, 2, 4, 2))),
)


def _looks() -> dict[str, tuple[str, Any, str]]:
    """The looks above, and those of families: markers in order, dashes so that no pair comes twice."""
    found = dict(_LOOKS)
    for place, (color, names) in enumerate(_FAMILIES.items()):
        for index, (name, marker) in enumerate(zip(names, _FAMILY_MARKERS, strict=False)):
            found[name] = color, _FAMILY_DASHES[(place + index) % len(_FAMILY_DASHES)], marker
    return {name: found[name] for name in LABELS if name in found}


RULE_STYLES = {name: RuleStyle(LABELS[name], *look) for name, look in _looks().items()}
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
_SWEPT = {  # options of rules that are drawn together
    "weight_decay=0.001": ("#A0522D", "D"),
    "l2=0.001:form=textbook": ("#117733", "d"),
    "optimizer=renewed": ("#B8860B", "h"),
    "training=yes": ("#4169E1", "p"),
    "learning_rate=0.01": ("#4B0082", "D"),
    "learning_rate=0.1": ("#A0522D", "^"),
    "learning_rate=0.1:weight_decay=0.0005": ("#004D40", "s"),
    "share=0.1": ("#CC79A7", "*"),
    "move=within_filters": ("#708090", "<"),
    "move=across_filters": ("#000000", ">"),
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


_OWN_COLORS = ("#B22222", "#008B8B", "#6A5ACD", "#B8860B", "#C71585", "#2F4F4F", "#7CA82B", "#4169E1")
_OWN_MARKERS = ("$a$", "$b$", "$c$", "$d$", "$e$", "$f$", "$g$")


def rule_style(rule: str) -> RuleStyle:
    """Style of `rule`; one without an entry is grey, named as it is.

    A rule with options ("dash:lam=0.05") is named by both; its options choose one of four looks of its own, or
    one that differs from those of the values that are usually drawn beside it. The text of one of your own
    (python:mine.py:Mine) chooses its look, the same in every figure.
    """
    name, parts = split_text(rule)
    label, options = label_of(rule), ":".join(parts)
    if is_own(rule):
        code = zlib.crc32(rule.encode())
        color, marker = _OWN_COLORS[code % len(_OWN_COLORS)], _OWN_MARKERS[code // 8 % len(_OWN_MARKERS)]
        return RuleStyle(label, color, "-", marker)
    if not parts or name not in RULE_STYLES:
        return RULE_STYLES.get(rule, RuleStyle(label, "#7f7f7f", "-", "x"))
    color, marker = _SWEPT.get(options) or _VARIANTS[zlib.crc32(options.encode()) % len(_VARIANTS)]
    return RuleStyle(label, color, RULE_STYLES[name].linestyle, marker)


def sort_rules(rules: Iterator[str] | list[str]) -> list[str]:
    """Order of rules in legends: that of `RULE_STYLES`, unknown ones last by name."""
    known = list(RULE_STYLES)

    def place(rule: str) -> tuple[int, str]:
        name, _ = split_text(rule)
        return (known.index(name) if name in known else len(known)), rule

    return sorted(set(rules), key=place)


@contextmanager
def style() -> Iterator[None]:
    """Use the package's settings for every figure made inside, and the callers' again after."""
    with mpl.rc_context():
        mpl.rcdefaults()  # keeps the backend
        mpl.rcParams.update(_SETTINGS)
        yield


PICTURES = (".png", ".svg")
"""Kinds of files that a figure is saved as."""


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write `figure` to `stem`.png (160 dpi) and .svg, atomically; the same figure gives the same bytes.

    Returns:
        the two paths.
    """
    from dashtheory.record import replacing  # brings tables and statistics along, which a style does not need

    paths = []
    for suffix, facts in zip(PICTURES, ({"Software": None}, {"Date": None}), strict=True):
        path = stem.with_suffix(suffix)
        with replacing(path) as temporary:
            figure.savefig(temporary, metadata=facts)
        paths.append(path)
    return paths
