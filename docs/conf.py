"""Sphinx: furo, MyST pages, the API from docstrings; nothing is loaded from another host."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "smalti"
author = "the smalti authors"
copyright = "the smalti authors, MIT licence"
version = release = installed_version("smalti")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "presentation_mathml",
    "plain_docstrings",
    "measured_rows",
    "self_contained",
    "command_reference",
    "denoiser_list",
]
exclude_patterns = ["_build", "measured", "extensions"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "code"  # what docstrings set in single backticks

html_theme = "furo"
html_title = "smalti"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

nitpicky = True
nitpick_ignore_regex = [
    # types of other libraries, for whose inventories we would have to ask another host
    (
        r"py:.*",
        r"(torch|np|numpy|nn|collections|typing|typer|matplotlib|PIL|pathlib|os|abc|types|inspect|enum|datetime)(\..*)?",
    ),
    (
        r"py:.*",
        r"(Any|Callable|Iterable|Iterator|Literal|Mapping|Path|Sequence|Tensor|Protocol|Figure|Self|NamedTuple|Generator)",
    ),
    # names of no page: private ones, aliases of unions, type variables, protocols
    (r"py:.*", r".*\._[A-Za-z]\w*"),
    (
        r"py:.*",
        r"(.*\.)?(Denoisers|Denoise|Heatmaps|Pixels|Response|Shape|Tables|Rule|Groups|T|Selection|HasCells|Kind)",
    ),
]
suppress_warnings = ["myst.header"]
