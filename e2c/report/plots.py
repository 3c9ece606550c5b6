"""The plots of a run: each function returns a figure, and `save_figure` writes it as a PNG.

Figures are built without ``pyplot``: nothing global is changed and no display is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from e2c.files.whole import write_whole
from e2c.report.charts import own_rounds
from e2c.report.style import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    LINE,
    MUTED,
    PAPER,
    ROSE,
    style,
    title_of,
)
from envs.quantity import Quantity

_DPI = 110
_CYCLE = LinearSegmentedColormap.from_list("angle", [BLUE, GREEN, AMBER, ROSE, BLUE])
"""Colours of angles; both ends have the same colour."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write ``figure`` as a PNG, whole or not at all; its folder must exist.

    Raises:
        ValueError: where the name does not end in ``.png``.
        OSError: where the file cannot be written.
    """
    if path.suffix != ".png":
        raise ValueError(f"A picture's name must end in .png; got {path.name!r}.")
    write_whole(path, lambda aside: figure.savefig(aside, dpi=_DPI))


def loss_curves(history: Sequence[Mapping[str, float]], titles: Mapping[str, str]) -> Figure:
    """Draw every term of ``titles`` that was recorded, over the optimiser's steps.

    Args:
        titles: term -> its heading.
        history: one row per record: ``step`` and any of the terms. A missing value is left out; a
            value that is not finite leaves a gap. Terms that span more than a decade get a log
            axis. A line marks where the rounds of own episodes begin.
    """
    own = own_rounds(history)
    names = [name for name in titles if any(name in row for row in history)]
    columns = min(3, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = new_figure(1.0 + 3.6 * columns, 0.6 + 2.4 * rows)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, place)
        records = [(row["step"], row[name]) for row in history if name in row]
        steps, values = np.array(records, dtype=np.float64).T
        values = np.where(np.isfinite(values), values, np.nan)
        axes.plot(steps, values, color=BLUE, linewidth=1.6)
        if _spans_a_decade(values):
            axes.set_yscale("log")
        if own is not None:
            line = axes.axvline(own, color=MUTED, linewidth=0.8, label="own rounds begin")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        style(axes, titles[name], "optimiser step" if place > len(names) - columns else "")
    if own is not None:
        told: dict[str, Any] = {"frameon": False, "fontsize": 8.5, "labelcolor": MUTED}
        figure.legend(handles=[line], loc="outside upper right", **told)
    return figure


def open_loop_error(
    latent: NDArray[np.floating], pixels: NDArray[np.floating] | None, dt: float
) -> Figure:
    """Draw how the error of predictions without any look at the camera grows with the horizon.

    Args:
        latent: ``[H]``, squared error after 1 .. H steps divided by the variance of the targets, so
            that always predicting the mean scores 1.
        pixels: ``[H]``, the same for the decoded images, or None.
        dt: control step [s].
    """
    figure = new_figure(7.2, 4.4)
    axes = figure.add_subplot()
    for errors, name, colour in ((latent, "latent state", BLUE), (pixels, "pixels", AMBER)):
        if errors is not None:
            steps = np.arange(1, len(errors) + 1)
            axes.plot(steps, errors, color=colour, linewidth=2.0, label=name)
    mean = "always predicting the mean"
    axes.axhline(1.0, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), label=mean)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    style(axes, "Open-loop prediction error, relative to the variance", "steps ahead")
    seconds = axes.secondary_xaxis(
        -0.18, functions=(lambda k: np.multiply(k, dt), lambda s: np.divide(s, dt))
    )
    seconds.set_xlabel("seconds ahead", color=MUTED, fontsize=9)
    seconds.tick_params(colors=MUTED, labelsize=8.5)
    seconds.spines["bottom"].set_color(LINE)
    _legend(axes)
    return figure


def latent_space(
    latents: NDArray[np.floating],
    truth: Sequence[tuple[Quantity, NDArray[np.float64]]],
    goal: NDArray[np.floating],
    path: NDArray[np.floating] | None,
) -> Figure:
    """Draw encodings in their first three principal components, coloured by the true states.

    A pendulum's states form a cylinder: the angle goes around it, the velocity along it. A good
    latent space shows a cylinder too, and the colours run around and along it. A latent space of
    two dimensions is drawn flat.

    Args:
        latents: ``[N, n]``, means of encodings.
        truth: up to two quantities that colour them, such as numbers of the true states, and their
            values ``[N]``; angles are wrapped.
        goal: ``[n]``, the goal's encoding, a star.
        path: ``[T, n]``, the path of an episode in closed loop, or None.
    """
    centre, components = _principal_components(latents)
    points = (latents - centre) @ components
    figure = new_figure(11.0, 5.2)
    for place, (quantity, values) in enumerate(truth, start=1):
        flat = points.shape[1] < 3
        axes = figure.add_subplot(1, len(truth), place, projection=None if flat else "3d")
        _scatter(axes, points, quantity, quantity.wrapped(values))
        _trace(axes, None if path is None else (path - centre) @ components)
        _star(axes, (goal - centre) @ components)
        _style_projection(axes, f"Coloured by the {quantity.name}")
    return figure


def reconstructions(truth: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> Figure:
    """Draw K observations, the images decoded from their encodings, and the difference of both.

    Args:
        truth: ``[K, F, H, W]``, or with 3 channels.
        decoded: the same.
    """
    difference = np.abs(truth.astype(np.int16) - decoded).astype(np.uint8)
    K, F = truth.shape[:2]
    rows = np.stack([truth, decoded, difference]).reshape(3, K * F, *truth.shape[2:])
    columns = [1 if k % F == 0 else 0 for k in range(K * F)]
    figure = new_figure(1.2 + 0.95 * K * F, 3.4)
    axes = figure.add_subplot()
    _mosaic(axes, rows, ["camera", "decoded", "difference"], [""] * (K * F), [0, 1, 1], columns)
    title_of(axes, "Observations, encoded and decoded")
    return figure


def rollout_strip(
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    steps: Sequence[int],
    dt: float,
) -> Figure:
    """Draw R roll-outs: the camera's images above those predicted from the first moment.

    Args:
        truth: ``[R, S, H, W]``, or with 3 channels.
        predicted: the same, decoded.
        steps: how many control steps ahead the S moments lie.
        dt: control step [s].
    """
    R, S = truth.shape[:2]
    rows = np.stack([truth, predicted], axis=1).reshape(2 * R, *truth.shape[1:])
    moments = [f"+{step * dt:.2f} s" if step else "now" for step in steps]
    figure = new_figure(1.2 + 1.0 * S, 0.8 + 2.1 * R)
    axes = figure.add_subplot()
    _mosaic(axes, rows, ["camera", "predicted"] * R, moments, [0, 0] + [3, 0] * (R - 1), [1] * S)
    title_of(axes, "Predictions without a look at the camera")
    return figure


def episodes(
    plotted: Quantity, away: NDArray[np.float64], success: NDArray[np.bool_], dt: float
) -> Figure:
    """Draw the distance of a component from its value at the goal, in all evaluated episodes.

    Args:
        plotted: the component.
        away: ``[E, T + 1]``, its values minus the value at the episode's goal; angles are wrapped.
        success: ``[E]``.
        dt: control step [s].
    """
    figure = new_figure(7.6, 4.2)
    axes = figure.add_subplot()
    distances = np.abs(plotted.wrapped(away))
    seconds = np.arange(distances.shape[1]) * dt
    band = plotted.goal_half_width or 0.0
    axes.axhspan(0.0, band, color=GREEN, alpha=0.16, linewidth=0, label="goal region")
    for chosen, colour, name in ((success, BLUE, "success"), (~success, ROSE, "failure")):
        group = distances[chosen]
        alpha = float(np.clip(12 / max(1, len(group)), 0.2, 0.9))
        for k, distance in enumerate(group):
            axes.plot(seconds, distance, color=colour, alpha=alpha, linewidth=1.2)
            if k == 0:
                axes.plot([], [], color=colour, linewidth=2.0, label=name)
    axes.set_xlim(0.0, seconds[-1])
    if plotted.is_angle:
        axes.set_ylim(0.0, 1.03 * math.pi)
        axes.set_yticks([0, math.pi / 2, math.pi], ["0", "π/2", "π"])
    else:
        axes.set_ylim(0.0, 1.03 * max(band, float(distances.max())))
    title = f"Distance of the {plotted.name} from the goal [{plotted.unit}]"
    style(axes, f"{title}: {int(success.sum())} of {len(success)} episodes succeed", "time [s]")
    _legend(axes)
    return figure


# ----------------------------------------------------------------------------- style


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.03)
    return Figure(figsize=(width, height), layout=layout, facecolor=PAPER)


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")


def _spans_a_decade(values: NDArray[np.float64]) -> bool:
    """Say whether ``values`` are positive and the largest is above 10 times the smallest."""
    finite = values[np.isfinite(values)]
    return bool(len(finite)) and 0 < 10 * float(finite.min()) < float(finite.max())


# ----------------------------------------------------------------------------- projections


def _principal_components(
    latents: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the mean ``[n]`` and the up to three directions ``[n, p]`` of largest variance."""
    centre = latents.mean(axis=0)
    _, _, directions = np.linalg.svd(latents - centre, full_matrices=False)
    return centre, directions[:3].T


def _scatter(
    axes: Axes,
    points: NDArray[np.floating],
    quantity: Quantity,
    values: NDArray[np.float64],
) -> None:
    """Draw ``points [N, p]``, coloured by ``values [N]`` of a quantity, and a colour bar."""
    colour_map, low, high = _colouring(quantity, values)
    deep = isinstance(axes, Axes3D)
    marks: dict[str, Any] = {"s": 7, "alpha": 0.55, "linewidths": 0, "zorder": 1}
    if deep:
        marks["depthshade"] = False
    marks |= {"c": values, "cmap": colour_map, "vmin": low, "vmax": high}
    dots = axes.scatter(*points.T, **marks)
    key = ScalarMappable(dots.norm, dots.cmap)  # opaque, unlike the points
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(key, ax=axes, shrink=0.6, pad=0.1 if deep else 0.03, aspect=24)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelsize=8.5, length=0)
    bar.ax.set_title(quantity.unit, color=MUTED, fontsize=9)
    if quantity.is_angle:
        bar.set_ticks([-math.pi, 0, math.pi], labels=["−π", "0", "π"])


def _colouring(
    quantity: Quantity, values: NDArray[np.float64]
) -> tuple[Colormap | str, float, float]:
    """Choose a colour map and its ends: cyclic for angles, diverging where 0 lies within."""
    if quantity.is_angle:
        return _CYCLE, -math.pi, math.pi
    low, high = float(values.min()), float(values.max())
    if low < 0 < high:
        largest = max(-low, high)
        return "coolwarm", -largest, largest
    return "viridis", low, high


def _trace(axes: Axes, path: NDArray[np.floating] | None) -> None:
    """Draw an episode's ``path [T, p]`` over the points."""
    if path is not None:
        halo = [Stroke(linewidth=3.6, foreground=PAPER), Normal()]
        axes.plot(*path.T, color=INK, linewidth=1.5, path_effects=halo, zorder=2, label="episode")
        axes.plot(*path[:1].T, "o", color=INK, markersize=5, zorder=3, label="its start")


def _star(axes: Axes, goal: NDArray[np.floating]) -> None:
    """Mark the ``goal [p]``."""
    axes.plot(
        *goal[:, None],
        "*",
        color=AMBER,
        markersize=17,
        markeredgecolor=INK,
        markeredgewidth=0.9,
        zorder=4,
        linestyle="none",
        label="goal",
    )


def _style_projection(axes: Axes, title: str) -> None:
    """Give a projection its heading and the names of its axes, which have no units."""
    title_of(axes, title)
    axes.set_xlabel("component 1", color=MUTED, fontsize=8.5)
    axes.set_ylabel("component 2", color=MUTED, fontsize=8.5)
    axes.set_xticks([])
    axes.set_yticks([])
    if isinstance(axes, Axes3D):
        axes.set_zlabel("component 3", color=MUTED, fontsize=8.5)
        axes.set_zticks([])
        axes.view_init(elev=24, azim=-58)
        axes.set_box_aspect((1, 1, 1), zoom=1.1)
        axes.computed_zorder = False  # the path and the goal stay in front of the points
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_pane_color("#f8fafc")
            axis.line.set_color(LINE)
            axis.labelpad = -8
    else:
        for spine in axes.spines.values():
            spine.set_color(LINE)
    _legend(axes)


# ----------------------------------------------------------------------------- images


def _mosaic(
    axes: Axes,
    tiles: NDArray[np.uint8],
    rows: Sequence[str],
    columns: Sequence[str],
    above: Sequence[int],
    before: Sequence[int],
) -> None:
    """Draw ``tiles [R, S, H, W]`` or ``[R, S, H, W, 3]`` as one picture, labelled left and top.

    Args:
        axes: where.
        tiles: the images.
        rows: R labels.
        columns: S labels.
        above: units of space above each row, ``[R]``, besides one between all rows.
        before: units of space before each column, ``[S]``, besides one pixel between all columns.
    """
    R, S, H, W, *channels = tiles.shape
    unit = max(2, H // 16)
    tops = np.cumsum([0] + [H + unit] * (R - 1)) + unit * np.cumsum(above)
    lefts = np.cumsum([0] + [W + 1] * (S - 1)) + unit * np.cumsum(before)
    canvas = np.full((tops[-1] + H, lefts[-1] + W, *channels), 255, np.uint8)
    for r, top in enumerate(tops):
        for s, left in enumerate(lefts):
            canvas[top : top + H, left : left + W] = tiles[r, s]
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255)
    axes.set_yticks(tops + H / 2 - 0.5, rows)
    axes.set_xticks(lefts + W / 2 - 0.5, columns)
    axes.xaxis.tick_top()
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
