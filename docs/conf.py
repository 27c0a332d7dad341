"""How the site is built: `make docs`.

The source folder is the root of the repository, so that links between README, docs/ and notebooks/ are the same on
the site as on a code host. Notebooks are shown as they were executed. Formulas are drawn by a MathJax that is
copied from a package, so that the site needs no network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupyter_server_mathjax

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

from dashtheory._version import __version__  # noqa: E402

project = "dashtheory"
author = "The dashtheory developers"
version = release = __version__
language = "en"
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/api/*.md",
    "notebooks/*.ipynb",
    "notebooks/README.md",
    "paper_repro/*.md",
    "README.md",
    "CHANGELOG.md",
]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "myst_nb", "docstrings"]

# Notebooks and Markdown
nb_execution_mode = "off"
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
