"""Pictures in a notebook; a page that runs as a program says at its end where they can be seen."""

from __future__ import annotations

import atexit
import functools
import io
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2c.report.style import AMBER, BLUE, GREEN, ROSE, VIOLET, style, title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, AMBER, GREEN, ROSE, VIOLET)
"""Of the first, second, ... curve."""


def show_lines(
    title: str, horizontal: str, lines: Mapping[str, tuple[ArrayLike, ArrayLike]], log: bool = False
) -> None:
    """Show curves.

    Args:
        title: what the vertical axis is, with its unit.
        horizontal: the name of the horizontal axis.
        lines: name -> x and y, both ``[N]``; no more than there are `COLOURS`.
        log: whether both axes are logarithmic.
    """
    if not in_notebook():
        _tell_where()
        return
    from e2c.report.plots import new_figure

    figure = new_figure(6.5, 3.2)
    axes = figure.add_subplot()
    for (name, (x, y)), colour in zip(lines.items(), COLOURS, strict=False):
        axes.plot(x, y, color=colour, linewidth=1.6, label=name)
    if log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    style(axes, title, horizontal)
    axes.legend(frameon=False, fontsize=8.5)
    _display(figure)


def show_frames(title: str, rows: Sequence[NDArray[np.uint8]]) -> None:
    """Show rows of grey frames, each ``[N, H, W]`` uint8, under a heading."""
    if not in_notebook():
        _tell_where()
        return
    from e2c.report.plots import new_figure

    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    figure = new_figure(9.0, 0.5 + 9.0 * picture.shape[0] / picture.shape[1])
    axes = figure.add_subplot()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    title_of(axes, title)
    _display(figure)


def in_notebook() -> bool:
    """Tell whether a notebook's kernel runs this: it has imported IPython before any cell."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@functools.cache
def _tell_where() -> None:
    """Let the program say at its end, once, where its pictures can be seen."""
    where = "in Jupyter, by jupytext, and on the site that `make docs` builds"
    atexit.register(print, f"The pictures of this page are shown {where}.")


def _display(figure: Figure) -> None:
    """Hand a figure to the notebook, as a PNG."""
    content = io.BytesIO()
    figure.savefig(content, dpi=110, format="png")
    display = sys.modules["IPython.display"]
    display.display(display.Image(content.getvalue()))
