"""One way to run all tests: the same examples of hypothesis on every machine, and one thread each."""

import os
from importlib.util import find_spec

from hypothesis import settings

settings.register_profile("reproducible", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("reproducible")
if find_spec("torch") is not None:  # those of level 1 run without
    import torch

    torch.set_num_threads(1)  # tests run in parallel processes
os.environ.pop("DASHTHEORY_CIFAR10", None)  # figures and presets are those of the embedded data
