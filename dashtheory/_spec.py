"""How a rule is written, in a table, on a command line or in a legend; this is the one place that reads it.

    dash                               a name: the rule with its published defaults
    dash:lam=0.05:alpha=1              options: numbers, yes or no, words, or several values joined by +
    python:mine.py:Mine:strength=0.5   your own: the class Mine of a file
    python:package.module:Mine         or of a module

A level hands in the names that it knows. What they stand for is not known here (see `dashtheory.rules.spec`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dashtheory._check import choice, fail

OWN = "python:"
"""What a name of your own begins with."""

LABELS: Mapping[str, str] = {
    "cold": "cold",
    "warm": "warm",
    "ideal": "ideal (oracle)",
    "sp": "S&P",
    "dash": "DASH",
    "uniform": "uniform (DASH's mean)",
    "permuted": "DASH permuted",
    "scattered": "DASH scattered",
    "norm_matched": "DASH's norms alone",
    "proportional": "uniform, biases in proportion",
    "threshold": "threshold",
    "sp_ash_adams": "S&P (Ash & Adams)",
    "perturb": "noise alone",
    "warm_rm": "warm, new optimizer",
    "reset": "new classifier",
    "l2_init": "L2-init",
    "cold_shrunk": "cold, shrunk start",
    "rewarm": "larger step alone",
    "fire": "FIRE",
    "sp_init": "S&P towards the start",
    "sp_steps": "S&P at every step",
    "sp_all": "S&P on all",
    "reset_last": "new last layers",
    "reset_full": "full reset",
    "swr": "soft rescaling",
    "nap": "projected (NaP)",
    "bn": "new batch statistics",
    "l1_init": "L1-init",
    "huber_init": "Huber-init",
    "wasserstein": "Wasserstein-init",
    "parseval": "Parseval",
    "spectral": "spectral",
    "isometry": "isometry",
    "adamo": "AdamO (isometry)",
    "decoupling": "spectral decoupling",
    "ewc": "EWC",
    "ewc_online": "online EWC",
    "mas": "MAS",
    "si": "synaptic intelligence",
    "lwf": "LwF",
    "hare_tortoise": "Hare & Tortoise",
    "ema": "averaged weights",
    "distill": "self-distillation",
    "inject": "plasticity injection",
    "sam": "SAM",
    "muon": "Muon",
    "upgd": "UPGD",
    "trac": "TRAC",
    "crelu": "CReLU",
    "fourier": "Fourier features",
    "aid": "interval dropout (AID)",
    "layer_norm": "layer norm",
    "nap_norm": "normalized and projected (NaP)",
    "redo": "ReDo",
    "regrama": "ReGraMa",
    "cbp": "continual backprop",
    "snr": "self-normalized resets",
    "cpr": "partial resets (CPR)",
    "swr_weights": "selective weight resets",
    "clip": "weight clipping",
    "cchain": "C-CHAIN",
    "dash_channels": "DASH by channel",
    "soft": "half of the noise (oracle)",
    "oracle": "neurons by share (oracle)",
    "ridge": "ridge (linear)",
}
"""What legends call each rule of the package, in the order in which they list them."""

_IDENTIFIER = r"[^\W\d]\w*"
_OWN = re.compile(
    rf"{OWN}(?P<place>{_IDENTIFIER}(?:\.{_IDENTIFIER})*|.+?\.py):(?P<name>{_IDENTIFIER})(?P<rest>(?::.*)?)",
    re.DOTALL,
)
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*(:[a-z_][a-z0-9_]*=[a-z0-9_.+-]*[a-z0-9_+-])*")
_LONGEST = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names of devices on Windows


@dataclass(frozen=True, kw_only=True)
class SpecText:
    """A rule as written, taken apart.

    Attributes:
        text: as written.
        name: of the rule; of your own, with its place, as python:mine.py:Mine.
        options: values by name, in the order written.
    """

    text: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def label(self) -> str:
        """For legends: "DASH, lam=0.05"."""
        return label_of(self.text)

    @property
    def slug(self) -> str:
        """For file names: "dash-lam=0.05"."""
        return slug_of(self.text)


def read_text(text: str, known: Iterable[str], *, argument: str = "rule", own: bool = False) -> SpecText:
    """Read a rule as written.

    Args:
        text: as written.
        known: names of rules.
        argument: what errors call the text.
        own: whether rules of your own are taken too.

    Raises:
        ValueError: in one line if it is no text, of no known name, or an option is not name=value.
    """
    if not isinstance(text, str):
        fail(argument, "must be a name with options", repr(text), "Write dash:lam=0.05, say.")
    name, parts = split_text(text)
    if not is_own(text):
        choice(argument, name, known)
    elif own:
        split_own(argument, name)
    else:
        _refuse_own(argument, text, known)
    return SpecText(text=text, name=name, options=read_options(f"rule {name}", parts))


def read_names(argument: str, texts: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Read rules that have no options here.

    Raises:
        ValueError: in one line as `read_text`, or if there is none, one comes twice or has options.
    """
    names, known = tuple(texts), tuple(known)
    for text in names:
        if read_text(text, known, argument=argument).options:
            fail(argument, f"must be among {', '.join(known)}", repr(text), "Here they have no options.")
    if not names or len(set(names)) < len(names):
        fail(argument, "must name at least one, each once", str(names), f"Choose from {', '.join(known)}.")
    return names


def _refuse_own(argument: str, text: str, known: Iterable[str]) -> None:
    where = "dashtheory run, paper_repro/run.py and the scripts that train deep networks"
    fail(argument, f"must be one of {', '.join(known)}", repr(text), f"Level 3 takes rules of your own: {where}.")


def is_own(text: object) -> bool:
    """Whether a text names something of your own: python:..."""
    return isinstance(text, str) and text.startswith(OWN)


def split_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and options of a rule, as written; any text will do."""
    if not is_own(text):
        name, *parts = text.split(":")
        return name, tuple(parts)
    match = _OWN.fullmatch(text)
    if match is None:
        return text, ()
    rest = match["rest"]
    return text.removesuffix(rest), tuple(rest[1:].split(":")) if rest else ()


def split_own(argument: str, name: str) -> tuple[str, str]:
    r"""Place and name of "python:PLACE:NAME"; the place, a file or a module, may be a path such as C:\x\mine.py.

    Args:
        name: the text's name, such as python:mine.py:Mine.
        argument: what errors call it.

    Raises:
        ValueError: if it is written in another way.
    """
    match = _OWN.fullmatch(name)
    if match is None or match["rest"]:
        fail(argument, "must be python:FILE.py:NAME or python:MODULE:NAME", repr(name), "Say python:mine.py:Mine.")
    return match["place"], match["name"]


def read_options(owner: str, given: Iterable[str]) -> dict[str, Any]:
    """Options written as name=value: numbers, yes or no, words, or several values joined by +.

    Raises:
        ValueError: if one is not of this form, or is given twice.
    """
    found: dict[str, Any] = {}
    for part in given:
        name, equals, text = part.partition("=")
        if not equals or not name or not text or name in found:
            fail(f"options of {owner}", "must be name=value, each once", repr(part), "Write lam=0.05, say.")
        found[name] = _read(text)
    return found


def write_text(name: str, options: Mapping[str, Any]) -> str:
    """Write a rule so that `read_text` gives the same name and options.

    Raises:
        ValueError: if it cannot be written: a value that is no number, yes or no, word or tuple of these.
    """
    text = ":".join([name, *(f"{option}={_written(value)}" for option, value in options.items())])
    back, parts = split_text(text)
    if back != name or list(read_options(f"rule {name}", parts).items()) != list(options.items()):
        fail(
            "options", f"of rule {name} must be numbers, booleans and words", str(dict(options)), "Choose others."
        )
    return text


def label_of(text: str) -> str:
    """What legends call a rule; one of an unknown name is called as it is written."""
    name, parts = split_text(text)
    match = _OWN.fullmatch(name)
    if match is None and name not in LABELS:
        return text
    return ", ".join([LABELS[name] if match is None else match["name"], *parts])


def slug_of(text: str) -> str:
    """A rule's text made fit for a file name on any system, also one that does not tell case.

    Two texts never share one: what is not plain (a path, capital letters) has a hash of its text in it.
    """
    if _PLAIN.fullmatch(text) and not _RESERVED.fullmatch(text) and len(text) <= _LONGEST:
        return text.replace(":", "-")
    name, parts = split_text(text)
    match = _OWN.fullmatch(name)
    words = "-".join([name if match is None else match["name"], *parts])
    words = re.sub(r"[^A-Za-z0-9_=+.-]", "_", words)[: _LONGEST // 2]
    words = f"_{words}" if not words[:1].isalnum() or _RESERVED.fullmatch(words) else words
    return f"{words}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _read(text: str) -> object:
    """A number, yes or no, several of them joined by +, or a word."""
    words: dict[str, object] = {"yes": True, "no": False, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    kinds: tuple[Callable[[str], object], ...] = (int, float)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    if "+" in text:
        return tuple(_read(part) for part in text.split("+") if part)
    return text


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "+".join(map(_written, value)) + ("+" if len(value) < 2 else "")
    return str(value).replace("e+", "e") if isinstance(value, float) else str(value)  # + joins values
