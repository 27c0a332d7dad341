"""Where the numbers of runs go besides our own tables: TensorBoard or W&B, for whoever looks at them there.

A sink follows one run: `start` with its setting, `log` a row for each stage, `finish`. It lives in the process
that waits for the runs, and what is saved never depends on it: its errors are told once and end nothing, and the
random streams that code could draw from are put back after each of its calls.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from dashtheory.record.coordinates import number_text
from dashtheory.record.table import coordinate_names
from dashtheory.seeds import untouched_streams

STAGE = "stage"


class Sink(Protocol):
    """What follows one run."""

    def start(self, setting: Mapping[str, object]) -> None:
        """The run begins, or goes on.

        Args:
            setting: of the run, as JSON holds it.
        """

    def log(self, row: Mapping[str, float]) -> None:
        """A stage has ended.

        Args:
            row: its number as "stage", and its metrics.
        """

    def finish(self) -> None:
        """The run has ended, or its call has."""


class TensorBoard:
    """Event files, one folder for a run.

    Args:
        folder: of all that is followed.
        group: name of the experiment.
        name: of the run.
    """

    def __init__(self, folder: Path, group: str, name: str) -> None:
        self._folder = folder / "tensorboard" / group / name

    def start(self, setting: Mapping[str, object]) -> None:
        """Open the file.

        Args:
            setting: becomes a text.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(self._folder))
        self._writer.add_text("setting", f"```\n{json.dumps(setting, indent=1)}\n```")

    def log(self, row: Mapping[str, float]) -> None:
        """Write the scalars of a stage.

        Args:
            row: as in `Sink.log`.
        """
        for name, value in row.items():
            if name != STAGE:
                self._writer.add_scalar(name, value, int(row[STAGE]))

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()


class WandB:
    """A run of W&B; WANDB_MODE=offline keeps it in the folder.

    Args:
        folder: of all that is followed.
        group: name of the experiment.
        name: of the run.
    """

    def __init__(self, folder: Path, group: str, name: str) -> None:
        self._folder, self._group, self._name = folder, group, name

    def start(self, setting: Mapping[str, object]) -> None:
        """Begin the run; no code, no output of this process and nothing of this machine is sent.

        Args:
            setting: becomes its configuration.
        """
        import wandb

        quiet = {"console": "off", "silent": True, "disable_git": True, "disable_code": True}
        quiet |= {"x_disable_stats": True, "x_disable_meta": True, "x_disable_machine_info": True}
        known = {name: value for name, value in quiet.items() if name in wandb.Settings.model_fields}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            project="dashtheory",
            group=self._group,
            name=self._name,
            config=dict(setting),
            dir=str(self._folder),
            reinit="create_new",
            settings=wandb.Settings(**known),
        )

    def log(self, row: Mapping[str, float]) -> None:
        """Send the metrics of a stage.

        Args:
            row: as in `Sink.log`.
        """
        self._run.log({name: value for name, value in row.items() if name != STAGE}, step=int(row[STAGE]))

    def finish(self) -> None:
        """End the run."""
        self._run.finish()


SINKS: dict[str, Callable[[Path, str, str], Sink]] = {"tensorboard": TensorBoard, "wandb": WandB}
"""Sinks by name: made for a folder, a group and a run."""


class Followed:
    """The runs of a call, each with a sink that is begun with its first row.

    Args:
        make: a sink for a run's name.
        settings: of the runs, by name.
    """

    def __init__(self, make: Callable[[str], Sink], settings: Mapping[str, Mapping[str, object]]) -> None:
        self._make, self._settings = make, settings
        self._sinks: dict[str, Sink] = {}
        self._logged: dict[str, set[float]] = {}
        self._broken = False

    def row(self, name: str, row: Mapping[str, float]) -> None:
        """A stage of a run has ended.

        Args:
            name: of the run.
            row: as in `Sink.log`.
        """
        if row[STAGE] not in self._logged.setdefault(name, set()):
            self._logged[name].add(row[STAGE])
            self._try(lambda: self._sink(name).log(row))

    def table(self, name: str, table: pd.DataFrame) -> None:
        """A run has ended.

        Args:
            name: of the run.
            table: of all of its stages.
        """
        for row in rows_of(table):
            self.row(name, row)
        self._finish(name)

    def close(self) -> None:
        """The call ends."""
        for name in list(self._sinks):
            self._finish(name)

    def _sink(self, name: str) -> Sink:
        if name not in self._sinks:
            sink = self._make(name)
            sink.start(self._settings.get(name, {}))
            self._sinks[name] = sink
        return self._sinks[name]

    def _finish(self, name: str) -> None:
        if sink := self._sinks.pop(name, None):
            self._try(sink.finish)

    def _try(self, call: Callable[[], object]) -> None:
        if self._broken:
            return
        try:
            with untouched_streams():
                call()
        except Exception as error:
            self._broken = True
            said = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"--track: not followed any more ({said}); results are not affected", file=sys.stderr)  # noqa: T201


def rows_of(table: pd.DataFrame) -> Iterator[dict[str, float]]:
    """A row for each stage of a run's table.

    Args:
        table: tidy; where a stage has several values of a metric, their names say which is whose.
    """
    columns = ["rule", "seed", *coordinate_names(table)]
    varying = [name for name in columns if table[name].nunique(dropna=False) > 1]
    for stage, part in table.groupby(STAGE, sort=True):
        row = {STAGE: float(str(stage))}
        for values in part.to_dict("records"):
            at = [f"{name}={number_text(values[name])}" for name in varying if not pd.isna(values[name])]
            row["/".join([str(values["metric"]), *at])] = float(values["value"])
        yield row
