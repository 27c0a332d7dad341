"""Run a preset of the paper's experiments; see `dashtheory.command.paper`."""

import sys

from dashtheory.command.paper import main

if __name__ == "__main__":
    sys.exit(main())
