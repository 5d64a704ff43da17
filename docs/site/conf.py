"""How Sphinx builds the site from the pages that `scripts/site.py` has laid out."""

from tcsfeel import __version__

project = "TCS-FEEL"
author = "The TCS-FEEL authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# The pages are written for GitHub, so their anchors are GitHub's.
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_heading_anchors = 5
myst_links_external_new_tab = False
# Blocks with an ellipsis are not JSON, and some tables have small headings.
suppress_warnings = ["misc.highlighting_failure", "myst.header"]

default_role = "code"  # docstrings write names in single backticks, as Markdown does
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "inherited-members": False}
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"TCS-FEEL {version}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
