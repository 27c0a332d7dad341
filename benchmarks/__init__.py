"""Benchmarks: ours beside plain numpy and a naive loop, on equal work, with the machine that ran them.

Importing this package before numpy is loaded keeps the matrix products of numpy's wheels on one thread: the exact
simulator uses one, and threads that wait for a busy core make times that say nothing.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
