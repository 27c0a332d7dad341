"""How the site is built: `make docs`.

The source folder is the root of the repository, so that links between README, docs/ and notebooks/ are the same on
the site as on a code host. Notebooks are shown as they were executed. Formulas are drawn by a MathJax that is
copied from a package, so that the site needs no network.

Docstrings are Google's, read by napoleon. They are plain text: nothing but `code` is markup in them. The pages of
the rules (`rule_pages.py`) and of the reference (`made/reference.py`) are made of them when the site is built, and
not committed. Pages that are made and committed, so that they can be read without the site, are those of
`make pages`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import jupyter_server_mathjax

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dashtheory._version import __version__  # noqa: E402
from docs.made.reference import write_reference  # noqa: E402
from docs.rule_pages import write_pages  # noqa: E402

project = "dashtheory"
author = "The dashtheory developers"
version = release = __version__
language = "en"
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/api/*.md",
    "docs/reference/*.md",
    "docs/rules/*.md",
    "notebooks/*.ipynb",
    "notebooks/README.md",
    "paper_repro/*.md",
    "README.md",
    "CHANGELOG.md",
]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "myst_nb"]

# Notebooks and Markdown
nb_execution_mode = "off"
autodoc_mock_imports = ["avalanche", "lightning", "skorch", "transformers"]  # whose callbacks are subclassed
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.xref_missing",  # anchors written as HTML are not known to it; docs/check_links.py looks at the pages
]

# Formulas, without a network
_MATHJAX = Path(jupyter_server_mathjax.__file__).parent / "static"
html_static_path = [str(_MATHJAX), "_static"]
mathjax_path = "MathJax.js?config=TeX-AMS-MML_HTMLorMML-full"
mathjax2_config = {
    "tex2jax": {
        "inlineMath": [["\\(", "\\)"]],
        "displayMath": [["\\[", "\\]"]],
        "processClass": "tex2jax_process|math|output_area",
    },
    "HTML-CSS": {
        "availableFonts": [],
        "preferredFont": None,
        "webFont": "STIX-Web",
        "imageFont": None,
    },  # the only font that the package ships
}
myst_update_mathjax = False  # it speaks to a later MathJax

# The API
autodoc_default_options = {"members": True}
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False

napoleon_numpy_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]
default_role = "py:obj"  # `name` in a docstring: code, and a link where it is known

# The look
html_theme = "furo"
html_title = f"dashtheory {version}"
html_css_files = ["site.css"]
html_extra_path = ["_extra"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00543d", "color-brand-content": "#00543d"},
    "dark_css_variables": {"color-brand-primary": "#5fd0a8", "color-brand-content": "#5fd0a8"},
}


def plain(text: str) -> str:
    """Plain text as reStructuredText: `name` is a link if it is known, other code is code, all else stays text."""
    found = ""
    for part in re.split(r"(`[^`]+`)", text):
        if part.startswith("`"):
            code = part if re.fullmatch(r"`[\w.]+`", part) else f"`{part}`"
            found += ("\\ " if re.search(r"\w$", found) else "") + code
        else:  # what touches code must be told apart from it
            touches = found.endswith("`") and re.match(r"[\w(]", part)
            found += ("\\ " if touches else "") + re.sub(r"[\\*|]|(?<=\w)_(?!\w)", r"\\\g<0>", part)
    return re.sub(r"(?m)^( +[\w\\*]+: (?=\w\.(?: |$))|(?=\w\.$))", r"\1\\ ", found)  # "N." is no list


def plain_docstring(app: Any, what: str, name: str, target: Any, options: Any, lines: list[str]) -> None:
    """For Sphinx, before napoleon: what is indented outside of a section is shown as it stands."""
    blocks: list[tuple[bool, list[str]]] = []
    section = False
    for line in lines:
        if re.match(r"\S", line):
            section = line in ("Args:", "Attributes:", "Returns:", "Yields:", "Raises:")
        as_it_stands = blocks[-1][0] if blocks and not line.strip() else line.startswith(" ") and not section
        if not blocks or blocks[-1][0] is not as_it_stands:
            blocks.append((as_it_stands, []))
        blocks[-1][1].append(line)
    lines[:] = ["..", ""] if what in ("property", "attribute", "data") else []  # "words:" would be a type
    for as_it_stands, block in blocks:
        lines += ["", "::", "", *block, ""] if as_it_stands else plain("\n".join(block)).split("\n")


def setup(app: Any) -> None:
    """For Sphinx."""
    app.connect("builder-inited", lambda app: write_pages(ROOT / "docs" / "rules"))
    app.connect("builder-inited", lambda app: write_reference(ROOT / "docs" / "reference"))
    app.connect("autodoc-process-docstring", plain_docstring, priority=400)
