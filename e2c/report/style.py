"""The look of all drawings: colours and axes. Film, plots, page and benchmarks use it.

The page's style sheet has the same colours for a light theme, and others for a dark theme. Most
commands draw nothing, so functions that need matplotlib or av import them only when they are
called: the import takes half a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#0f172a"
"""Colour of text."""
MUTED = "#54637a"
"""Colour of remarks and labels."""
LINE = "#cbd5e1"
"""Colour of axes."""
GRID = "#e6ebf2"
"""Colour of the lines behind curves."""
PAPER = "#ffffff"
"""Colour of cards."""
PAGE = "#eef2f7"
"""Colour behind cards."""
EDGE = "#dae1ea"
"""Colour of the edges of cards."""
BLUE, GREEN, AMBER, ROSE, VIOLET = "#2563eb", "#10b981", "#f59e0b", "#f43f5e", "#7c3aed"
"""Colours of curves; the goal is green."""
TRAIL = "#38a0f8"
"""Colour of the earlier of two frames that are laid over one another."""

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


def rgb(colour: str) -> Colour:
    """Return a colour like ``"#2563eb"`` as three numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def style(axes: Axes, title: str, horizontal: str) -> None:
    """Give ``axes`` the look of all charts: heading on the left, light grid, two spines.

    Args:
        axes: changed in place.
        title: its heading.
        horizontal: the name of the horizontal axis; empty for none.
    """
    title_of(axes, title)
    axes.set_xlabel(horizontal, color=MUTED, fontsize=9)
    axes.tick_params(which="both", colors=MUTED, labelsize=8.5, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)


def title_of(axes: Axes, title: str) -> None:
    """Write the heading of ``axes``, on the left."""
    axes.set_title(title, loc="left", color=INK, fontsize=10.5, fontweight="bold", pad=9)
