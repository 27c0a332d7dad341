"""Kinds of errors that a caller may want to tell apart; each is a ValueError with a message in one line.

No decision is taken from the words of a message: whoever goes on after one of these catches its class. They hold
nothing but the message, so that they come out of a worker process as they went in.
"""

from __future__ import annotations


class Diverged(ValueError):  # noqa: N818
    """A loss, a gradient or a weight is NaN or infinite: this training has failed, others may go on."""


class DamagedFile(ValueError):  # noqa: N818
    """A file that the package wrote is missing, truncated, damaged or foreign: an older one may serve."""


class OtherRun(ValueError):  # noqa: N818
    """A whole file of another run lies where this run keeps its own: nothing there may be used or replaced."""
