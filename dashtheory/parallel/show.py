"""Progress of runs on stderr: a bar each on a terminal, elsewhere a line for what is worth one."""

from __future__ import annotations

import queue
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dashtheory.parallel.job import Done, Heard, Lasting


class Display:
    """Progress of the jobs on stderr.

    Args:
        total: jobs of the whole experiment.
        finished: those of earlier calls.
        heard: as in `dashtheory.parallel.run_jobs`.
    """

    def __init__(self, total: int, finished: int, heard: Heard | None = None) -> None:
        self.heard = heard
        self.console = Console(stderr=True)
        self.total, self.finished = total, finished
        self.bars: dict[str, TaskID] = {}
        self.shares: dict[str, float] = {}
        self.progress = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> Display:
        if not self.console.is_terminal:
            self.console.print(f"  {self.total} runs ...")
        self.progress.start()
        self.whole = self.progress.add_task("all runs", total=self.total, completed=self.finished, text="")
        if self.finished:
            self.console.print(f"  {self.finished} of {self.total} runs were finished by an earlier call")
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def update(self, outbox: Any) -> None:
        """Show all reports that have arrived."""
        while True:
            try:
                name, share, text = outbox.get_nowait()
            except queue.Empty:
                return
            if self.heard is not None:
                self.heard(name, share, text)
            if name not in self.bars:
                self.bars[name] = self.progress.add_task(name, total=1.0, text="")
            self.shares[name] = share
            self.progress.update(self.bars[name], completed=share, text=text)
            self.progress.update(self.whole, completed=self.finished + sum(self.shares.values()))
            if isinstance(text, Lasting) and not self.console.is_terminal:
                line = f"  {time.strftime('%H:%M')} {name}: {text}"
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def finish(self, run: Done) -> None:
        """Replace the job's bar by a line."""
        self.finished += 1
        self.shares.pop(run.name, None)
        if run.name in self.bars:
            self.progress.remove_task(self.bars.pop(run.name))
        self.progress.update(self.whole, completed=self.finished + sum(self.shares.values()))
        line = f"  [{self.finished}/{self.total}] {run.name}  {run.seconds:.1f} s"
        self.console.print(line, highlight=False, markup=False)
