"""No page may need a network: a picture, style or script from elsewhere ends the build."""

import re

from mkdocs.exceptions import PluginError

LOADED = re.compile(
    r"<(?:script|img|video|source|iframe|link)\b[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>"
)


def on_post_page(output: str, **_: object) -> str:
    """Refuse what a browser would load from elsewhere; links that are clicked may lead there."""
    if found := LOADED.search(output):
        raise PluginError(f"A page loads something by network: {found[0]}")
    return output
