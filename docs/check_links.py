"""Find dead links within a site: files that are not there, and places that a page does not have.

    python docs/check_links.py build/docs

Links to other sites are listed, not followed. Ends in status 1 if a link is dead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The links of a page, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name == "id" or (tag == "a" and name == "name")):
                self.places.add(value)
            if value and (name == "href" or (name == "src" and tag in ("img", "script", "source"))):
                self.links.append(value)


@cache
def _page(path: Path) -> _Page:
    return _Page(path.read_text(encoding="utf-8"))


def dead_links(site: Path) -> Iterator[str]:
    """One line for each dead link.

    Args:
        site: folder of the built pages.
    """
    for path in sorted(site.rglob("*.html")):
        if "_static" not in path.relative_to(site).parts:
            for link in _page(path).links:
                reason = _dead(site, path, link)
                if reason:
                    yield f"{path.relative_to(site)}: {link} ({reason})"


def outside_links(site: Path) -> set[str]:
    """Links to other sites, each once."""
    pages = (path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)
    return {link for path in pages for link in _page(path).links if urlsplit(link).scheme in ("http", "https")}


def _dead(site: Path, page: Path, link: str) -> str:
    """Why a link is dead; empty if it is alive, or leads elsewhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "no such file"
    if not target.is_relative_to(site.resolve()):
        return "outside of the site"
    fragment = unquote(parts.fragment)
    if fragment and target.suffix == ".html" and fragment not in _page(target).places:
        return "no such place"
    return ""


def main() -> int:
    """Check the site named on the command line; returns the exit status."""
    site = Path(sys.argv[1]).resolve()
    dead = list(dead_links(site))
    for line in dead:
        print(line, file=sys.stderr)  # noqa: T201
    outside = sorted(outside_links(site))
    print(f"{len(dead)} dead links; {len(outside)} links to other sites, not followed:", *outside, sep="\n  ")  # noqa: T201
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
