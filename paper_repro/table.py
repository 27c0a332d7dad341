"""Build RESULTS.md and its figures from the results; see `dashtheory.command.paper_table`."""

import sys

from dashtheory.command.paper_table import main

if __name__ == "__main__":
    sys.exit(main())
