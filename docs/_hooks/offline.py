"""No page may need a network: a picture, style or script from elsewhere ends the build."""

import re

from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

LOADED = re.compile(
    r"<(?:script|img|video|source|iframe|link)\b[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>"
)


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Refuse what a browser would load from elsewhere; links that are clicked may lead there."""
    if found := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads something by network: {found[0]}")
    return output
