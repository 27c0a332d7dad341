"""Commands in processes of their own that end, as by SIGKILL, after any of their operations on files."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure

from dashtheory.command import paper, paper_table
from dashtheory.command.program import SCRIPT
from dashtheory.command.script import main
from dashtheory.protocol import part, stages
from tests.toys import TOY

OPERATIONS = ("fsync", "replace", "unlink", "rmdir", "mkdir")
RUN = [
    *(
        "--data",
        "digits",
        "--model",
        "mlp",
        "--model-options",
        "widths=4",
        "--num-chunks",
        "2",
        "--chunk-size",
        "20",
    ),
    *("--num-test", "20", "--max-epochs", "1", "--seeds", "1", "--rules", "warm", "--jobs", "1"),
]
PAPER = [
    *("digits-mlp", "--num-chunks", "2", "--chunk-size", "20", "--max-epochs", "1", "--model-options", "widths=4"),
    *("--rules", "warm,sp", "--device", "cpu", "--jobs", "1"),
]


class Picture(Figure):
    """One that is drawn at once."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write words."""
        Path(fname).write_text("a picture")


def picture(table: pd.DataFrame, config: Any) -> Figure:
    """A picture of anything."""
    return plt.figure(FigureClass=Picture)


def figure(out: Path) -> None:
    """A figure of `simulations/`."""
    assert main(dataclasses.replace(TOY, draw=picture), ["--out", str(out), "--jobs", "1", "--seeds", "1"]) == 0


def run(out: Path) -> None:
    """`dashtheory run`."""
    assert main(dataclasses.replace(SCRIPT, name="r", named=False, draw=picture), ["--out", str(out), *RUN]) == 0


def reproduce(out: Path) -> None:
    """`paper_repro/run.py`, in no time: it measures seconds."""
    still = SimpleNamespace(perf_counter=lambda: 0.0, monotonic=time.monotonic)
    with mock.patch.object(stages, "time", still), mock.patch.object(part, "time", still):
        assert paper.main([*PAPER, "--out", str(out)]) == 0


def report(out: Path) -> None:
    """`paper_repro/table.py`."""
    assert paper_table.main(["--results", str(out.parent / "results"), "--out", str(out)]) == 0


COMMANDS: dict[str, Callable[[Path], None]] = {one.__name__: one for one in (figure, run, reproduce, report)}


def ends_after(count: int, command: str, out: Path) -> None:
    """The command, its process ended by status 9 after so many operations."""
    left = [count]

    def killing(operation: Callable[..., Any]) -> Callable[..., Any]:
        def operate(*arguments: Any, **options: Any) -> Any:
            found = operation(*arguments, **options)
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return found

        return operate

    for name in OPERATIONS:
        setattr(os, name, killing(getattr(os, name)))
    COMMANDS[command](out)


def killed(count: int, command: str, out: Path) -> bool:
    """Whether the command had so many operations, and was killed after them; in a process of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of libraries; the child computes with one
        child = os.fork()
    if not child:
        status = 1
        try:
            torch.set_num_threads(1)
            ends_after(count, command, out)
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), f"{command} failed with {status}"
    return status == 9
