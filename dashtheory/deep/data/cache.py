"""Keep what was slow to decode in one file, and trust that file only if it is whole and up to date."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dashtheory._check import fail
from dashtheory.deep.data.images import ImageData, ImageSet
from dashtheory.record import replacing, writable_folder

VARIABLE = "DASHTHEORY_CACHE"
FORMAT = 3  # of the cache file; a file of another format is rebuilt
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_LEFT_OVER = 3600.0  # seconds after which a half-written file has no writer any more


def cache_folder(cache: Path | str | None = None) -> Path:
    """Where cache files lie: `cache`, else the environment variable DASHTHEORY_CACHE, else ~/.cache/dashtheory.

    (~/.cache is what XDG_CACHE_HOME says, if it is set.)
    """
    chosen = cache or os.environ.get(VARIABLE)
    return Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "dashtheory").expanduser()


def cached(
    build: Callable[[], ImageData],
    *,
    source: Mapping[str, object],
    state: object,
    cache: Path | str | None = None,
) -> ImageData:
    """What `build()` returns, read from the cache file of `source` if that was made from the same `state`.

    A cache file is an uncompressed .npz without pickles; the hash of its content is verified at every reading. A
    damaged or outdated one is built anew. It is replaced as a whole: several processes may build it at once. Where
    the folder cannot be written (a home that is read-only, or none at all) the data are built all the same, by
    every process; there is a warning if the variable names that folder.

    Args:
        build: makes the data, slowly.
        source: what is read, and how: names the file (JSON).
        state: what changes when the source changes, such as size and time of change (JSON).
        cache: the folder, see `cache_folder`.

    Raises:
        ValueError: if `cache` cannot be written, or the folder has no room.
    """
    try:
        folder = cache_folder(cache)
    except RuntimeError:  # no home
        return build()
    key = json.dumps([FORMAT, source, state], sort_keys=True)
    named = json.dumps(source, sort_keys=True).encode()
    path = folder / f"images-{hashlib.sha256(named).hexdigest()[:24]}.npz"
    kept = _load(path, key)
    if kept is not None:
        return kept
    try:
        writable_folder("cache", folder)
    except ValueError as error:
        if cache is not None:
            raise
        if os.environ.get(VARIABLE):
            warnings.warn(f"{error} Until then pictures are decoded anew.", RuntimeWarning, stacklevel=2)
        return build()
    data = build()
    try:
        _remove_left_overs(path)
        _save(path, key, data)
    except OSError as error:
        reason = error.strerror or str(error)
        fail("cache", "must have room for the data", f"'{folder}' ({reason})", "Free some, or choose another.")
    return data


def _save(path: Path, key: str, data: ImageData) -> None:
    parts = (data.train.images, data.train.labels, data.test.images, data.test.labels)
    arrays: dict[str, Any] = {name: part.numpy() for name, part in zip(_ARRAYS, parts, strict=True)}
    known = {"key": key, "classes": list(data.classes), "name": data.name, "facts": dict(data.facts)}
    note = json.dumps({**known, "sha256": _content(known, arrays)})
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, note=np.frombuffer(note.encode(), np.uint8), **arrays)


def _content(known: Mapping[str, object], arrays: Mapping[str, Any]) -> str:
    """SHA-256 of all that a cache file holds: what it was made from, and the pictures."""
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for name in _ARRAYS:
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _load(path: Path, key: str) -> ImageData | None:
    """The data in a cache file, or None if it is missing, damaged or outdated."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            note = json.loads(content["note"].tobytes())
            if note["key"] != key:
                return None
            arrays = {name: content[name] for name in _ARRAYS}
            if note.pop("sha256") != _content(note, arrays):
                return None
            parts = [torch.from_numpy(arrays[name]) for name in _ARRAYS]
        train, test = ImageSet(parts[0], parts[1]), ImageSet(parts[2], parts[3])
        data = ImageData(train, test, tuple(note["classes"]), note["name"], note["facts"])
    except Exception:  # whatever a missing file or damaged bytes lead to
        return None
    whole = (len(train), len(test), list(train.images.shape[1:])) == tuple(
        data.facts.get(fact) for fact in ("train", "test", "shape")
    )
    return data if whole else None


def _remove_left_overs(path: Path) -> None:
    """Remove what processes that were killed while writing `path` left behind."""
    for temporary in path.parent.glob(f".{path.stem}-*{path.suffix}"):
        with suppress(FileNotFoundError):  # its writer has just put it in place
            if time.time() - temporary.stat().st_mtime > _LEFT_OVER:
                temporary.unlink()
