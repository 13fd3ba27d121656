"""Formulas as MathML, which browsers draw themselves: no script, no font, no picture, and no other host.

docutils has the converter; this registers it with Sphinx as the HTML maths renderer "mathml". What it cannot convert is a warning, so
that a build with -W fails.
"""

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_converted(translator, node, block=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{_converted(translator, node, block=True)}</div>\n')
    raise nodes.SkipNode


def _converted(translator: HTML5Translator, node: nodes.Element, block: bool) -> str:
    try:
        return latex2mathml.tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        logger.warning("formula: %s in %s", error, node.astext(), location=node)
        return f"<code>{translator.encode(node.astext())}</code>"
