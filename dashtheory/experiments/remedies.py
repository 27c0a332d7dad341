"""Every remedy on several streams: which rules, which numbers of theirs are tuned, and on which data.

A remedy is a rule's text in which the values of one option may be a grid, joined by /: "sp:shrink=0.1/0.3/0.6".
That option is its main number. All else has its published default, or what the text says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from dashtheory._check import fail, integer
from dashtheory._spec import split_text
from dashtheory.deep.config import RunConfig
from dashtheory.deep.presets import ComparisonConfig
from dashtheory.rules.spec import TRAINING_OPTIONS, parse_spec, rule_class

GRID = "/"
TUNED_OPTIONS = ("learning_rate", "weight_decay")
"""Of the training, which are tuned for every rule."""
REMEDIES = (
    *("cold", "warm", "warm_rm"),
    *("sp:shrink=0.1/0.3/0.6", "sp_ash_adams:shrink=0.2/0.4/0.6", "sp_init:c=0.2/0.5/0.8"),
    *("sp_all:shrink=0.5/0.8/0.95", "sp_steps:perturb=1e-06/1e-05/0.0001"),
    *("dash:lam=0.05/0.1/0.3", "fire:steps=5/10/20"),
    *("reset", "reset_last:last=1/2/3", "reset_full", "inject"),
    *("swr:features=0.0001/0.001/0.01", "nap"),
    *("l2_init:l2=0.01/0.1/1", "l1_init:strength=0.0001/0.001/0.01", "huber_init:strength=0.001/0.01/0.1"),
    *("wasserstein:strength=0.0001/0.001/0.01", "parseval:strength=0.0001/0.001/0.01"),
    *("spectral:strength=0.001/0.01/0.1", "isometry:strength=0.001/0.01/0.1"),
    *("adamo:strength=0.001/0.01/0.1", "decoupling:strength=0.001/0.01/0.1"),
    *("ewc:strength=1/10/100", "ewc_online:strength=1/10/100", "mas:strength=1/10/100", "si:strength=1/10/100"),
    *("lwf:strength=1/3/10", "hare_tortoise:momentum=0.9/0.99/0.999", "ema:momentum=0.9/0.99/0.999"),
    "distill:strength=1/3/10",
    *("redo:every=200:tau=0.025/0.1/0.3", "regrama:every=200:tau=0.01/0.03/0.1", "cbp:rho=0.0001/0.001/0.01"),
    *("snr:eta=0.02/0.08/0.2", "cpr:every=200:r=0.012/0.05/0.2", "swr_weights:every=200:share=0.001/0.01/0.1"),
    *("sam:rho=0.05/0.1/0.2", "muon", "upgd:sigma=0.0001/0.001/0.01", "trac"),
    *("crelu", "fourier", "aid:p=0.8/0.9/0.95", "layer_norm", "nap_norm"),
)
"""Published remedies. Every grid holds the published default; where first trials on the digits wanted more of a
penalty, it is the smallest value. Resets come every 200 steps: every 1,000, as published, would be once or twice
in a stage here."""
CONTROLS = (
    *("cold_shrunk:factor=0.3/0.45/0.7", "rewarm:factor=0.1/0.3/0.6", "bn", "perturb:perturb=0.003/0.01/0.03"),
    *("uniform:lam=0.05/0.1/0.3", "permuted:lam=0.05/0.1/0.3", "scattered:lam=0.05/0.1/0.3"),
    *("proportional:lam=0.05/0.1/0.3", "threshold:factor=0.1/0.3/0.6"),
)
"""Rules that take something away from one of these, tuned as they are."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A rule and the grid of its main number.

    Attributes:
        rule: the rule's text, its main number left out.
        main: name of the main number; empty if it has none.
        grid: of the main number, ascending.
    """

    rule: str
    main: str = ""
    grid: tuple[float, ...] = ()

    @cached_property
    def default(self) -> float | None:
        """The published value of the main number; None if there is no such number, or it must be given."""
        if not self.main:
            return None
        kind = rule_class(split_text(self.rule)[0])
        given = (one.default for one in fields(kind) if one.name == self.main)
        return next((float(value) for value in given if isinstance(value, int | float)), None)

    def text(self, values: Mapping[str, float]) -> str:
        """The rule's text with some values, by name; the published value of the main number is not written.

        Args:
            values: of the main number and of the training's options.
        """
        given = {name: value for name, value in values.items() if name != self.main or value != self.default}
        return ":".join([self.rule, *(f"{name}={value:g}" for name, value in given.items())])


def read_remedy(text: str) -> Remedy:
    """Read a remedy as written.

    Raises:
        ValueError: in one line if it is no rule, more than one option is a grid, a grid does not rise or is of an
            option of the training, or `TUNED_OPTIONS` are given.
    """
    name, parts = split_text(text)
    swept = [part for part in parts if GRID in part]
    if len(swept) > 1:
        fail("rules", "may have one grid each", repr(text), "Fix the other option.")
    rule = ":".join([name, *(part for part in parts if part not in swept)])
    if given := [option for option in parse_spec(rule).training if option in TUNED_OPTIONS]:
        fail("rules", "must leave the training's options free", f"{given[0]} in {text!r}", "They are tuned.")
    if not swept:
        parse_spec(rule).make()
        return Remedy(rule=rule)
    main, _, values = swept[0].partition("=")
    if main in TRAINING_OPTIONS:
        fix = "Step size and decay are tuned; of the others give one value."
        fail("rules", "must have grids of the rule's own numbers", repr(text), fix)
    grid = tuple(_number(value, text) for value in values.split(GRID))
    if list(grid) != sorted(set(grid)):
        fail("rules", "must have grids that rise", repr(text), "Sort the values, each once.")
    found = Remedy(rule=rule, main=main, grid=grid)
    for value in grid:
        parse_spec(found.text({main: value})).make()
    return found


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        fail("rules", "must have grids of numbers", repr(whole), "Write shrink=0.1/0.3/0.6, say.")


@dataclass(frozen=True, kw_only=True)
class StreamSetting:
    """One of the streams: what is trained on what, how often, and from which grids.

    Attributes:
        title: in words.
        config: the setting; its step size is the centre of the grid.
        num_seeds: root seeds 0, 1, ... of the main runs.
        num_tuning: seeds of a trial, from `FIRST_TUNING` on.
        rounds: of searches, in each of which every number is tuned once.
        decays: three weight decays, rising, the setting's own among them.
        metric: the score, at the last stage.
        sign: 1 if more of it is better, else -1.
        scale: by which differences are multiplied.
        unit: of scaled differences.
        num_stages: of a user's own stream, whose configuration does not tell.
    """

    title: str
    config: RunConfig
    num_seeds: int = 5
    num_tuning: int = 1
    rounds: int = 1
    decays: tuple[float, ...] = (0.0, 0.001, 0.01)
    metric: str = "test_accuracy"
    sign: int = 1
    scale: float = 100.0
    unit: str = "points of accuracy"
    num_stages: int = 0

    def __post_init__(self) -> None:
        integer("num_seeds", self.num_seeds, minimum=2, fix="Intervals need two.")
        integer("num_tuning", self.num_tuning, minimum=1, fix="It counts seeds.")
        integer("rounds", self.rounds, minimum=1, fix="One tunes every number once.")
        own = self.config.training.weight_decay
        if len(self.decays) != 3 or list(self.decays) != sorted({*self.decays, own}):
            fail("decays", f"must be three, rising, with the setting's own {own:g}", str(self.decays), "Add it.")

    @property
    def stages(self) -> int:
        """Stages of the stream."""
        return self.num_stages or self.config.data.length or 0


FIRST_TUNING = 1000
"""The first root seed of trials: none of the main runs has it."""

_MEASURES: Mapping[str, Any] = {
    "reestimate": False,
    "retention": -1,
    "weights": False,
    "seconds": True,
    "memory": True,
}
_DIGITS: Mapping[str, Any] = {"data": "digits", "batch_size": 56, "learning_rate": 0.006, **_MEASURES}
"""A batch that divides chunks, held out or not; a step size at which first trials of cold and warm were best."""
_TEXT: Mapping[str, Any] = {"metric": "test_loss", "sign": -1, "unit": "nats / 100 of test loss"}


def _setting(title: str, values: Mapping[str, Any], **options: Any) -> StreamSetting:
    return StreamSetting(title=title, config=ComparisonConfig.of(**values), **options)


def stream_settings(names: Sequence[str] = ()) -> dict[str, StreamSetting]:
    """The streams by name.

    Args:
        names: of those that are wanted; all if empty.

    Raises:
        ValueError: if there is no such stream.
    """
    if unknown := [name for name in names if name not in _STREAMS]:
        fail("streams", f"must be among {', '.join(_STREAMS)}", repr(unknown[0]), "Choose from these.")
    return {name: _setting(**_STREAMS[name]) for name in names or _STREAMS}


_STREAMS: Mapping[str, Mapping[str, Any]] = {
    "digits": {
        "title": "Digits, a fifth of the labels wrong, five chunks",
        "values": _DIGITS,
        "num_seeds": 10,
        "num_tuning": 2,
    },
    "half": {
        "title": "Digits, a fifth of the labels wrong, half and then all",
        "values": {**_DIGITS, "num_chunks": 2, "chunk_size": 700},
        "num_seeds": 10,
        "num_tuning": 3,
    },
    "wrong_first": {
        "title": "Digits, a tenth with half of its labels wrong, then all with the right ones",
        "values": {
            **_DIGITS,
            **{"num_chunks": 10, "chunk_size": 140, "arrivals": (1, 9), "label_noise": 0.5, "mended": True},
        },
        "num_seeds": 10,
        "num_tuning": 3,
    },
    "equal_epochs": {
        "title": "Digits, a fifth of the labels wrong, five chunks, 40 epochs in every stage",
        "values": {**_DIGITS, "criterion": "epochs", "max_epochs": 40},
        "num_seeds": 10,
        "num_tuning": 2,
    },
    "text": {
        "title": "Python's help texts, half and then all",
        "values": {"data": "text", "num_chunks": 2, "max_epochs": 60, **_MEASURES},
        "decays": (0.0, 0.0001, 0.001),
        **_TEXT,
    },
    "cifar10": {
        "title": "CIFAR-10 at 8 x 8 pixels, three chunks",
        "values": {"data": "cifar10", "num_chunks": 3, "batch_size": 80, **_MEASURES},
    },
}
STREAM_NAMES = tuple(_STREAMS)
