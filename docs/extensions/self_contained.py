"""A page must load nothing from another host: scripts, styles, fonts, pictures. Looked for in what was built; each find is a warning."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
ADDRESS = r"((?:https?:)?//[^)\"'\s>]+)"
TAGS = "script|link|img|iframe|source|video|audio|object|embed"
LOADED = (
    re.compile(rf"<(?:{TAGS})\b[^>]*?\b(?:src|href|data|srcset)=[\"']?{ADDRESS}"),
    re.compile(rf"url\(\s*[\"']?{ADDRESS}"),
    re.compile(rf"@import\s+[\"']{ADDRESS}"),
)


def setup(app: Sphinx) -> dict[str, bool]:
    """Look when the build is done."""
    app.connect("build-finished", _look)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _look(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        for path in sorted(Path(app.outdir).rglob("*")):
            if path.suffix in (".html", ".css"):
                for address in loaded(path.read_text("utf-8")):
                    logger.warning("%s loads %s", path.relative_to(app.outdir), address)


def loaded(text: str) -> list[str]:
    """Addresses on other hosts that a page or a style sheet would load."""
    return [match[1] for pattern in LOADED for match in pattern.finditer(text)]
