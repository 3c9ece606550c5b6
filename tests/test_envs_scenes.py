"""The large pictures: that what they show follows the state and the action."""

import numpy as np
from numpy.typing import NDArray

from envs import scenes


def rod(angle: float, effort: float = 0.0, goal: float | None = 0.0) -> NDArray[np.uint8]:
    return scenes.pendulum(angle, effort, goal=goal, goal_half_width=0.2)


def test_the_pendulum_points_where_the_rod_and_the_torque_do() -> None:
    def changed(effort: float) -> NDArray[np.bool_]:
        still, pushed = (rod(0.0, e) for e in (0.0, effort))
        return (still != pushed).any(axis=2)

    assert changed(1.0)[:, :240].sum() > 20 * changed(1.0)[:, 240:].sum()
    assert changed(-1.0)[:, 240:].sum() > 20 * changed(-1.0)[:, :240].sum()
    assert changed(1.0).sum() > 2 * changed(0.4).sum() > 0


def test_the_pendulum_is_pure_and_large() -> None:
    first = rod(1.0, 0.3)
    first_copy = first.copy()
    rod(2.0, -0.3)
    np.testing.assert_array_equal(rod(1.0, 0.3), first_copy)
    assert first.shape == (480, 480, 3)


def marked(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.abs(picture.astype(int) - colour).max(axis=2) < 12


AMBER, GREEN = (245, 158, 11), (16, 185, 129)


def cart(position: float, angle: float, effort: float) -> NDArray[np.uint8]:
    return scenes.cart_pole(position, angle, effort, track=2.4, goal=0.0, goal_half_width=0.3)


def test_the_carts_arrow_points_where_it_is_pushed() -> None:
    right, left = (marked(cart(0.0, 0.0, effort), AMBER) for effort in (1.0, -1.0))
    assert right[:, 264:].sum() > 115 > right[:, :216].sum()
    assert left[:, :216].sum() > 115 > left[:, 264:].sum()
    assert not marked(cart(0.0, 0.0, 0.0), AMBER).any()


def test_a_cart_far_off_its_track_is_out_of_the_picture() -> None:
    np.testing.assert_array_equal(cart(90.0, 0.0, 1.0), cart(95.0, 0.0, -1.0))


def test_the_tip_is_green_where_the_goal_is_reached() -> None:
    def arm(angles: list[float]) -> int:
        picture = scenes.arm(np.array(angles), np.zeros(3), goal=np.zeros(3), goal_half_width=0.5)
        return int(marked(picture, GREEN).sum())

    assert arm([0.4, -0.4, 0.4]) > arm([0.4, -0.6, 0.4]) + 58
    assert marked(cart(0.0, 0.2, 0.0), GREEN).sum() > marked(cart(0.0, 0.4, 0.0), GREEN).sum() + 58


def test_rows_run_down_and_columns_to_the_right_on_the_plane() -> None:
    agent, goal = np.array([9.0, 30.0]), np.array([37.0, 3.0])
    picture = scenes.plane(
        agent,
        np.array([3.0, 0.0]),
        goal,
        obstacles=np.array([[20.0, 20.0]]),
        radii=(1.5, 2.5, 2.0),
        side=40.0,
    )
    rows, columns = np.nonzero(marked(picture, AMBER))
    assert 108 < rows.min() < rows.max() < 240
    assert 312 < columns.min() < columns.max() < 384
    assert (picture[420:456, 48:84] != 255).any(), "the goal region"
