"""When memory runs out: which batch would fit."""

from __future__ import annotations

from collections.abc import Callable

import torch

# The one place where the words of an error decide: torch has a class for CUDA's own allocator alone; a CPU's
# allocator, cuBLAS and cuDNN raise a plain RuntimeError, which carries nothing but its message.
_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",  # cuBLAS and cuDNN
    "unable to find an engine",  # cuDNN, if no algorithm's workspace fits
)


def memory_ran_out(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that the device, or the host, had no memory left.

    An error within a recording is followed by one of the recording itself.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and memory_ran_out(before)


def fitting_batch(try_step: Callable[[int], object], batch_size: int, *, least: int = 1) -> int:
    """The largest batch, among halves of halves of `batch_size`, with which a step fits into memory; 0 if none.

    Args: try_step: takes a step on so many examples, and fails as torch does if memory runs out. batch_size: that
        was too large. least: the smallest that is tried (batch normalisation may need two).
    """
    size = batch_size // 2
    while size >= max(least, 1):
        try:
            try_step(size)
            return size
        except (RuntimeError, MemoryError) as error:
            if not memory_ran_out(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size //= 2
    return 0
