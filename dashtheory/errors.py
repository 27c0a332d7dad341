"""Kinds of errors that a caller may want to tell apart; each is a ValueError with a message in one line.

No decision is taken from the words of a message: whoever goes on after one of these catches its class. They hold
nothing but the message, so that they come out of a worker process as they went in. (Only that memory ran out has
to be read off the words of other libraries.)
"""

from __future__ import annotations


class Diverged(ValueError):  # noqa: N818
    """A loss, a gradient or a weight is NaN or infinite: this training has failed, others may go on."""


class DamagedFile(ValueError):  # noqa: N818
    """A file that the package wrote is missing, truncated, damaged or foreign: an older one may serve."""


class OtherRun(ValueError):  # noqa: N818
    """A whole file of another run lies where this run keeps its own: nothing there may be used or replaced."""


class NeedsSize(ValueError):  # noqa: N818
    """Pictures of several sizes, or too many pixels: with a size to resize them to they can be used."""


class NotDownloaded(ValueError):  # noqa: N818
    """An official file is not where it should be, and was not to be downloaded."""


class Unusable(ValueError):  # noqa: N818
    """Another library could not use what a public function was given."""


_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",  # cuBLAS and cuDNN
    "unable to find an engine",  # cuDNN, if no algorithm's workspace fits
)


def memory_ran_out(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that the device, or the host, had no memory left.

    An error within a recording is followed by one of the recording itself. PyTorch says some of it in words alone.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and memory_ran_out(before)
