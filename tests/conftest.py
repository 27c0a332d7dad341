"""One way to run hypothesis: the same examples on every machine, without a time limit per example."""

from hypothesis import settings

settings.register_profile("reproducible", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("reproducible")
