"""The locally-linear-control suite against its published equations, integrated independently."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from tiny import task_of

from envs.cart_pole import CartPole
from envs.mechanical import MechanicalTask
from envs.planar import PlanarNavigation
from envs.strong_pendulum import PendulumBalance, PendulumReach
from envs.task import Floats, Task
from envs.three_link_arm import ThreeLinkArm

G, M, L = 9.81, 0.1, 0.5


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def pendulum(states: Floats, torque: Floats) -> Floats:
    """Acceleration: a rod's inertia, but gravity as on a mass at the tip."""
    return (M * G * L * np.sin(states[:, :1]) + torque) / (M * L**2 / 3)


def cart_pole(states: Floats, force: Floats) -> Floats:
    """Accelerations of Barto, Sutton & Anderson 1983, for an angle counted the other way."""
    lean, turn, push, total = -states[:, 1], -states[:, 3], force[:, 0], 1.0 + M
    sine, cosine = np.sin(lean), np.cos(lean)
    pull = (push + M * L * turn**2 * sine) / total
    leaning = (G * sine - cosine * pull) / (L * (4 / 3 - M * cosine**2 / total))
    return np.stack([pull - M * L * leaning * cosine / total, -leaning], axis=1)


def arm(states: Floats, torques: Floats) -> Floats:
    """Accelerations of three rods, by Lagrange's equations in the links' absolute angles."""
    to_absolute: Floats = np.tril(np.ones((3, 3)))
    angles, speeds = states[:, :3] @ to_absolute.T, states[:, 3:] @ to_absolute.T
    beyond = np.array([[2.0, 1.5, 0.5], [1.5, 1.0, 0.5], [0.5, 0.5, 0.0]])  # masses carried
    inertia = M * L**2 * (beyond + np.eye(3) / 3)
    apart = angles[:, :, None] - angles[:, None, :]
    mass = to_absolute.T @ (inertia * np.cos(apart)) @ to_absolute + 1e-6 * np.eye(3)
    swing = ((inertia * np.sin(apart)) @ (speeds**2)[:, :, None])[:, :, 0]
    weight = M * G * L * np.array([2.5, 1.5, 0.5]) * np.sin(angles)
    forces = torques + (weight - swing) @ to_absolute
    return np.asarray(np.linalg.solve(mass, forces[:, :, None])[:, :, 0], np.float64)


def runge_kutta(
    accelerate: Callable[[Floats, Floats], Floats],
    states: Floats,
    controls: Floats,
    seconds: float,
    h: float = 0.01,
) -> Floats:
    half = states.shape[1] // 2

    def flow(states: Floats) -> Floats:
        return np.concatenate([states[:, half:], accelerate(states, controls)], axis=1)

    for _ in range(round(seconds / h)):
        a = flow(states)
        b = flow(states + h / 2 * a)
        c = flow(states + h / 2 * b)
        d = flow(states + h * c)
        states = states + h / 6 * (a + 2 * b + 2 * c + d)
    return states


def wrapped(angle: float, limit: float) -> float:
    while angle > limit:
        angle -= 2 * limit
    while angle < -limit:
        angle += 2 * limit
    return angle


def confined(states: Floats, ranges: list[float], speeds: list[float]) -> Floats:
    """Wrap and clip as the published simulator does, number by number."""
    half = len(ranges)
    rows = [[wrapped(row[i], ranges[i]) for i in range(half)] for row in states.tolist()]
    return np.concatenate([rows, np.clip(states[:, half:], -np.array(speeds), speeds)], axis=1)


def test_the_pendulum_follows_its_published_equation(rng: np.random.Generator) -> None:
    env = PendulumReach()
    states, torques = env.sample_states(rng, 150), rng.uniform(-0.65, 0.65, (150, 1))
    after = runge_kutta(pendulum, states, torques, 0.02)
    expected = confined(after, [math.pi], [3 * math.pi])
    assert (after[:, 1] != expected[:, 1]).any()
    assert (after[:, 0] != expected[:, 0]).any()
    np.testing.assert_allclose(env.advance(states, torques), expected, rtol=0, atol=1e-9)


def test_the_cart_pole_follows_its_published_equation(rng: np.random.Generator) -> None:
    env = CartPole()
    states, forces = env.sample_states(rng, 600), rng.uniform(-10, 10, (600, 1))
    states[300:, 1] *= 10  # any angle, not only those of restarts
    after = runge_kutta(cart_pole, states, forces, 0.02)
    expected = confined(after, [math.inf, math.pi], [6.0, 2 * math.pi])
    assert (after != expected).any(axis=0).tolist() == [False, True, True, True]
    np.testing.assert_allclose(env.advance(states, forces), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("strength", [1.0, 0.02])
def test_the_arm_follows_its_published_equation(strength: float, rng: np.random.Generator) -> None:
    env = ThreeLinkArm()
    states = env.sample_states(rng, 700)
    states[:150, :3] *= 0.06  # the upright, where a step is short
    states[150:200, 0] = 3.14  # where the shoulder is wrapped
    torques = rng.uniform(-strength, strength, (700, 3))
    inside = np.abs(states[:, :3].cumsum(axis=1)).max(axis=1) <= math.pi / 6
    assert 20 < inside.sum() < 300
    after = np.where(
        inside[:, None],
        runge_kutta(arm, states, torques, 0.02),
        runge_kutta(arm, states, torques, 0.05),
    )
    ranges = [math.pi, 2 * math.pi / 3, math.pi / 3]
    expected = confined(after, ranges, [math.pi / 2] * 3)
    np.testing.assert_allclose(env.advance(states, torques), expected, rtol=0, atol=1e-9)
    assert (after[:, :3] != expected[:, :3]).any(axis=0).all(), "each joint is wrapped"
    assert (np.abs(after[:, 3:]) < math.pi / 2).mean() > 0.1, "not every speed is clipped"


@pytest.mark.parametrize(
    ("accelerate", "seconds", "task", "limit", "apart"),
    [
        (pendulum, 0.02, PendulumReach, 0.65, [1e-7, 3e-6]),
        (cart_pole, 0.02, CartPole, 10.0, [1e-8, 1e-8, 1e-7, 1e-7]),
        (arm, 0.05, ThreeLinkArm, 1.0, [5e-4, 5e-4, 5e-4, 2e-2, 2e-2, 2e-2]),
    ],
)
def test_its_steps_are_short_enough_for_the_equation(
    accelerate: Callable[[Floats, Floats], Floats],
    seconds: float,
    task: type[MechanicalTask],
    limit: float,
    apart: list[float],
    rng: np.random.Generator,
) -> None:
    env = task()
    states = env.sample_states(rng, 200)
    controls = rng.uniform(-limit, limit, (200, env.control_dim))
    taken, exact = (runge_kutta(accelerate, states, controls, seconds, h) for h in (0.01, 5e-4))
    assert (np.abs(taken - exact).max(axis=0) < apart).all()


@pytest.mark.parametrize("name", ["PendulumReach", "CartPole", "ThreeLinkArm"])
def test_an_unclipped_predecessor_is_found_for_any_state(
    name: str, rng: np.random.Generator
) -> None:
    env = task_of(f"E2C/{name}-v0")
    assert isinstance(env, MechanicalTask)
    states = rng.uniform(-1, 1, (400, env.state_dim)) * env.reach
    earlier = env.previous(states)
    apart = np.abs(env.advance(earlier, np.zeros((400, env.control_dim))) - states).max(axis=1)
    assert (apart < 1e-12).mean() > 0.99
    assert (np.abs(earlier) > env.reach).any(), "it may be beyond what clipping leaves"
    still = np.where(np.arange(env.state_dim) < env.state_dim // 2, states, 0.0)
    np.testing.assert_array_equal(env.previous(still), still)


def test_the_arms_start_is_outside_and_its_step_is_long_there() -> None:
    env = ThreeLinkArm()
    start = env.sample_starts(np.random.default_rng(0), 2)
    assert (start[0] / math.pi).round(9).tolist() == [0.95, 0.65, 0.33, 0, 0, 0]
    assert not env.is_goal(start).any()
    assert env.dt == pytest.approx(0.02)
    slow, fast = np.array([[0.5, 0, 0, 1e-3, 0, 0], [0.55, 0, 0, 1e-3, 0, 0]])
    moved = env.advance([slow, fast], np.zeros((2, 3)))[:, 0] - [0.5, 0.55]
    still = env.advance([slow - [0, 0, 0, 1e-3, 0, 0], fast - [0, 0, 0, 1e-3, 0, 0]], [[0] * 3] * 2)
    gained = moved - (still[:, 0] - [0.5, 0.55])
    assert gained[1] == pytest.approx(2.5 * gained[0], rel=0.1)


def test_goal_regions_are_those_of_the_table() -> None:
    for task in (PendulumBalance(), PendulumReach()):
        states = np.array([[math.pi / 6 - 1e-9, 9], [-math.pi / 6 - 1e-3, 0], [math.pi, 0]])
        assert task.is_goal(states).tolist() == [True, False, False]
    carts = np.array([[2.39, 0.31, 0, 0], [-2.41, 0, 0, 0], [0, -0.32, 0, 0], [0, 0.3, 6, 6]])
    assert CartPole().is_goal(carts).tolist() == [True, False, False, True]
    arms = np.zeros((4, 6))
    arms[:, :3] = [[0.5, -0.9, 0.9], [0.5, 0.1, -0.5], [0, 0, -0.53], [0.53, -0.5, 0]]
    assert ThreeLinkArm().is_goal(arms).tolist() == [True, False, False, False]


def test_balance_starts_exactly_upright_or_perturbed(rng: np.random.Generator) -> None:
    exact, perturbed = PendulumBalance(), PendulumBalance(perturbed=True)
    assert not exact.sample_starts(rng, 3).any()
    state = np.zeros((1, 2))
    for _ in range(100):
        state = exact.advance(state, [[0.0]])
    assert bool(exact.is_goal(state)[0]), "doing nothing scores 100%"
    starts = perturbed.sample_starts(rng, 800)
    assert (np.abs(starts).max(axis=0) <= [0.3, 1.0]).all()
    assert (np.ptp(starts, axis=0) > [0.58, 1.95]).all()
    frames = perturbed.observe(starts)
    assert (frames[:, 0] != frames[:, 1]).any(axis=(1, 2)).mean() > 0.95
    for fewer in (1, 3):
        drawn = [perturbed.sample_starts(np.random.default_rng(1), n) for n in (fewer, 9)]
        np.testing.assert_array_equal(drawn[0], drawn[1][:fewer])


def test_reaching_up_takes_seventeen_steps_from_every_start(rng: np.random.Generator) -> None:
    env = PendulumReach()
    states = env.sample_starts(rng, 60)
    assert (0.9 * math.pi <= states[:, 0]).all()
    assert (states[:, 0] <= 0.95 * math.pi).all()
    assert not states[:, 1].any()
    assert not env.is_goal(states).any()
    for step in range(1, 18):
        states = env.advance(states, np.full((60, 1), -0.65))
        assert env.is_goal(states).all() == (step == 17)
        assert env.is_goal(states).any() == (step == 17)


def test_cart_pole_starts_tilted_and_restarts_near_upright(rng: np.random.Generator) -> None:
    env = CartPole()
    starts, restarts = env.sample_starts(rng, 500), env.sample_states(rng, 500)
    assert not starts[:, [0, 2, 3]].any()
    assert 0.38 < np.abs(starts[:, 1]).max() <= math.pi / 8
    reach = np.abs(restarts).max(axis=0)
    limits = np.array([2.4, math.pi / 10, 6.0, 2 * math.pi])
    assert (reach <= limits).all()
    assert (reach > 0.98 * limits).all()


@pytest.mark.parametrize(
    ("name", "positions"), [("PendulumReach", 1), ("CartPole", 2), ("ThreeLinkArm", 3)]
)
def test_every_thousandth_of_a_radian_or_metre_is_seen(
    name: str, positions: int, rng: np.random.Generator
) -> None:
    env = task_of(f"E2C/{name}-v0")
    states = env.sample_states(rng, 300)
    for i in range(positions):
        moved = env.draw(states + 1e-3 * np.eye(env.state_dim)[i]).astype(int) - env.draw(states)
        assert moved.any(axis=(1, 2)).all(), env.components[i].name
        assert np.abs(moved).max() < 25, "a small move is a small change"


def mirrored(env: Task, state: list[float], axis: int = -1) -> bool:
    states = np.array([state, [-number for number in state]])
    one, other = env.draw(states).astype(int)
    return bool(np.abs(np.flip(one, axis) - other).max() <= 1)


def test_positive_is_counter_clockwise_and_to_the_right() -> None:
    left = CartPole().draw(np.array([[0.0, 0.3, 0, 0]]))[0]
    assert left[30, :39].any()
    assert not left[30, 41:].any()
    right = CartPole().draw(np.array([[2.4, 0.0, 0, 0]]))[0]
    assert right[70, 65:80].all()
    assert not right[:, :60].any()
    reaching = ThreeLinkArm().draw(np.array([[math.pi / 2, 0, 0, 0, 0, 0]]))[0]
    assert reaching[39, 5:40].all()
    assert not reaching[:, 44:].any()
    bent = ThreeLinkArm().draw(np.array([[0, math.pi / 2, 0, 0, 0, 0]]))[0]
    assert bent[28:40, 39].all()
    assert bent[27, 20:38].all()
    assert mirrored(CartPole(), [0.7, 0.2, 0, 0])
    assert mirrored(ThreeLinkArm(), [2.0, -0.7, 0.5, 0, 0, 0])


# -------------------------------------------------------------------------------- the plane


def at(*positions: tuple[float, float]) -> Floats:
    """States at ``positions`` that ask for the first corner."""
    return np.array([[row, column, 37.0, 37.0] for row, column in positions])


def test_an_obstacle_stops_a_step_whose_end_would_lie_on_its_centre() -> None:
    env = PlanarNavigation()
    starts = at((18.0, 5.5), (18.0, 5.5), (18.0, 5.5), (10.5, 18.0), (18.9, 27.5))
    moves = [[1.0, 0.0], [0.9, 0.0], [1.0, 1.6], [0.0, 3.0], [3.0, 2.9]]
    after = env.advance(starts, moves)[:, :2]
    expected = [[18, 5.5], [18.9, 5.5], [19, 7.1], [10.5, 18], [21.9, 30.4]]
    np.testing.assert_allclose(after, expected, atol=1e-12)


def test_the_agent_stays_inside_and_its_goal_stays_put() -> None:
    env = PlanarNavigation()
    after = env.advance(at((2.0, 37.0), (38.0, 3.0)), [[-3.0, 3.0], [2.0, -2.5]])
    np.testing.assert_allclose(after, at((1.5, 38.5), (38.5, 1.5)))
    noisy = PlanarNavigation(state_noise=5.0)
    states = np.tile(at((3.0, 37.0)), (500, 1))
    generators = np.random.default_rng(0).spawn(500)
    seen, still = env.observe(states), np.zeros((500, 2))
    _, after = noisy.transition(seen, states, still, generators=generators)
    assert (after[:, :2].min(), after[:, :2].max()) == (1.5, 38.5)
    assert (after[:, 2:] == 37).all()


def test_three_corners_are_asked_for_about_as_often(rng: np.random.Generator) -> None:
    env = PlanarNavigation()
    starts = env.sample_starts(rng, 900)
    assert 3 <= starts[:, :2].min() < 3.1 < 6.9 < starts[:, :2].max() <= 7
    corners, counts = np.unique(starts[:, 2:], axis=0, return_counts=True)
    assert corners.tolist() == [[3, 37], [37, 3], [37, 37]]
    assert counts.min() > 240
    images = env.observe(env.goal_states(starts))
    assert len(np.unique(images.reshape(900, -1), axis=0)) == 3
    assert env.draw(np.array([[37.0, 3.0, 3.0, 37.0]]))[0, 36, 2] == 255
    near = np.array([[37, 35.1, 37, 37], [37, 35.1, 3, 37], [1.5, 38.3, 3, 37], [35, 35, 37, 37]])
    assert env.is_goal(near).tolist() == [True, False, True, False]


def test_restarts_are_wherever_the_agent_can_be(rng: np.random.Generator) -> None:
    env = PlanarNavigation()
    states = env.sample_states(rng, 4000)
    still = env.advance(states, np.zeros((4000, 2)))
    np.testing.assert_array_equal(still, states)
    apart = np.abs(states[:, None, :2] - np.array(env.obstacles)).max(axis=2)
    assert 1.5 < apart.min() < 1.7
    assert 1.5 <= states[:, :2].min() < 1.6 < 38.4 < states[:, :2].max() <= 38.5
    assert len(np.unique(states[:, 2:], axis=0)) == 3


def test_a_hundredth_of_a_pixel_is_seen(rng: np.random.Generator) -> None:
    env = PlanarNavigation()
    states = env.sample_states(rng, 400)
    for i in range(2):
        moved = env.draw(states + 0.01 * np.eye(4)[i]).astype(int) - env.draw(states)
        assert moved.any(axis=(1, 2)).all()
    empty = env.draw(at((-9.0, -9.0)))[0] / 255
    assert empty.sum() == pytest.approx(6 * math.pi * 2.5**2, rel=0.02)
    assert (empty[[20, 20, 20, 20, 10, 30], [5, 13, 27, 35, 20, 20]] == 1).all()
