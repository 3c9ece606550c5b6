"""The plots of a run: they are files of a sensible size, and they show what they were given."""

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from e2c.report import plots
from envs.quantity import Quantity

RNG = np.random.default_rng(3)
FRAMES = RNG.integers(0, 256, (3, 5, 12, 10), np.uint8)
OTHERS = RNG.integers(0, 256, (3, 5, 12, 10), np.uint8)
LATENTS = RNG.normal(size=(40, 6))
ANGLE, SPEED, ROW = (
    Quantity("angle", "rad", 0.2),
    Quantity("speed", "m/s"),
    Quantity("row", "px", 2),
)
ANGLES = RNG.uniform(-math.pi, math.pi, (7, 31))


TITLES = {"reconstruction": "Reconstruction [nats]", "prediction": "Prediction", "lr": "Rate"}


def history() -> list[dict[str, float]]:
    rows = [
        {"step": 10.0 * k, "reconstruction": 500 * 0.8**k, "prediction": 90.0 + k, "lr": 1e-3}
        for k in range(20)
    ]
    rows[3]["prediction"] = math.nan
    rows[5]["reconstruction"] = math.inf
    del rows[4]["prediction"]
    rows.append({"step": 200.0, "epoch": 3.0})
    return rows


def points(line: Line2D) -> NDArray[np.float64]:
    """Return what ``line`` goes through, ``[N, 2]``."""
    return np.asarray(line.get_xydata(), np.float64)


def latent_space(n: int, path: bool) -> Figure:
    latents = LATENTS[:, :n]
    return plots.latent_space(
        latents,
        [(ANGLE, ANGLES[0, :1].repeat(40)), (SPEED, RNG.normal(size=40))],
        latents[0],
        latents if path else None,
    )


DRAWN: dict[str, Callable[[], Figure]] = {
    "losses": lambda: plots.loss_curves(history(), TITLES),
    "no losses": lambda: plots.loss_curves([{"step": 1.0, "reconstruction": math.nan}], TITLES),
    "open loop": lambda: plots.open_loop_error(np.geomspace(0.01, 2, 30), None, 0.05),
    "open loop, pixels": lambda: plots.open_loop_error(np.ones(5), np.full(5, np.nan), 0.05),
    "latent space": lambda: latent_space(6, path=True),
    "flat latent space": lambda: latent_space(2, path=True),
    "latent space, no path": lambda: latent_space(3, path=False),
    "reconstructions": lambda: plots.reconstructions(FRAMES, OTHERS),
    "rollouts": lambda: plots.rollout_strip(FRAMES, OTHERS, [0, 5, 10, 20, 40], 0.05),
    "episodes": lambda: plots.episodes(ANGLE, ANGLES, np.arange(7) > 2, 0.05),
    "episodes, no angle": lambda: plots.episodes(ROW, 9 * ANGLES, np.arange(7) > 2, 0.1),
    "episodes, all well": lambda: plots.episodes(ANGLE, ANGLES, np.ones(7, bool), 0.05),
}


@pytest.mark.parametrize("name", DRAWN)
def test_each_figure_is_a_picture_of_a_sensible_size(tmp_path: Path, name: str) -> None:
    before = dict(mpl.rcParams)
    plots.save_figure(DRAWN[name](), tmp_path / "figure.png")
    image = cv2.imread(str(tmp_path / "figure.png"))
    assert image is not None
    assert 200 <= image.shape[0] <= 2000
    assert 300 <= image.shape[1] <= 2400
    assert np.std(image.astype(np.float64)) > 5
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    assert dict(mpl.rcParams) == before


def test_losses_show_what_was_recorded_and_leave_gaps() -> None:
    axes = plots.loss_curves(history(), TITLES).axes
    assert [ax.get_title("left") for ax in axes] == [
        TITLES[name] for name in ("reconstruction", "prediction", "lr")
    ]
    assert [ax.get_yscale() for ax in axes] == ["log", "linear", "linear"]
    steps, values = points(axes[1].lines[0]).T
    assert steps.tolist() == [10.0 * k for k in range(20) if k != 4]
    assert np.flatnonzero(np.isnan(values)).tolist() == [3]


def test_the_horizon_starts_at_one_step() -> None:
    axes = plots.open_loop_error(np.array([0.1, 0.2, 0.4]), np.array([0.3, 0.5]), 0.05).axes[0]
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(points(axes.lines[0]), [(1, 0.1), (2, 0.2), (3, 0.4)])
    np.testing.assert_allclose(points(axes.lines[1]), [(1, 0.3), (2, 0.5)])


def test_a_flat_latent_space_is_only_centred_and_turned() -> None:
    axes = latent_space(2, path=True).axes[0]
    drawn = points(axes.lines[0])
    distances = np.linalg.norm(LATENTS[:, None, :2] - LATENTS[:, :2], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(drawn[:, None] - drawn, axis=-1), distances)
    np.testing.assert_allclose(np.asarray(axes.collections[0].get_offsets()), drawn)
    np.testing.assert_allclose(points(axes.lines[-1]), drawn[:1])


def test_principal_components_come_in_order_of_their_variance() -> None:
    spread = LATENTS * [1, 2, 4, 8, 16, 32]
    centre, components = plots._principal_components(spread)
    np.testing.assert_allclose(centre, spread.mean(axis=0))
    np.testing.assert_allclose(components.T @ components, np.eye(3), atol=1e-12)
    assert np.abs(components).argmax(axis=0).tolist() == [5, 4, 3]


def test_predictions_stand_under_what_was_seen() -> None:
    (image,) = plots.rollout_strip(FRAMES, OTHERS, [0, 5, 10, 20, 40], 0.05).axes[0].images
    canvas = np.asarray(image.get_array())
    (above, left), (below, same) = place_of(FRAMES[2, 3], canvas), place_of(OTHERS[2, 3], canvas)
    assert same == left
    assert above < below < above + 2 * 12


def test_the_difference_stands_last() -> None:
    (image,) = plots.reconstructions(FRAMES, OTHERS).axes[0].images
    canvas = np.asarray(image.get_array())
    difference = np.abs(FRAMES[1, 4].astype(int) - OTHERS[1, 4]).astype(np.uint8)
    places = [place_of(tile, canvas) for tile in (FRAMES[1, 4], OTHERS[1, 4], difference)]
    assert len({left for _, left in places}) == 1
    assert places == sorted(places)


def place_of(tile: NDArray[np.uint8], canvas: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the row and column at which ``tile`` stands in ``canvas``, where it does once."""
    windows = np.lib.stride_tricks.sliding_window_view(canvas, tile.shape)
    ((row, column),) = np.argwhere((windows == tile).all(axis=(2, 3)))
    return int(row), int(column)


def test_episodes_are_counted_and_never_negative() -> None:
    axes = plots.episodes(ANGLE, ANGLES, np.arange(7) > 2, 0.05).axes[0]
    assert "4 of 7" in axes.get_title("left")
    lines = [line for line in axes.lines if len(points(line))]
    assert len(lines) == 7
    for line, angle in zip(lines, np.abs(ANGLES[[3, 4, 5, 6, 0, 1, 2]]), strict=True):
        np.testing.assert_allclose(points(line)[:, 1], angle)
        assert points(line)[-1, 0] == pytest.approx(30 * 0.05)


def test_turns_count_for_angles_alone() -> None:
    turned = 2 * math.pi + np.full((1, 3), 0.1)
    success = np.ones(1, bool)
    for quantity, distance in ((ANGLE, 0.1), (ROW, 2 * math.pi + 0.1)):
        lines = plots.episodes(quantity, turned, success, 0.05).axes[0].lines
        np.testing.assert_allclose(points(lines[0])[:, 1], distance)


@pytest.mark.parametrize(
    ("quantity", "values", "colours"),
    [
        (ANGLE, [1.0, 2.0], ("angle", -math.pi, math.pi)),
        (SPEED, [-3.0, 2.0], ("coolwarm", -3.0, 3.0)),
        (ROW, [4.0, 30.0], ("viridis", 4.0, 30.0)),
    ],
)
def test_colours_suit_what_they_show(
    quantity: Quantity, values: list[float], colours: tuple[str, float, float]
) -> None:
    found, low, high = plots._colouring(quantity, np.array(values))
    assert (found if isinstance(found, str) else found.name, low, high) == colours


def test_a_picture_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    class Broken(Figure):
        def savefig(self, fname: object, **_: object) -> None:
            Path(str(fname)).write_bytes(b"half a pict")
            raise OSError("No space left on device")

    (tmp_path / "figure.png").write_bytes(b"yesterday's")
    with pytest.raises(OSError, match="No space left"):
        plots.save_figure(Broken(), tmp_path / "figure.png")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    assert (tmp_path / "figure.png").read_bytes() == b"yesterday's"


def test_where_a_picture_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        plots.save_figure(Figure(), tmp_path / "missing" / "figure.png")
    with pytest.raises(ValueError, match=r"\.png"):
        plots.save_figure(Figure(), tmp_path / "figure.pdf")


def test_losses_mark_where_own_rounds_begin() -> None:
    rows = [{"step": 1.0, "lr": 0.1}, {"round": 1.0}, {"step": 3.0, "lr": 0.2}]
    for recorded, places in ((rows, [2.0]), (rows[:1], [])):
        figure = plots.loss_curves(recorded, TITLES)
        (axes,) = figure.axes
        assert [points(line)[0, 0] for line in axes.lines[1:]] == places
        told = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert told == ["own rounds begin"] * len(places)
