"""Files that hold tensors and say what they are of: a line of JSON, sealed by a hash, and what `torch.save` gives.

They are written atomically, and read with `weights_only`, so that a foreign file cannot run code, and only after
both hashes have been checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dashtheory._check import fail
from dashtheory.errors import DamagedFile
from dashtheory.record import replacing
from dashtheory.record.atomic import sweep


def write_sealed(path: Path, head: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Write a file atomically; its folder is made.

    Args:
        path: of the file.
        head: what the first line says, beside length and hash of the rest and a hash of itself ("seal").
        states: tensors, as `torch.save` takes them.

    Raises:
        OSError: if it cannot be written; what was there before is intact.
    """
    payload = io.BytesIO()
    torch.save(dict(states), payload)
    body = payload.getvalue()
    whole = {**head, "length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    whole["seal"] = seal(whole)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    with replacing(path) as temporary:
        temporary.write_bytes(json.dumps(whole).encode() + b"\n" + body)


def split(path: Path, what: str, fix: str) -> tuple[bytes, bytes]:
    """The first line of a file, and the rest.

    Args:
        path: of the file.
        what: it is, for the error.
        fix: what to do if it cannot be read.

    Raises:
        DamagedFile: if it cannot be read.
    """
    try:
        line, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        got = f"'{path}' ({error.strerror})"
        fail(what, "must be a file that can be read", got, fix, error=DamagedFile)
    return line, body


def states_of(body: bytes, head: Mapping[str, Any], path: Path, what: str, fix: str) -> dict[str, Any]:
    """The tensors of a file, on the CPU.

    Args:
        body: all but its first line.
        head: its first line.
        path: of the file, for the error.
        what: it is, for the error.
        fix: what to do if it is damaged.

    Raises:
        DamagedFile: if they are not those of the first line.
    """
    if len(body) != head["length"] or hashlib.sha256(body).hexdigest() != head["sha256"]:
        got = f"'{path}' with {len(body)} of {head['length']} bytes"
        got = got if len(body) != head["length"] else f"'{path}' damaged"
        fail(what, "must be whole", got, fix, error=DamagedFile)
    try:
        states: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError) as error:  # numbers that are not torch's, such as numpy's
        got = f"'{path}' ({type(error).__name__})"
        fail(what, "must hold tensors and plain numbers alone", got, fix, error=DamagedFile)
    return states


def seal(head: Mapping[str, Any]) -> str:
    """SHA-256 of all that a first line says."""
    said = {name: value for name, value in head.items() if name != "seal"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
