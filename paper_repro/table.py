"""Build RESULTS.md and its figures from the results; see `dashtheory.reproduce.report`."""

import sys

from dashtheory.reproduce import table_main

if __name__ == "__main__":
    sys.exit(table_main())
