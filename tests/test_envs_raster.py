"""The drawn rod: where it is, how it mirrors, and that the smallest move shows."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from envs import raster


def rods(angles: NDArray[np.float64], size: int = 48) -> NDArray[np.uint8]:
    return raster.rods(angles, length=19.0, radius=2.75, size=size)


def all_around(n: int) -> NDArray[np.float64]:
    return np.random.default_rng(1).uniform(-math.pi, math.pi, n)


def test_it_agrees_with_a_rod_sampled_four_hundred_times_a_pixel() -> None:
    fine = (np.arange(48 * 20) + 0.5) / 20 - 24
    for angle in (0.3, 2.0, -1.1):
        axis = np.array([-math.sin(angle), math.cos(angle)])
        right, up = np.meshgrid(fine, -fine)
        along = np.clip(axis[0] * right + axis[1] * up, 0, 19.0)
        inside = (right - along * axis[0]) ** 2 + (up - along * axis[1]) ** 2 <= 2.75**2
        exact = 255 * inside.reshape(48, 20, 48, 20).mean(axis=(1, 3))
        assert np.abs(rods(np.array([angle]))[0] - exact).max() < 0.13 * 255


def test_every_thousandth_of_a_radian_changes_the_image() -> None:
    angles = all_around(3000)
    moved = rods(angles + 1e-3).astype(int) - rods(angles)
    assert moved.any(axis=(1, 2)).all()
    assert np.abs(moved).max() <= 8, "a small move is a small change"


def test_the_change_is_even_around_the_turn() -> None:
    angles = np.linspace(-math.pi, math.pi, 721)
    change = np.abs(np.diff(rods(angles).astype(float), axis=0)).sum(axis=(1, 2))
    assert change.max() < 1.5 * change.min()


def test_the_brightness_does_not_depend_on_the_angle() -> None:
    total = rods(all_around(200)).sum(axis=(1, 2)) / 255
    area = 2 * 2.75 * 19 + math.pi * 2.75**2
    np.testing.assert_allclose(total, area, rtol=0.015)


def test_positive_angles_turn_counter_clockwise() -> None:
    left, down, right = rods(np.array([math.pi / 2, math.pi, -math.pi / 2]))
    assert left[23, 5] == 255
    assert not left[:, 30:].any()
    assert down[42, 23] == 255
    assert not down[:18].any()
    assert right[23, 42] == 255


def test_mirrored_angles_give_mirrored_frames() -> None:
    angles = all_around(50)
    np.testing.assert_array_equal(rods(-angles), rods(angles)[:, :, ::-1])
    upside_down = rods(np.array([math.pi - 0.4, 0.4]))
    assert np.abs(upside_down[0, ::-1].astype(int) - upside_down[1]).max() <= 1


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_any_number_of_frames_comes_out_in_order(n: int) -> None:
    angles = all_around(n)
    frames = rods(angles, size=52)
    assert frames.shape == (n, 52, 52)
    for i in range(0, n, 31):
        np.testing.assert_array_equal(frames[i], rods(angles[i : i + 1], size=52)[0])


def sampled(inside: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Brightness of a frame, of whether each of 20 x 20 points in a pixel is white."""
    height, width = shape
    return 255 * inside.reshape(height, 20, width, 20).mean(axis=(1, 3))


def points(shape: tuple[int, int]) -> NDArray[np.float64]:
    """(row, column) of 20 x 20 points in every pixel."""
    axes = [(np.arange(20 * size) + 0.5) / 20 for size in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def test_capsules_agree_with_a_union_sampled_four_hundred_times_a_pixel() -> None:
    shape = (30, 46)
    starts = np.array([[[4.3, 5.1], [20.2, 30.7]], [[24.0, -3.0], [14.5, 44.0]]])
    ends = np.array([[[17.9, 22.4], [20.2, 30.7]], [[24.0, 60.0], [3.0, 31.0]]])
    frames = raster.capsules(starts, ends, radius=2.5, shape=shape)
    p = points(shape)
    for n in range(2):
        inside = np.zeros(p.shape[:2], bool)
        for start, end in zip(starts[n], ends[n], strict=True):
            along = end - start
            share = np.clip((p - start) @ along / max(along @ along, 1e-12), 0, 1)
            inside |= np.linalg.norm(p - start - share[..., None] * along, axis=-1) <= 2.5
        assert np.abs(frames[n] - sampled(inside, shape)).max() < 0.13 * 255


def test_a_capsule_that_nobody_sees_leaves_the_frame_black() -> None:
    away = np.array([[[-40.0, 7.0]], [[5.0, 400.0]], [[50.0, -50.0]]])
    assert not raster.capsules(away, away + 3, radius=2.0, shape=(12, 20)).any()


def test_capsules_do_not_depend_on_their_neighbours() -> None:
    rng = np.random.default_rng(3)
    starts, ends = rng.uniform(0, 40, (2, 131, 3, 2))
    ends[5] += 200.0
    together = raster.capsules(starts, ends, radius=1.5, shape=(40, 44))
    for i in (0, 5, 64, 130):
        one = slice(i, i + 1)
        alone = raster.capsules(starts[one], ends[one], radius=1.5, shape=(40, 44))
        np.testing.assert_array_equal(alone[0], together[i])


def test_boxes_light_every_pixel_by_the_share_that_they_cover() -> None:
    shape = (11, 17)
    centres = np.array([[4.3, 8.85], [0.5, 16.4], [10.0, -20.0]])
    frames = raster.boxes(centres, half=(1.5, 2.25), shape=shape)
    for frame, centre in zip(frames, centres, strict=True):
        inside = (np.abs(points(shape) - centre) <= [1.5, 2.25]).all(axis=-1)
        assert np.abs(frame - sampled(inside, shape)).max() < 0.03 * 255
    moved = raster.boxes(centres + np.array([0.0, 0.01]), half=(1.5, 2.25), shape=shape)
    assert (moved != frames).any(axis=(1, 2)).tolist() == [True, True, False]
