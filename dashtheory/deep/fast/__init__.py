"""Fast training on pictures: all of them on the device as bytes, the step captured, one wait per epoch."""

from dashtheory.deep.fast.augment import PictureAugmentation
from dashtheory.deep.fast.engine import FastEngine, make_fast_engine
from dashtheory.deep.fast.memory import fitting_batch, memory_ran_out
from dashtheory.deep.fast.network import PRECISIONS, PictureNetwork
from dashtheory.deep.fast.place import describe_device, exact_or_fast, find_device

__all__ = [
    "PRECISIONS",
    "FastEngine",
    "PictureAugmentation",
    "PictureNetwork",
    "describe_device",
    "exact_or_fast",
    "find_device",
    "fitting_batch",
    "make_fast_engine",
    "memory_ran_out",
]
