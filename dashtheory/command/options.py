"""Options of a command line, made from a configuration."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Callable, Collection
from typing import Any, NoReturn


def add_options(group: argparse._ArgumentGroup, config: type[Any], leave: Collection[str] = ()) -> None:
    """Make every field of a configuration an option, whose value is None if it is not given.

    Args: group: that takes them. config: frozen dataclass. leave: fields that get no option.
    """
    kinds = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        if field.name not in leave:
            text = f"{field.metadata.get('help', '')} (default: {_shown(field.default)})"
            option = "--" + field.name.replace("_", "-")
            group.add_argument(option, dest=field.name, type=_reader(kinds[field.name]), help=text, metavar="X")


def given_options(options: argparse.Namespace, config: type[Any]) -> dict[str, object]:
    """Values of the options that were given, by field. Args: as made by `add_options` for `config`."""
    values = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if value is not None}


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


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


class OneLineParser(argparse.ArgumentParser):
    """Errors in one line, without the usage block."""

    def error(self, message: str) -> NoReturn:
        """End with the line and status 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")
