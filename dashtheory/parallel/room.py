"""Memory of several devices, shared by the processes of this machine: a job waits until one has room for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.context import BaseContext

from dashtheory._check import fail
from dashtheory.parallel.job import Job

GIGABYTE = 2**30


class Rooms:
    """What is free on each device; picklable into the processes of its context, which see one and the same.

    A process stays on its device while that has room for its next job, since it leaves some memory behind where
    it has been; otherwise it goes to the device with most free memory, once that is enough.

    Args:
        free: gigabytes (2^30 bytes) by device.
        context: of the processes.
    """

    def __init__(self, free: Mapping[str, float], context: BaseContext) -> None:
        self.names = tuple(free)
        # Whole bytes: sums of fractions would not come back to what they were, and a job could wait for ever.
        self._free = context.Array("q", [_bytes(gigabytes) for gigabytes in free.values()], lock=False)
        self._changed = context.Condition()
        self._last: int | None = None  # of each process by itself

    @contextlib.contextmanager
    def taken(self, gigabytes: float) -> Iterator[str]:
        """A device with so much of its memory taken, given back in the end.

        Args:
            gigabytes: of which no device may have enough at first, but one in the end.
        """
        needed = _bytes(gigabytes)
        with self._changed:
            while (place := self._with_room(needed)) is None:
                self._changed.wait()
            self._free[place] -= needed
            self._last = place
        try:
            yield self.names[place]
        finally:
            _give_back_memory()
            with self._changed:
                self._free[place] += needed
                self._changed.notify_all()

    def _with_room(self, needed: int) -> int | None:
        if self._last is not None and self._free[self._last] >= needed:
            return self._last
        most = max(range(len(self.names)), key=lambda place: self._free[place])
        return most if self._free[most] >= needed else None


def must_have_room(jobs: Sequence[Job], free: Mapping[str, float]) -> None:
    """Refuse a job that no device could hold, were it alone there.

    Args:
        jobs: that are to run.
        free: gigabytes by device.

    Raises:
        ValueError: in one line with the job, what it needs, and the most that there is.
    """
    largest, name = max(jobs, key=lambda job: job.gigabytes, default=None), max(free, key=lambda one: free[one])
    if largest is not None and _bytes(largest.gigabytes) > _bytes(free[name]):
        got = f"{largest.gigabytes:g} of run {largest.name}, with at most {free[name]:.3g} free (on {name})"
        fail("gigabytes", "must fit into the memory of a device", got, "Choose smaller sizes, or wait for others.")


def free_gigabytes(devices: Sequence[str]) -> dict[str, float]:
    """Memory that is free on CUDA devices, in gigabytes; other processes may have taken the rest.

    Args:
        devices: as "cuda:0".
    """
    import torch

    return {device: torch.cuda.mem_get_info(device)[0] / GIGABYTE for device in devices}


def _bytes(gigabytes: float) -> int:
    return round(GIGABYTE * gigabytes)


def _give_back_memory() -> None:
    """What torch keeps of a device for its next tensors must not be missing for another process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
