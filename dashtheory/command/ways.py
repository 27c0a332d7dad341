"""Options that every command shares which computes runs: where they are computed, and who follows them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashtheory._check import choice, fail
from dashtheory.parallel import Done, Job, Lasting
from dashtheory.parallel.place import Place
from dashtheory.parallel.room import free_gigabytes

if TYPE_CHECKING:
    from dashtheory.record.sinks import Followed

TRACKERS = ("tensorboard", "wandb")
_NOT_SETTING = ("deadline", "device", "folder")


@dataclass(frozen=True, kw_only=True)
class Way:
    """How runs are computed.

    Attributes:
        place: where.
        track: sinks that follow them (`dashtheory.record.sinks`).
        out: folder for what sinks write.
        group: the name that they go by.
    """

    place: Place = field(default_factory=Place)
    track: tuple[str, ...] = ()
    out: Path = Path()
    group: str = ""

    def called(self, out: Path, group: str) -> Way:
        """The same for one experiment.

        Args:
            out: folder of its results.
            group: its name.
        """
        return dataclasses.replace(self, out=out, group=group)

    @contextlib.contextmanager
    def opened(self, folder: Path) -> Iterator[dict[str, Any]]:
        """What `dashtheory.parallel.run_jobs` is told of the place; nothing for processes of this machine.

        Args:
            folder: for what is kept of submissions.
        """
        with self.place.opened(folder.resolve()) as executor:
            if executor is not None:
                yield {"executor": executor}
            else:
                devices = self.place.devices
                yield {"devices": _free(devices) if self.place.gigabytes else devices} if devices else {}

    def sized(self, job: Job) -> Job:
        """The job with the memory that it needs on a device of this machine, if that was said.

        Args:
            job: that may say so itself.
        """
        gigabytes = job.gigabytes or (self.place.gigabytes if self.place.devices else 0.0)
        return dataclasses.replace(job, gigabytes=gigabytes)

    @contextlib.contextmanager
    def followed(self, jobs: Sequence[Job]) -> Iterator[Follow]:
        """What follows some jobs.

        Args:
            jobs: that are computed now.
        """
        sinks: list[Followed] = []
        if self.track:
            from dashtheory.record.sinks import Followed

            settings = {job.name: _setting(job) for job in jobs}
            sinks = [Followed(self._maker(name), settings) for name in self.track]
        try:
            yield Follow(sinks)
        finally:
            for sink in sinks:
                sink.close()

    def _maker(self, name: str) -> Callable[[str], Any]:
        from dashtheory.record.sinks import SINKS

        return lambda run: SINKS[name](self.out, self.group, run)


HERE = Way()


def _setting(job: Job) -> Mapping[str, object]:
    from dashtheory.record.provenance import plain

    return {name: plain(value) for name, value in job.arguments.items() if name not in _NOT_SETTING}


class Follow:
    """Tells sinks of stages while they end, and of all stages of a run when it ends.

    Args:
        sinks: of a call.
    """

    def __init__(self, sinks: Sequence[Followed]) -> None:
        self._sinks = sinks

    @property
    def options(self) -> dict[str, Any]:
        """What `dashtheory.parallel.run_jobs` is told."""
        return {"heard": self._heard} if self._sinks else {}

    def _heard(self, name: str, share: float, text: str) -> None:
        if isinstance(text, Lasting) and text.row:
            for sink in self._sinks:
                sink.row(name, text.row)

    def finish(self, done: Done) -> None:
        """A run has ended.

        Args:
            done: what with.
        """
        for sink in self._sinks:
            sink.table(done.name, done.table)


def _free(devices: Sequence[str]) -> dict[str, float]:
    """Gigabytes that are free on each; asked by a process that ends, because asking takes memory of a device."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(free_gigabytes, devices).result()


def add_ways(parser: argparse.ArgumentParser) -> None:
    """Options --on, --gpus, --partition, --hours, --array, --gigabytes and --track.

    Args:
        parser: that takes them.
    """
    group = parser.add_argument_group("where runs are computed")
    text = "local, slurm or dask:ADDRESS, a scheduler's as tcp://HOST:PORT (default: local)"
    group.add_argument("--on", default="local", metavar="PLACE", help=text)
    text = "local: GPUs that runs are spread over; slurm: of each run, 0 or 1 (default: 0)"
    group.add_argument("--gpus", type=int, default=0, metavar="N", help=text)
    group.add_argument("--partition", default="", help="slurm: of the runs (default: Slurm's)", metavar="NAME")
    text = "slurm: time of a run, after which it goes on in the queue (default: 24)"
    group.add_argument("--hours", type=float, default=0.0, help=text, metavar="H")
    group.add_argument("--array", type=int, default=0, help="slurm: runs at once (default: no limit)", metavar="N")
    text = "slurm: memory of a run; local: of a run on its GPU, so that as many go at once as it holds"
    group.add_argument("--gigabytes", type=float, default=0.0, help=text, metavar="N")
    text = f"also send the numbers to {' or '.join(TRACKERS)}; the tables stay what counts"
    group.add_argument("--track", default="", help=text, metavar="NAME")


def way_of(options: argparse.Namespace) -> Way:
    """The options, checked.

    Args:
        options: of a command line with `add_ways`.

    Raises:
        ValueError: if one is wrong, or what it needs is not there; nothing has been submitted then.
    """
    names = [one.name for one in dataclasses.fields(Place)]
    place = Place(**{name: getattr(options, name) for name in names})
    if not place.here and getattr(options, "budget", None) is not None:
        fail("budget", "must be left out for runs elsewhere", options.budget, "Their time is hours=N of each.")
    return Way(place=place, track=tuple(_tracker(name) for name in options.track.split(",") if name))


def _tracker(name: str) -> str:
    choice("track", name, TRACKERS)
    if find_spec(name) is None:
        fail("track", f"must find {name}", "none", f"pip install 'dashtheory[{name}]'")
    return name


def device_of(way: Way, name: str, find: Callable[[str], str]) -> str:
    """The device of runs: one of this machine, or, elsewhere, its kind, which is not looked for here.

    Args:
        way: how runs are computed.
        name: auto, cpu, cuda or cuda:N.
        find: the device of this machine by its name.

    Raises:
        ValueError: if it does not fit the place.
    """
    gpus = way.place.gpus
    if gpus and name not in ("auto", "cuda"):
        fail("gpus", "must be 0 on this device", f"{gpus} with {name}", "Say device=cuda, or nothing of it.")
    if way.place.here:
        if gpus:
            find(f"cuda:{gpus - 1}")
            return "cuda"
        return find(name)
    if way.place.kind == "slurm" and name == "cuda" and not gpus:
        fail("device", "must be given by Slurm", "cuda without a GPU", "Say gpus=1.")
    return "cuda" if gpus or name.startswith("cuda") else "cpu"


def planned(way: Way, config: Any, plan: Callable[[Any], list[Job]]) -> list[Job]:
    """Jobs for a configuration whose device may be one that this machine does not have.

    Args:
        way: how they are computed.
        config: a `dashtheory.deep.config.RunConfig`, its device found by `device_of`.
        plan: jobs for a configuration; refuses a device that is not here.
    """
    if way.place.here or config.device.name == "cpu":
        return plan(config)
    kind = config.device.name
    return [
        dataclasses.replace(
            job,
            arguments={
                **job.arguments,
                "config": job.arguments["config"].with_values(device=kind),  # type: ignore[attr-defined]
                "device": kind,
            },
        )
        for job in plan(config.with_values(device="cpu"))
    ]
