"""The long description: README.md for readers who have no checkout. All else is in pyproject.toml.

An index of packages shows the README alone, so that links and pictures of the repository would be dead there.
They are told in words: a link is its text and its path, a picture is what it shows.
"""

from __future__ import annotations

import re
from pathlib import Path

import setuptools

_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_ELSEWHERE = ("https://", "http://", "mailto:")


def without_relative_links(markdown: str) -> str:
    """The same text with relative links and pictures in words; code and links to the network stay.

    Args:
        markdown: a page of the repository.
    """
    kept = list[str]()

    def keep(code: re.Match[str]) -> str:
        kept.append(code[0])
        return f"\0{len(kept) - 1}\0"

    told = _LINK.sub(_in_words, _CODE.sub(keep, markdown))
    return re.sub(r"\0(\d+)\0", lambda place: kept[int(place[1])], told)


def _in_words(link: re.Match[str]) -> str:
    text, target = link["text"], link["target"]
    if target.startswith(_ELSEWHERE):
        return link[0]
    path = target.partition("#")[0]
    if link["picture"]:
        return f"*{text}: the picture `{path}` of the repository.*"
    return text if path in ("", text) else f"{text} (`{path}`)"


if __name__ == "__main__":
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    setuptools.setup(
        long_description=without_relative_links(readme), long_description_content_type="text/markdown"
    )
