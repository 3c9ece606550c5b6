"""What everything is drawn in: colours, and how axes look. Film, plots, page and benchmarks use it.

The page's style sheet names the same colours for a light theme, and others for a dark one. Most
commands draw nothing, so whoever needs matplotlib or av for its work imports them there and then:
they take half a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, LINE, GRID = "#0f172a", "#54637a", "#cbd5e1", "#e6ebf2"
"""Of text, of what is said beside it, of axes, and of the lines behind curves."""
PAPER, PAGE, EDGE = "#ffffff", "#eef2f7", "#dae1ea"
"""Of cards, of what lies behind them, and of their edges."""
BLUE, GREEN, AMBER, ROSE, VIOLET = "#2563eb", "#10b981", "#f59e0b", "#f43f5e", "#7c3aed"
"""Of curves; green is the goal's."""
TRAIL = "#38a0f8"
"""Of the earlier of two frames that are laid over one another."""

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
