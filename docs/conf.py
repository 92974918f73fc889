"""Sphinx configuration: ``make docs`` builds the site into docs/_build/html, warnings are errors."""

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE)]
os.environ.setdefault("MPLBACKEND", "Agg")

import figures  # noqa: E402  (beside this file)
from docutils import nodes  # noqa: E402
from sphinx import addnodes  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from hsitools import __version__  # noqa: E402

project = "hsitools"
author = "the hsitools authors"
copyright = "hsitools authors, MIT licence"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon",
    "myst_nb", "sphinx_design", "command_help", "generated_tables", "mathml",
]  # fmt: skip
exclude_patterns = ["_build", "_generated/*.md", "_templates", "_extensions", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"hsitools {release}"
html_static_path = ["_static"]
html_css_files = ["hsitools.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_nav_level": 1,
    "navigation_depth": 2,  # the modules are many: each lists its own
    "collapse_navigation": True,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "search_as_you_type": True,
}
html_sidebars = {"index": []}

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",  # ARCHITECTURE.md is included below a heading of its own
    "ref.python",  # docstrings name things by their short names, which several modules may have
]

# Notebooks are executed by `make docs`; the tests, which run them elsewhere, take the outputs they are stored with.
nb_execution_mode = os.environ.get("HSITOOLS_DOCS_NOTEBOOKS", "off")
nb_execution_timeout = 600
nb_execution_raise_on_error = True

autosummary_generate = True
# A page for every module; the tests, which look at all docstrings elsewhere, are content with the packages'.
autosummary_context = {"modules_too": os.environ.get("HSITOOLS_DOCS_MODULES", "all") == "all"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "py:obj"  # as docstrings mark names


def _prepare(_app: object) -> None:
    """Copy the notebooks beside the pages, draw the home page's figures, start the modules' pages anew."""
    notebooks = HERE / "notebooks"
    notebooks.mkdir(exist_ok=True)
    for path in (HERE.parent / "notebooks").glob("*.ipynb"):
        copy = notebooks / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copy(path, copy)
    figures.draw(HERE / "_generated", anew=False)
    # pages of modules that are no more would be read again
    shutil.rmtree(HERE / "reference" / "api", ignore_errors=True)


def _plain_words(_app: object, doctree: nodes.document) -> None:
    """In the types of parameters, link classes only: ``array, shape (band, y, x)`` names no object of ours."""
    for reference in list(doctree.findall(addnodes.pending_xref)):
        target = str(reference.get("reftarget", ""))
        in_signature = any(isinstance(child, addnodes.pending_xref_condition) for child in reference.children)
        if reference.get("reftype") == "class" and target.islower() and not in_signature:
            reference.replace_self(nodes.Text(reference.astext()))


def setup(app: Sphinx) -> None:
    """Connect both (Sphinx calls this)."""
    app.connect("config-inited", lambda app, config: _prepare(app))
    app.connect("doctree-read", _plain_words)
