"""The film of an episode: the file, what each picture shows, and what it costs."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from e2c.report import film as video
from e2c.report import style
from e2c.report.film import Film, film_frames
from e2c.report.film_charts import Chart, round_ticks
from e2c.report.pens import Box
from e2c.report.style import rgb
from e2c.report.video import write_video
from envs.quantity import Quantity

Picture = NDArray[np.uint8]
ANGLE, TORQUE = Quantity("angle", "rad", 0.2), Quantity("torque", "N m")
RED, BLUE = (200, 40, 30), (30, 40, 200)


def plain(colour: tuple[int, int, int], height: int = 36, width: int = 64) -> Picture:
    return np.full((height, width, 3), colour, np.uint8)


def decoded(path: Path) -> tuple[list[Picture], float]:
    """Return the RGB pictures of a video and its pictures per second."""
    capture = cv2.VideoCapture(str(path))
    fps, pictures = capture.get(cv2.CAP_PROP_FPS), []
    while (got := capture.read())[0]:
        pictures.append(np.asarray(got[1], np.uint8)[..., ::-1])
    capture.release()
    return pictures, fps


def a_film(T: int = 7, C: int = 2, S: int = 3, H: int = 20, W: int = 24, **changes: Any) -> Film:
    rng = np.random.default_rng(0)
    film = Film(
        scenes=[plain((t, 100, 200), 48, 48) for t in range(T)],
        observations=rng.integers(0, 256, (T + 1, C, H, W), np.uint8),
        imagined=rng.integers(0, 256, (T, S, H, W), np.uint8),
        imagined_steps=[5 * s for s in range(S)],
        goal=rng.integers(0, 256, (C, H, W), np.uint8),
        control=TORQUE,
        controls=rng.uniform(-2, 2, (T, 1)),
        control_limit=2.0,
        plotted=ANGLE,
        values=np.linspace(3.0, 0.1, T + 1),
        goal_value=0.0,
        in_goal=np.arange(T + 1) > 5,
        costs=np.geomspace(300.0, 0.5, T),
        distances=np.geomspace(2.0, 0.01, T),
        dt=0.05,
        title="A test",
    )
    return dataclasses.replace(film, **changes)


def charts_of(film: Film) -> list[Chart]:
    return list(video._charts(film))


def pictures_of(film: Film) -> NDArray[np.int16]:
    return np.stack(list(itertools.islice(film_frames(film), len(film.controls)))).astype(np.int16)


def differing(one: Film, other: Film, box: Box) -> tuple[list[int], bool]:
    """Return the steps at which two films differ, and whether all of it lies within ``box``."""
    changed = (pictures_of(one) != pictures_of(other)).any(axis=-1)
    left, top, width, height = box
    outside = changed.copy()
    outside[:, top : top + height, left : left + width] = False
    return np.flatnonzero(changed.any(axis=(1, 2))).tolist(), not outside.any()


# ----------------------------------------------------------------------------- the file


def test_a_video_plays_as_written(tmp_path: Path) -> None:
    frames = [plain(RED if t < 8 else BLUE) for t in range(13)]
    write_video(tmp_path / "film.mp4", iter(frames), 12.5)
    pictures, fps = decoded(tmp_path / "film.mp4")
    assert fps == pytest.approx(12.5)
    assert len(pictures) == 13
    for picture, frame in zip(pictures, frames, strict=True):
        assert picture.shape == frame.shape
        np.testing.assert_allclose(picture, frame, atol=12)
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


def test_the_codec_is_one_that_browsers_play(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", [plain(RED)], 20)
    assert b"avc1" in (tmp_path / "film.mp4").read_bytes()


@pytest.mark.parametrize(
    ("frames", "fps", "says"),
    [
        ([], 20.0, "at least one"),
        ([plain(RED, height=35)], 20.0, "even"),
        ([plain(RED, width=63)], 20.0, "even"),
        ([plain(RED)[..., 0]], 20.0, "even H and W"),
        ([plain(RED), plain(RED, height=38)], 20.0, "number 2"),
        ([plain(RED), plain(RED).astype(np.float32)], 20.0, "float32"),
        ([plain(RED).astype(np.float64)], 20.0, "float64"),
        ([plain(RED)], 0.0, "fps"),
        ([plain(RED)], float("nan"), "fps"),
    ],
)
def test_what_is_no_video_is_refused(
    tmp_path: Path, frames: list[Picture], fps: float, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        write_video(tmp_path / "film.mp4", frames, fps)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["film.avi", "film", "film.MP4"])
def test_only_mp4_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"\.mp4"):
        write_video(tmp_path / name, [plain(RED)], 20)


def test_a_failure_midway_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    def failing() -> Iterator[Picture]:
        yield plain(RED)
        raise RuntimeError("the episode broke")

    (tmp_path / "film.mp4").write_bytes(b"the one from yesterday")
    with pytest.raises(RuntimeError, match="the episode broke"):
        write_video(tmp_path / "film.mp4", failing(), 20)
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]
    assert (tmp_path / "film.mp4").read_bytes() == b"the one from yesterday"


def test_a_folder_that_cannot_be_written_is_the_systems_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError):
        write_video(tmp_path / "missing" / "film.mp4", [plain(RED)], 20)
    with pytest.raises(NotADirectoryError):
        write_video(tmp_path / "file" / "film.mp4", [plain(RED)], 20)


# ----------------------------------------------------------------------------- the pictures


@pytest.mark.parametrize(
    ("T", "C", "S", "H", "W"), [(7, 2, 6, 48, 48), (1, 1, 1, 20, 24), (3, 4, 9, 30, 16)]
)
def test_every_shape_of_episode_can_be_shown(T: int, C: int, S: int, H: int, W: int) -> None:
    frames = list(film_frames(a_film(T, C, S, H, W)))
    assert len(frames) == T + 20
    for frame in frames:
        assert frame.shape == (720, 1280, 3)
        assert frame.dtype == np.uint8
    for held in frames[T:]:
        np.testing.assert_array_equal(held, frames[T - 1])
        assert not np.shares_memory(held, frames[T - 1])


def test_scenes_are_drawn_when_they_are_needed() -> None:
    asked = []

    def scenes(t: int) -> Picture:
        asked.append(t)
        return plain((t, 0, 0), 48, 48)

    frames = film_frames(a_film(scenes=scenes))
    assert asked == []
    next(frames)
    next(frames)
    assert asked == [0, 1]


def test_scenes_as_a_list_or_a_function_look_the_same() -> None:
    film = a_film()
    assert not callable(film.scenes)
    lazy = dataclasses.replace(film, scenes=film.scenes.__getitem__)
    np.testing.assert_array_equal(pictures_of(film), pictures_of(lazy))


def changed(array: NDArray[Any], where: Any) -> NDArray[Any]:
    copy = array.copy()
    copy[where] = 255 - copy[where] if copy.dtype == np.uint8 else -copy[where]
    return copy


SHOWN: list[tuple[str, Callable[[Film], dict[str, Any]], Box]] = [
    ("latest frame", lambda f: {"observations": changed(f.observations, (4, 1))}, video._SEES),
    ("earlier frame", lambda f: {"observations": changed(f.observations, (4, 0))}, video._SEES),
    ("imagined", lambda f: {"imagined": changed(f.imagined, (4, 2))}, video._IMAGINES),
    (
        "scene",
        lambda f: {"scenes": [*f.scenes[:4], plain(RED, 48, 48), *f.scenes[5:]]},  # type: ignore[index]
        video._SCENE,
    ),
]


@pytest.mark.parametrize(("name", "change", "box"), SHOWN, ids=[row[0] for row in SHOWN])
def test_each_thing_is_shown_at_its_step_in_its_panel(
    name: str, change: Callable[[Film], dict[str, Any]], box: Box
) -> None:
    film = a_film()
    assert differing(film, dataclasses.replace(film, **change(film)), box) == ([4], True)


def test_charts_show_the_past_only() -> None:
    film = a_film()
    other = dataclasses.replace(film, controls=changed(film.controls, 4))
    assert differing(film, other, charts_of(film)[0].card) == ([4, 5, 6], True)


def test_the_chart_of_the_angle_is_not_bridged_where_it_wraps() -> None:
    def line_in_the_middle(angles: list[float]) -> bool:
        film = a_film(T=3, values=np.array(angles))
        left, top, width, height = charts_of(film)[1].plot
        last = pictures_of(film)[-1]
        middle = last[top + height // 4 : top + 3 * height // 4, left + 2 : left + width // 3]
        return bool((middle == rgb(style.BLUE)).all(axis=-1).any())

    assert line_in_the_middle([1.5, -1.5, -3.0, -3.1])
    assert not line_in_the_middle([3.0, -3.0, -2.9, -2.9])


def test_being_in_the_goal_region_is_said() -> None:
    film = a_film(in_goal=np.ones(8, bool))
    outside = dataclasses.replace(film, in_goal=np.zeros(8, bool))
    header = (slice(0, 1), slice(24, 60), slice(900, 1150))
    assert (pictures_of(film)[header] == rgb(style.GREEN)).all(axis=-1).any()
    assert not (pictures_of(outside)[header] == rgb(style.GREEN)).all(axis=-1).any()


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_every_control_has_a_line_and_a_reading(m: int) -> None:
    controls = np.linspace(-1.5, 1.5, m)[None].repeat(5, axis=0)
    chart = charts_of(a_film(T=5, controls=controls))[0]
    assert [len(row) for row in chart.readings] == [m] * 5
    film = pictures_of(a_film(T=5, controls=controls))
    x, _ = chart.at(2.5, 0.0)
    for value, colour in zip(
        controls[0], (rgb(style.AMBER), rgb(style.BLUE), rgb(style.VIOLET)), strict=False
    ):
        _, y = chart.at(0, value)
        column = film[-1][round(y) - 2 : round(y) + 3, round(x)]
        assert (column == colour).all(axis=-1).any(), value


def test_what_is_no_angle_has_an_axis_that_holds_it_and_the_goal() -> None:
    row = Quantity("row", "px", 2.0)
    chart = list(
        video._charts(a_film(plotted=row, values=np.linspace(5.0, 30.0, 8), goal_value=37.0))
    )[1]
    assert chart.band == (35.0, 39.0)
    assert chart.limits[0] < 5 < 39 < chart.limits[1]
    assert chart.heading == "Row"
    assert chart.readings[0] == ["+5.00 px"]


@pytest.mark.parametrize(
    "costs",
    [[np.nan] * 3, [np.inf, 2.0, np.nan], [0.0] * 3, [-1.0, 5.0, 2e3], [5.0] * 3, [1e-9, 1.0, 1e9]],
)
def test_any_cost_can_be_drawn(costs: list[float]) -> None:
    film = a_film(T=3, costs=np.array(costs))
    chart = charts_of(film)[2]
    assert 0 < len(chart.ticks) <= 4
    assert all(chart.limits[0] <= tick <= chart.limits[1] for tick in chart.ticks)
    assert len(pictures_of(film)) == 3


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0.0, 10.0, 6, [0, 2, 4, 6, 8, 10]),
        (0.0, 0.35, 6, [0, 0.1, 0.2, 0.3]),
        (-3.3, 3.3, 3, [-2, 0, 2]),
        (101.0, 199.0, 3, [150]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert round_ticks(low, high, most) == pytest.approx(ticks)


@pytest.mark.parametrize(
    "change",
    [
        {"values": np.zeros(7)},
        {"in_goal": np.zeros(9, bool)},
        {"observations": np.zeros((7, 2, 20, 24), np.uint8)},
        {"costs": np.zeros(8)},
        {"imagined_steps": [0, 5]},
        {"imagined": np.zeros((8, 3, 20, 24), np.uint8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_film_of_mixed_lengths_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="A film of 7 controls needs"):
        a_film(**change)


@pytest.mark.parametrize("name", ["observations", "imagined", "goal"])
def test_images_between_0_and_1_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be uint8 .* got float32"):
        a_film(**{name: getattr(a_film(), name).astype(np.float32) / 255})


def test_a_film_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one control"):
        a_film(T=0)


def test_composing_keeps_pace() -> None:
    film = a_film(T=40, S=6, H=48, W=48)
    start = time.process_time()
    for _ in film_frames(film):
        pass
    assert time.process_time() - start < 2.0, "200 pictures are to take less than 3 s"


def test_a_world_without_states_is_filmed_by_its_images_alone() -> None:
    """The chart of the state gives way to that of the latent distance; colour is kept."""
    film = a_film(C=3, plotted=None, values=None, in_goal=None)
    heading = charts_of(film)[1].heading
    assert heading == "Latent distance to the goal"
    rng = np.random.default_rng(1)
    coloured = dataclasses.replace(
        film,
        observations=rng.integers(0, 256, (8, 3, 20, 24, 3), np.uint8),
        imagined=np.full((7, 3, 20, 24, 3), (200, 40, 30), np.uint8),
        goal=rng.integers(0, 256, (3, 20, 24, 3), np.uint8),
        scenes=[plain(RED, 30, 60) for _ in range(7)],
    )
    picture = pictures_of(coloured)[3]
    left, top, width, height = video._tiles(video._IMAGINES, 3, coloured.goal.shape)[1]
    middle = picture[top + height // 2, left + width // 2]
    assert np.abs(middle - (200, 40, 30)).max() <= 1
    left, top, width, height = video._SCENE  # twice as wide as high, so that there is a margin
    assert (picture[top + 20, left + width // 2] > 240).all()
    assert np.abs(picture[top + height // 2, left + 20] - RED).max() <= 1


def test_a_goal_that_is_not_known_is_not_shaded() -> None:
    row = Quantity("row", "px", 2.0)
    for goal, band in ((None, None), (0.0, (-2.0, 2.0))):
        film = a_film(plotted=row, values=np.linspace(5.0, 30.0, 8), goal_value=goal)
        assert charts_of(film)[1].band == band
