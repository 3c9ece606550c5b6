"""The figures of the comparison: each function takes summaries and returns a figure.

A method has the same colour and marker in all of them; the first eight colours are Okabe
and Ito's, which those who do not tell red from green tell apart. Shares are in percent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from benchmarks.policies import POLICIES
from benchmarks.published import Share
from e2c.presets import PRESETS
from e2c.report.style import INK, MUTED, PAPER, style
from envs.quantity import Quantity

_COLOURS = (
    *("#0072b2", "#9467bd", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6a00"),
    *("#4d4d4d", "#882255", "#332288", "#44aa99", "#999933", "#000000", "#ff6db6", "#8c564b"),
)
_MARKERS = ("o", (4, 1, 0), "s", "^", "v", "P", "X", "p", "h", "<", ">", "*", "d", "D", "H", "8")
_CYCLE = LinearSegmentedColormap.from_list("angle", [_COLOURS[k] for k in (0, 3, 5, 4, 0)])
_PUBLISHED: dict[str, Any] = {"color": MUTED, "marker": "D", "markerfacecolor": PAPER}
_REFERENCES: dict[str, dict[str, Any]] = {
    "oracle": {"color": INK, "linestyle": "-", "linewidth": 1.2},
    "random": {"color": MUTED, "linestyle": (0, (4, 2)), "linewidth": 1.2},
    "zero": {"color": MUTED, "linestyle": (0, (1, 1.5)), "linewidth": 1.4},
}
"""Rows that are drawn as lines: what a score means without any learning."""


@dataclass(frozen=True)
class LatentMaps:
    """Where the encoders of a task's models put the same states.

    Attributes:
        quantity: what colours the states.
        values: ``[N]``, of it.
        points: method -> ``[N, p]``, in p principal components, 2 or 3.
    """

    quantity: Quantity
    values: NDArray[np.float64]
    points: Mapping[str, NDArray[np.float64]]


def scores(
    measured: Mapping[str, Mapping[str, Share]], published: Mapping[str, Mapping[str, Share]]
) -> Figure:
    """Draw the share of steps in the goal, a panel for each task and a line for each method.

    Args:
        measured: title of a panel -> method, or row without training -> share.
        published: the same, by others; a panel or a method may be missing.
    """
    methods = _in_order(method for shares in measured.values() for method in shares)
    columns = min(4, len(measured) + 1)
    figure, panels = grid(len(measured) + 1, columns, 2.9, 1.0 + 0.36 * len(methods))
    for place, (axes, title) in enumerate(zip(panels, measured, strict=False)):
        style(axes, title, "steps in the goal [%]")
        _score_panel(axes, methods, measured[title], published.get(title, {}))
        axes.tick_params(labelleft=place % columns == 0)
    _explain_scores(panels[len(measured)])
    return figure


def _score_panel(
    axes: Axes,
    methods: Sequence[str],
    measured: Mapping[str, Share],
    published: Mapping[str, Share],
) -> None:
    """Draw a line of a panel for each method; what is published stands a little below."""
    for name, look in _REFERENCES.items():
        if name in measured:
            axes.axvline(measured[name].mean, zorder=1, **look)
    for row, method in enumerate(methods):
        if method in measured:
            _interval(axes, measured[method], row, _look(method) | {"markersize": 6, "zorder": 3})
        if method in published:
            _interval(axes, published[method], row + 0.3, _PUBLISHED | {"markersize": 4})
    axes.set_xlim(-4, 104)
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_yticks(range(len(methods)), methods)


def _interval(axes: Axes, share: Share, row: float, look: Mapping[str, Any]) -> None:
    """Draw a mean with its standard error, and a stroke for the best model."""
    axes.errorbar(share.mean, row, xerr=share.error, elinewidth=1.6, linestyle="none", **look)
    if share.best is not None and share.models != 1:
        stroke = {"marker": "|", "markersize": 8, "color": look["color"]}
        axes.plot([share.best], [row], **stroke, linestyle="none", alpha=0.7)


def _explain_scores(axes: Axes) -> None:
    """Turn a panel into the key to the others."""
    colour = _COLOURS[0]
    handles = [
        Line2D([], [], color=colour, marker="o", label="mean over models ± standard error"),
        Line2D([], [], color=colour, marker="|", linestyle="none", label="best model"),
        Line2D([], [], **_PUBLISHED, markersize=4, label="published"),
        *(Line2D([], [], label=f"{name} (no training)", **v) for name, v in _REFERENCES.items()),
    ]
    axes.set_axis_off()
    axes.legend(handles=handles, frameon=False, fontsize=8.5, labelcolor=INK, loc="center")


def noise(
    measured: Mapping[str, Mapping[str, Mapping[int, Share]]],
    published: Mapping[str, Mapping[str, Mapping[int, Share]]],
) -> Figure:
    """Draw the episodes that reach the goal against the noise on the state.

    The points of one noise are set apart sideways, so that none hides another.

    Args:
        measured: task -> method -> standard deviation of the noise -> share of such episodes.
        published: the same, by others.
    """
    figure, panels = grid(len(measured), 2, 4.6, 3.6)
    for axes, task in zip(panels, measured, strict=False):
        horizontal = "noise on the state: standard deviation [the task's unit]\n(points set apart)"
        style(axes, f"{task}: reaches the goal [%]", horizontal)
        for place, (method, by_noise) in enumerate(measured[task].items()):
            aside = 0.01 * max(by_noise) * (place - (len(measured[task]) - 1) / 2)
            _curve(axes, by_noise, _look(method) | {"label": method}, aside)
        for method, by_noise in published.get(task, {}).items():
            look = {**_look(method), **{"marker": "D", "markerfacecolor": PAPER}}
            name = f"{method}, published"
            _curve(axes, by_noise, look | {"linestyle": (0, (4, 2)), "label": name})
        axes.set_ylim(-4, 104)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_below(figure)
    return figure


def _curve(
    axes: Axes, by_noise: Mapping[int, Share], look: Mapping[str, Any], aside: float = 0.0
) -> None:
    """Draw means and their standard errors over the noise, a little aside of other curves'."""
    levels = sorted(by_noise)
    means = [by_noise[level].mean for level in levels]
    errors = [by_noise[level].error or 0.0 for level in levels]
    axes.errorbar(np.add(levels, aside), means, yerr=errors, linewidth=1.5, markersize=5, **look)


def open_loop(errors: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> Figure:
    """Draw how the error of predictions without a look at the camera grows with the horizon.

    Args:
        errors: task -> method -> ``[T]``, squared error after 1 .. T steps over the variance of the
            encodings.
    """
    figure, panels = grid(len(errors), 3, 3.5, 2.7)
    for place, (axes, task) in enumerate(zip(panels, errors, strict=False)):
        style(axes, task, "steps ahead" if place + 3 >= len(errors) else "")
        axes.axhline(1.0, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        for method, error in errors[task].items():
            look = _look(method) | {"label": method, "markevery": (0.05, 0.2)}
            axes.plot(np.arange(1, len(error) + 1), error, linewidth=1.5, markersize=5, **look)
        axes.set_yscale("log")
        axes.set_ylim(top=min(axes.get_ylim()[1], 100.0))  # what is worse than that is no worse
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.supylabel(
        "squared error / variance (1 = always predicting the mean)", color=MUTED, fontsize=9
    )
    _legend_below(figure)
    return figure


def latent_maps(maps: Mapping[str, LatentMaps]) -> Figure:
    """Draw where the methods' encoders put the same random states, a row for each task."""
    methods = _in_order(method for found in maps.values() for method in found.points)
    figure = _figure(1.9 * len(methods) + 1.1, 1.9 * len(maps) + 0.3)
    for row, (task, found) in enumerate(maps.items()):
        panels = []
        for column, method in enumerate(methods, start=1):
            place = (len(maps), len(methods), row * len(methods) + column)
            panels.append(_map_panel(figure, place, found, method))
            if row == 0:
                panels[-1].set_title(method, color=INK, fontsize=10, fontweight="bold", pad=4)
        _name_row(panels[0], task)
        _colour_key(figure, panels, found)
    return figure


def _map_panel(figure: Figure, place: tuple[int, int, int], found: LatentMaps, method: str) -> Axes:
    """Draw one map; where none was measured, nothing."""
    points = found.points.get(method, np.empty((0, 2)))
    axes: Axes = figure.add_subplot(*place, projection="3d" if points.shape[1] == 3 else None)
    axes.set_axis_off()
    colours, limits = _colouring(found)
    style: dict[str, Any] = {"s": 5, "linewidths": 0, "cmap": colours, "norm": limits}
    if isinstance(axes, Axes3D):
        axes.view_init(elev=24, azim=-58)
        axes.set_box_aspect((1, 1, 1), zoom=1.6)
        style["depthshade"] = False
    if len(points):
        style["c"] = found.quantity.wrapped(found.values)
        axes.scatter(*points.T, **style)
    return axes


def _name_row(axes: Axes, task: str) -> None:
    """Write the task's name to the left of its first panel."""
    write = axes.text2D if isinstance(axes, Axes3D) else axes.text
    style: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 10}
    write(-0.04, 0.5, task, transform=axes.transAxes, color=INK, fontweight="bold", **style)


def _colour_key(figure: Figure, panels: Sequence[Axes], found: LatentMaps) -> None:
    """Draw the key to a row's colours at its right."""
    colours, limits = _colouring(found)
    key = ScalarMappable(limits, colours)
    bar = figure.colorbar(key, ax=list(panels), shrink=0.75, pad=0.01, aspect=16, fraction=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=0)
    bar.set_label(found.quantity.label, color=MUTED, fontsize=8.5)
    if colours is _CYCLE:
        bar.set_ticks([-math.pi, 0, math.pi], labels=["−π", "0", "π"])


def _colouring(found: LatentMaps) -> tuple[LinearSegmentedColormap | str, Normalize]:
    """Choose colours and their ends: cyclic for angles that go around."""
    low, high = float(found.values.min()), float(found.values.max())
    if found.quantity.is_angle and high - low > math.pi:
        return _CYCLE, Normalize(-math.pi, math.pi)
    return "viridis", Normalize(low, high)


# ------------------------------------------------------------------------------------------ style


def _look(method: str) -> dict[str, Any]:
    """Colour and marker of a method, the same in every figure."""
    place = _drawn().index(method)
    return {"color": _COLOURS[place % len(_COLOURS)], "marker": _MARKERS[place % len(_MARKERS)]}


def _in_order(methods: Iterable[str]) -> list[str]:
    """What is drawn of ``methods``, each once, as they are registered."""
    found = set(methods)
    return [method for method in _drawn() if method in found]


def _drawn() -> list[str]:
    """The methods that have a colour and a marker."""
    return [*PRESETS, *POLICIES]


def _figure(width: float, height: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.02, hspace=0.03)
    return Figure(figsize=(width, height), layout=layout, facecolor=PAPER)


def grid(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for ``count`` panels of a size in inches; the rest is blank."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = _figure(width * columns, height * rows)
    panels: list[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def _legend_below(figure: Figure) -> None:
    """Name every curve once, below all panels."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    columns = min(6, len(named))
    figure.legend(
        named.values(),
        named.keys(),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
