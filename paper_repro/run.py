"""Run a preset of the paper's experiments; see `dashtheory.reproduce.program`."""

import sys

from dashtheory.reproduce import run_main

if __name__ == "__main__":
    sys.exit(run_main())
