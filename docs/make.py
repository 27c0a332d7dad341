"""Write the pages of docs/ that are made, and the made parts of others, from tables, records and docstrings.

    python docs/make.py            # make pages
    python docs/make.py --check    # says what differs, and ends in status 1

What is made is committed, so that it can be read where the code is; tests hold it to what this writes.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs.made.pages import pages  # noqa: E402


def main(arguments: list[str]) -> int:
    """Write, or with --check compare; returns the exit status."""
    stale = [path for path, text in pages(ROOT) if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        print(*(f"{path.relative_to(ROOT)} is not what `make pages` writes" for path in stale), sep="\n")  # noqa: T201
        return 1 if stale else 0
    for path, text in pages(ROOT):
        path.write_text(text, encoding="utf-8")
    print(f"{len(stale)} pages changed")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
