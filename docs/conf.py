"""How Sphinx builds the site: `make docs`. The pages of the reference are written here first."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import raytasks  # noqa: E402
from docs.generators import reference  # noqa: E402 - the path must be set first

reference.write(HERE / "reference")

project = "raytasks"
author = "The raytasks authors"
copyright = author  # noqa: A001 - Sphinx's name
version = release = raytasks.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["generators", "performance/*.md"]
html_theme = "furo"
html_title = f"raytasks {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
# Fonts are the reader's own: no page asks the internet for anything.
html_theme_options = {"top_of_page_buttons": []}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.strikethrough"]

# The docstrings are Markdown as a person writes it: a single backtick is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}

nitpicky = True
# Names of other projects, and annotations that are no pages of ours.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!raytasks\.(client|testing)?\.?[A-Za-z]+$).*"),
]
