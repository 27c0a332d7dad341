"""Configurations in parts: frozen dataclasses in a frozen dataclass, whose fields all have names of their own.

A field that holds another dataclass is a part; every other field is a value. Values are named across all parts
(by their own name, or by `metadata={"as": NAME}` where the part says the rest), so that a command line, a preset
or a test can give them without saying where they belong: `build(RunConfig, {"data": "digits", "size": 8})`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from dashtheory._check import fail

Config = TypeVar("Config")


@dataclass(frozen=True)
class Value:
    """A field that holds a value.

    Attributes:
        name: across all parts.
        path: names of the parts that lead to it, and of the field itself.
        field: of its dataclass.
        kind: its type.
    """

    name: str
    path: tuple[str, ...]
    field: dataclasses.Field[Any]
    kind: Any


def values_of(kind: type[Any]) -> list[Value]:
    """All values of a configuration, in order.

    Args:
        kind: a dataclass.

    Raises:
        ValueError: if two have the same name.
    """
    found = list(_values(kind, ()))
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        fail("configuration", "must name every value once", ", ".join(twice), "Give one another name.")
    return found


def _values(kind: type[Any], path: tuple[str, ...]) -> Iterator[Value]:
    kinds = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        here = (*path, field.name)
        if dataclasses.is_dataclass(kinds[field.name]):
            yield from _values(kinds[field.name], here)
        else:
            yield Value(str(field.metadata.get("as", field.name)), here, field, kinds[field.name])


def build(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A configuration from values by name; what is not given has its default.

    Args:
        kind: a dataclass.
        values: by the names of `values_of`.

    Raises:
        ValueError: if there is no such value, or as the configuration.
    """
    known = values_of(kind)
    for name in values:
        if name not in {one.name for one in known}:
            fail("configuration", f"of {kind.__name__} has no value of this name", repr(name), "See its fields.")
    return _built(kind, {one.path: values[one.name] for one in known if one.name in values})


def _built(kind: type[Config], given: Mapping[tuple[str, ...], Any]) -> Config:
    kinds = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {path[0]: value for path, value in given.items() if len(path) == 1}
    for name in {path[0] for path in given if len(path) > 1}:
        arguments[name] = _built(
            kinds[name], {path[1:]: value for path, value in given.items() if path[0] == name}
        )
    return kind(**arguments)


def flat(config: Any) -> dict[str, Any]:
    """The values of a configuration by name.

    Args:
        config: an instance of a dataclass.
    """
    found = {}
    for one in values_of(type(config)):
        value = config
        for part in one.path:
            value = getattr(value, part)
        found[one.name] = value
    return found


def check_kinds(config: Any) -> None:
    """Refuse values of another kind than their field's: words, lists, yes or no, and parts; numbers have checks.

    Args:
        config: an instance of a dataclass.

    Raises:
        ValueError: that names the first that does not fit.
    """
    for field, kind in _kinds(typing.cast(Hashable, type(config))):
        value, name = getattr(config, field.name), str(field.metadata.get("as", field.name))
        entry = (typing.get_args(kind) or (None,))[0] if typing.get_origin(kind) is tuple else None
        if kind is bool and not isinstance(value, bool):
            fail(name, "must be True or False", repr(value), "Say which.")
        elif kind is str and not isinstance(value, str):
            fail(name, "must be a text", repr(value), "Put it in quotes.")
        elif entry is not None and not isinstance(value, tuple):
            fail(name, "must be a tuple", repr(value), "Write (a, b), or (a,) for one.")
        elif entry is str and not all(isinstance(one, str) for one in value):
            fail(name, "must hold texts", repr(value), "Put each in quotes.")
        elif dataclasses.is_dataclass(kind) and not isinstance(value, typing.cast(type, kind)):
            got = f"{value!r} of type {type(value).__name__}"
            fail(
                field.name,
                f"must be a {getattr(kind, '__name__', kind)}",
                got,
                "Give values by name: RunConfig.of(...).",
            )


@cache
def _kinds(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


def changed(config: Config, **values: Any) -> Config:
    """The same configuration with some values changed, by name.

    Raises:
        ValueError: as `build`.
    """
    return build(type(config), {**flat(config), **values})


def restore(kind: type[Config], saved: Mapping[str, Any]) -> Config:
    """A configuration from what JSON holds of it (`dashtheory.record.provenance.plain`).

    Args:
        kind: a dataclass.
        saved: nested as the configuration, every value there and no other; of those with a neutral value, which
            came later, none need be there.

    Raises:
        ValueError: if a value is missing or too many, or as the configuration.
    """
    known = values_of(kind)
    later = {one.path: one.field.metadata["neutral"] for one in known if "neutral" in one.field.metadata}
    paths = {**later, **dict(_leaves(saved, kind))}
    if set(paths) != {one.path for one in known}:
        fail("configuration", f"must have the fields of {kind.__name__}", "others", "Run it again.")
    return build(kind, {one.name: _restored(paths[one.path], one.kind) for one in known})


def _leaves(
    saved: Mapping[str, Any], kind: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    kinds = typing.get_type_hints(kind)
    for name, value in saved.items():
        if dataclasses.is_dataclass(kinds.get(name)) and isinstance(value, Mapping):
            yield from _leaves(value, kinds[name], (*path, name))
        else:
            yield (*path, name), value


def _restored(value: Any, kind: Any) -> Any:
    """A value from what JSON held: lists were tuples, and infinity was text."""
    if isinstance(value, list):
        return tuple(value)
    return float(value) if kind is float and isinstance(value, str) else value
