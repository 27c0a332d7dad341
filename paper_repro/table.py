"""Build RESULTS.md and its figures from the results; see `dashtheory.paper.report`."""

import sys

from dashtheory.paper import table_main

if __name__ == "__main__":
    sys.exit(table_main())
