"""Formulas become MathML while the site is built; browsers draw it without fonts or scripts."""

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(
    r'<(span|div) class="arithmatex">'
    r"(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</\1>",
    re.DOTALL,
)
UNKNOWN = re.compile(r"<m[io]>(?:\\|&<)")
"""A command or an environment that the converter left as it was."""


def on_page_content(content: str, **_: object) -> str:
    """Replace what pymdownx.arithmatex has marked."""
    return FORMULA.sub(mathml, content)


def mathml(found: re.Match[str]) -> str:
    """Convert one formula, in a line or as a block.

    Raises:
        PluginError: it is not understood.
    """
    display = "inline" if found["block"] is None else "block"
    formula = html.unescape(found[display]).replace("{aligned}", "{align*}")
    try:
        drawn = convert(formula, display=display)
    except Exception as error:
        raise PluginError(f"This formula cannot be converted: {formula}: {error!r}") from error
    if UNKNOWN.search(drawn):
        raise PluginError(f"This formula has a command or environment that is unknown: {formula}")
    return drawn
