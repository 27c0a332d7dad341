"""Run a preset of the paper's experiments; see `dashtheory.paper.program`."""

import sys

from dashtheory.paper import run_main

if __name__ == "__main__":
    sys.exit(run_main())
