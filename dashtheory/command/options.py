"""Options of a command line, made from a configuration."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dashtheory._check import fail, integer, real
from dashtheory._memory import must_fit
from dashtheory._nested import build, flat, values_of
from dashtheory._spec import is_own
from dashtheory.parallel import usable_cores

Config = TypeVar("Config")


def add_options(group: argparse._ArgumentGroup, config: type[Any], leave: Collection[str] = ()) -> None:
    """Make every value of a configuration an option, whose value is None if it is not given.

    Args:
        group: that takes them.
        config: frozen dataclass, in parts or not (`dashtheory._nested`).
        leave: values that get no option.
    """
    usual = flat(make_config(config, {}))
    for one in values_of(config):
        if one.name not in leave:
            text = f"{one.field.metadata.get('help', '')} (default: {shown(usual[one.name])})".replace("%", "%%")
            option = "--" + one.name.replace("_", "-")
            group.add_argument(option, dest=one.name, type=_reader(one.kind), help=text, metavar="X")


def option_names(parser: argparse.ArgumentParser) -> dict[str, str]:
    """How values are written on a command line, by their names: {"chunk_size": "--chunk-size"}; no switches.

    One of several values ("rule") is written where all are ("--rules").

    Args:
        parser: with all of its options.
    """
    names = {
        action.dest: action.option_strings[-1]
        for action in parser._actions
        if action.option_strings and action.nargs != 0
    }
    return {name.removesuffix("s"): option for name, option in names.items()} | names


def given_options(options: argparse.Namespace, config: type[Any]) -> dict[str, object]:
    """Values of the options that were given, by name.

    Args:
        options: as made by `add_options` for `config`.
        config: frozen dataclass.
    """
    values = {one.name: getattr(options, one.name, None) for one in values_of(config)}
    return {name: value for name, value in values.items() if value is not None}


def folder(text: str) -> Path:
    """A folder of results, as it is written on a command line.

    Raises:
        ArgumentTypeError: if it is empty, or in the home of a user that is not there.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a folder, got ''")
    try:
        return Path(text).expanduser()  # a shell leaves --out=~/runs as it is
    except RuntimeError:
        words = f"must be in a home that is there, got '{text}'; say ./{text} for a folder of that name"
        raise argparse.ArgumentTypeError(words) from None


def refuse_unheard(given: Mapping[str, object]) -> None:
    """Refuse options of the package's data beside a stream of the user's own, which hears none of them.

    Args:
        given: values of the options that were given, by name.

    Raises:
        ValueError: if there is one.
    """
    unheard = [name for name in ("num_chunks", "chunk_size", "num_test", "size") if name in given]
    if unheard and is_own(str(given.get("data", ""))):
        fix = "Its function says what chunks it has."
        fail(unheard[0], "must be left out with a stream of your own", str(given[unheard[0]]), fix)


def make_config(kind: type[Config], values: Mapping[str, object]) -> Config:
    """A configuration from values by name, and its own defaults for the others.

    Args:
        values: by name, across all parts.
        kind: a dataclass; its `of`, if it has one, knows defaults that depend on other values.

    Raises:
        ValueError: as the configuration.
    """
    of = getattr(kind, "of", None)
    return typing.cast(Config, of(**values)) if of is not None else build(kind, values)


def _reader(kind: Any) -> Callable[[str], object]:
    """How an option's text becomes a value of a field's type: one value, or several separated by commas."""
    if typing.get_origin(kind) is tuple:
        entry = typing.get_args(kind)[0]

        def read_many(text: str) -> object:
            return tuple(entry(part.strip()) for part in text.split(",") if part.strip())

        read_many.__name__ = f"list of {entry.__name__}"
        return read_many
    return _yes_or_no if kind is bool else typing.cast(Callable[[str], object], kind)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"must be yes or no, got {text!r}")
    return text == "yes"


def shown(default: object) -> str:
    """A default as one would write it as an option."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


class OneLineParser(argparse.ArgumentParser):
    """Errors in one line, without the usage block; "-1,0" is a value, like "-1"."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As argparse, once all of it can be written down: bytes that are no text are refused."""
        for one in sys.argv[1:] if args is None else args:
            if any("\ud800" <= letter <= "\udfff" for letter in one):
                utf8 = sys.getfilesystemencoding() == "utf-8"
                fix = "Rename the file." if utf8 else "Set PYTHONUTF8=1."
                self.error(f"arguments must be names that this Python can spell, got {one!a}. {fix}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with the line and status 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Options --stages and --budget of what runs stage by stage."""
    text = (
        "stop each run after so many stages; several, as 2,5,10: rules that start anew in every stage run these "
        "alone, others all up to the last; a later call goes on"
    )
    parser.add_argument("--stages", type=_stages, help=text, metavar="N")
    parser.add_argument("--budget", help="time for this call, as 9m; default: until all is done")


def add_first_seed(parser: argparse.ArgumentParser) -> None:
    """Option --first-seed, beside --seeds."""
    text = "where seeds begin (default: 0), so that several machines can share them (`dashtheory join`)"
    parser.add_argument("--first-seed", type=int, default=0, help=text, metavar="N")


_LAST_SEED = 2**63 - 1  # tables hold seeds in 64 bits


def seeds_from(first: int, count: int) -> list[int]:
    """The seeds of a call.

    Args:
        first: what --first-seed says.
        count: what --seeds says.

    Raises:
        ValueError: if the first is below 0, or the last more than a table can hold.
    """
    first = integer("--first-seed", first, minimum=0, fix="Seeds are 0, 1, 2, ...")
    if first + count > _LAST_SEED:
        fail("--first-seed", "must leave all seeds below 2^63", str(first), "Seeds are 0, 1, 2, ...")
    return list(range(first, first + count))


def stages_wanted(wanted: tuple[int, ...] | None, num_chunks: int | None) -> Mapping[str, Any]:
    """Which stages of a stream are wanted, as `dashtheory.deep.run.rule_jobs` takes it.

    Args:
        wanted: what --stages says: a number, or several stages.
        num_chunks: of the stream; None if that is not known.

    Raises:
        ValueError: if there are not so many.
    """
    if wanted is None:
        return {"num_stages": None}
    for stage in wanted:
        integer("--stages", stage, minimum=1, fix="It is the number of stages to run of each stream.")
        if num_chunks is not None and stage > num_chunks:
            fail(
                "--stages", f"must be at most {num_chunks}, the chunks of the stream", str(stage), "Leave it out."
            )
    if len(wanted) == 1:
        return {"num_stages": wanted[0]}
    return {"num_stages": max(wanted), "at": tuple(sorted(set(wanted)))}


def _stages(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


_stages.__name__ = "number of stages, or several of them,"


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
RESERVE = 5.0
"""Seconds of a budget that are kept for the end of the call."""


def read_duration(text: str) -> float:
    """Seconds of "90", "90s", "9m" or "1.5h", less those kept for the end.

    Raises:
        ValueError: if it is none of these, or not longer than the seconds kept for the end.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smh]?)", text.strip())
    if not match:
        fail("--budget", "must be a number with s, m or h", repr(text), "Say 9m, for instance.")
    seconds = float(match[1]) * _UNITS[match[2]]
    return real("--budget", seconds, low=RESERVE, open_low=True, fix="In seconds; say 9m, for instance.") - RESERVE


_RUN, _PROCESS = 1 << 12, 1 << 27  # bytes that a run in a list and a process that computes need at least


def check_counts(num_seeds: int, num_jobs: int) -> None:
    """Refuse --seeds and --jobs that cannot be in memory; as many processes as cores are always tried."""
    must_fit("--seeds", num_seeds, _RUN)
    if num_jobs > usable_cores():
        must_fit("--jobs", num_jobs, _PROCESS)


def setting_name(name: str, changed: Mapping[str, object]) -> str:
    """A name followed by what was changed but the rules, fit for a file name."""
    parts = [f"{field}={_word(value)}" for field, value in sorted(changed.items()) if field != "rules"]
    whole = "+".join([name, *parts])
    if len(whole) <= _LONGEST:
        return whole
    return f"{whole[:_LONGEST]}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


_LONGEST = 150  # characters; file systems take 255 bytes


def _word(value: object) -> str:
    text = "_".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return re.sub(r"[^\w=-]", "_", text)
