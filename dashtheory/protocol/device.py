"""Where it is computed: which device, what it is called, and how exact its arithmetic is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from dashtheory._check import choice, fail
from dashtheory._door import door
from dashtheory.errors import memory_ran_out as memory_ran_out
from dashtheory.protocol.settings import PRECISIONS

AUTO = "auto"


@door()
def find_device(name: str) -> str:
    """The device called `name`: "auto" is CUDA where there is one, else the CPU.

    Raises:
        ValueError: if there is no such device here.
    """
    kind, colon, index = name.partition(":")
    choice("device", kind, (AUTO, "cpu", "cuda"))
    if colon and (kind != "cuda" or not index):
        fail("device", "must be auto, cpu, cuda or cuda:N", repr(name), f"Say {kind}.")
    if kind == AUTO:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        built = "no CUDA device can be used" if torch.version.cuda else "torch is a build for the CPU"
        fail("device", "must be there", f"'{name}', but {built}", "Say device='cpu'.")
    if kind == "cuda" and index and (not index.isdigit() or int(index) >= torch.cuda.device_count()):
        fail("device", f"must be one of {torch.cuda.device_count()}", repr(name), "Count from cuda:0.")
    return name


def describe_device(device: str) -> str:
    """What a device is called in tables: "cpu", or the name of the accelerator."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


@contextmanager
def exact_or_fast(precision: str) -> Iterator[None]:
    """Arithmetic of CUDA inside: exact float32, or TF32 where `precision` allows it; convolutions are tuned.

    Which convolution is fastest is found out by trying, so that the last bits may differ from call to call.

    Args:
        precision: of `PRECISIONS`.
    """
    choice("precision", precision, PRECISIONS)
    coarse = precision != "float32"
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32 = True, coarse, coarse
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32 = before


# The one place where the words of an error decide: torch has a class for CUDA's own allocator alone; a CPU's
# allocator, cuBLAS and cuDNN raise a plain RuntimeError, which carries nothing but its message.


def fitting_batch(try_step: Callable[[int], object], batch_size: int, *, least: int = 1) -> int:
    """The largest batch, among halves of halves of `batch_size`, with which a step fits into memory; 0 if none.

    Args:
        try_step: takes a step on so many examples, and fails as torch does if memory runs out.
        batch_size: that was too large.
        least: the smallest that is tried (batch normalisation may need two).
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
