"""Finished runs of an experiment, kept on disk so that a stopped call goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dashtheory.record.provenance import code_fingerprint, plain, versions
from dashtheory.record.store import load_table, save_table


class KeptRuns:
    """Finished runs, by name, of one configuration under one version of the code.

    A run is found again only if configuration, code and library versions are the same to the letter; anything
    else, a damaged file included, counts as not finished.

    Args:
        folder: where all kept runs of the experiment live. identity: what the numbers depend on.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        whole = {"identity": plain(dict(identity)), "code": code_fingerprint(), "versions": versions()}
        key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
        self.root = folder
        self.folder = folder / key[:16]

    def find(self, name: str) -> tuple[pd.DataFrame, float] | None:
        """Table and seconds of the finished run `name`, or None."""
        try:
            table, facts = load_table(self.folder / f"{name}.csv")
            return table, float(str(facts["seconds"]))
        except (ValueError, KeyError):
            return None

    def keep(self, name: str, table: pd.DataFrame, seconds: float) -> None:
        """Save a finished run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_table(table, self.folder / f"{name}.csv", {"run": name, "seconds": seconds})

    def forget(self) -> None:
        """Remove the kept runs of this configuration, and the folders above if they are empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (self.root, self.root.parent):
            with contextlib.suppress(OSError):  # not empty, or gone
                folder.rmdir()
