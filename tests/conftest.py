"""One way to run all tests: the same examples of hypothesis on every machine, and one thread each."""

import torch
from hypothesis import settings

settings.register_profile("reproducible", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("reproducible")
torch.set_num_threads(1)  # tests run in parallel processes
