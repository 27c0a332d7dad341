"""What stands beside every saved table: how it was made, with what, on what, and when."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from dashtheory._version import __version__
from dashtheory.parallel import usable_cores

_LIBRARIES = ("numpy", "scipy", "numba", "pandas", "torch", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that produce numbers."""
    return dict(_versions())


def library_versions() -> dict[str, str]:
    """Of `versions`, all but that of this package, whose code is known by a hash of its own."""
    return {name: version for name, version in versions().items() if name != "dashtheory"}


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "dashtheory": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine(device: str = "cpu") -> dict[str, str | int]:
    """Device that computed, processor, cores this process may use, and system; nothing that names the host."""
    return {"device": device, "processor": _processor(), "cores": usable_cores(), "system": platform.system()}


@cache
def _processor() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return model


@cache
def code_fingerprint(root: Path | None = None) -> str:
    """sha256 over all Python files below `root` (the package), names and contents.

    It keeps results from being taken for another code's.
    """
    root = Path(__file__).resolve().parents[1] if root is None else root
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def plain(value: object) -> object:
    """Turn a configuration (dataclasses, tuples, paths) into what JSON holds.

    A field that came later says by `metadata={"neutral": VALUE}` at which value a run is what it was before. At
    this value it is left out, so that what is known of older runs still fits (`dashtheory._nested.restore` puts
    it back).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {field.name: plain(entry) for field, entry in pairs if not _neutral(field, entry)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _neutral(field: dataclasses.Field[Any], value: object) -> bool:
    return "neutral" in field.metadata and bool(value == field.metadata["neutral"])


def plain_config(config: object) -> dict[str, object]:
    """A configuration as JSON holds it.

    Args:
        config: a dataclass.
    """
    found = plain(config)
    assert isinstance(found, dict)
    return found


def provenance(
    *,
    experiment: str,
    config: object,
    seeds: list[int],
    wall_seconds: float,
    data: Mapping[str, object],
    device: str = "cpu",
) -> dict[str, object]:
    """Collect all that is saved beside a table.

    Args:
        experiment: its name.
        config: its configuration, a dataclass.
        seeds: root seeds.
        wall_seconds: time of the whole call, in seconds (runs kept from a stopped call not included).
        data: facts about the data, such as a hash.
        device: what computed: "cpu", or the name of the accelerator.
    """
    return {
        "experiment": experiment,
        "config": plain(config),
        "seeds": seeds,
        "data": plain(dict(data)),
        "versions": versions(),
        "machine": machine(device),
        "code": code_fingerprint(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall_seconds, 3),
    }
