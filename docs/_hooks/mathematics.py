"""Formulas become MathML while the site is built; browsers draw it without fonts or scripts."""

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

FORMULA = re.compile(
    r'<(span|div) class="arithmatex">'
    r"(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</\1>",
    re.DOTALL,
)
UNKNOWN = re.compile(r"<m[io]>(?:\\|&<)")
"""A command or an environment that the converter left as it was."""


def on_page_content(content: str, page: Page, **_: object) -> str:
    """Replace what pymdownx.arithmatex has marked."""
    content = FORMULA.sub(mathml, content)
    if found := UNKNOWN.search(content):
        near = content[found.start() : found.start() + 200]
        raise PluginError(f"{page.file.src_uri} has a formula with an unknown command: {near}")
    return content


def mathml(found: re.Match[str]) -> str:
    """Convert one formula, in a line or as a block."""
    display = "inline" if found["block"] is None else "block"
    formula = html.unescape(found[display])
    return convert(formula.replace("{aligned}", "{align*}"), display=display)
