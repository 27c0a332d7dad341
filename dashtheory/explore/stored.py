"""Stored passes: what takes long to train or simulate, in small files beside this one, and how it was made.

A pass is two files: NAME.npz (arrays, nothing that runs code when it is read) and NAME.json (setting, seed, hash
of the arrays, fingerprint of the code, versions, machine). `python -m dashtheory.explore.passes` makes them. A
pass of another setting or seed than the one asked for is not used: then the explorer trains, as it would without
the files.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashtheory.errors import DamagedFile

FOLDER = Path(__file__).parent / "data"
FORMAT = "dashtheory pass 1"
SEED = 0
"""Root seed of every stored pass."""

Arrays = Mapping[str, NDArray[Any]]


def packed(arrays: Arrays) -> bytes:
    """Arrays as the bytes of an npz file; the same arrays give the same bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(one) for name, one in arrays.items()})
    return file.getvalue()


def arrays_hash(arrays: Arrays) -> str:
    """sha256 over names, kinds, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        one = np.asarray(arrays[name])
        digest.update(f"{name} {one.dtype.str} {one.shape}\0".encode() + one.tobytes() + b"\0")
    return digest.hexdigest()


@cache
def facts(name: str, folder: Path = FOLDER) -> Mapping[str, Any] | None:
    """How a pass was made; None if there is none.

    Args:
        name: of the pass.
        folder: that holds it.

    Raises:
        DamagedFile: if the file is no such record.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DamagedFile(
            f"{path.name} must be a record of a stored pass; say python -m dashtheory.explore.passes."
        )
    return found


def stored(name: str, config: Mapping[str, Any], seed: int, folder: Path = FOLDER) -> Arrays | None:
    """The arrays of a pass, if there is one of this setting and seed.

    Args:
        name: of the pass.
        config: the setting as JSON holds it.
        seed: root seed.
        folder: that holds it.

    Raises:
        DamagedFile: if the arrays are not those that were written.
    """
    known = facts(name, folder)
    if known is None or known["seed"] != seed or known["config"] != config:
        return None
    return read(name, folder)


@cache
def read(name: str, folder: Path = FOLDER) -> Arrays:
    """The arrays of a pass that is there, checked against their hash.

    Args:
        name: of the pass.
        folder: that holds it.

    Raises:
        DamagedFile: if the arrays are not those that were written.
    """
    path, known = folder / f"{name}.npz", facts(name, folder)
    told = f"{path.name} must hold what {name}.json says; say python -m dashtheory.explore.passes."
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {one: file[one] for one in file.files}
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedFile(told) from error
    if known is None or arrays_hash(arrays) != known["sha256"]:
        raise DamagedFile(told)
    return arrays
