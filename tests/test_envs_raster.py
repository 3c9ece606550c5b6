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


def test_the_scene_points_where_the_rod_and_the_torque_do() -> None:
    def changed(effort: float) -> NDArray[np.bool_]:
        still, pushed = (raster.scene(0.0, e, goal_half_width=0.2) for e in (0.0, effort))
        return (still != pushed).any(axis=2)

    assert changed(1.0)[:, :240].sum() > 20 * changed(1.0)[:, 240:].sum()
    assert changed(-1.0)[:, 240:].sum() > 20 * changed(-1.0)[:, :240].sum()
    assert changed(1.0).sum() > 2 * changed(0.4).sum() > 0


def test_the_scene_is_pure_and_of_the_size_asked_for() -> None:
    first = raster.scene(1.0, 0.3, goal_half_width=0.2, size=200)
    first_copy = first.copy()
    raster.scene(2.0, -0.3, goal_half_width=0.2, size=200)
    np.testing.assert_array_equal(raster.scene(1.0, 0.3, goal_half_width=0.2, size=200), first_copy)
    assert first.shape == (200, 200, 3)
