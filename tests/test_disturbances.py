"""What the world does besides: each does what it says, to the world and not to the agent."""

import dataclasses
import json

import numpy as np
import pytest
from dots import dots
from tiny import ENV, shorten_runs

import e2c
import envs
from e2c.control.agent import Agent
from e2c.control.base import make_world, problem_spec, rollout
from e2c.control.simple import Zero
from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.evaluation.assessment import assess
from e2c.evaluation.bad_camera import BadCamera, Faults
from e2c.evaluation.disturbances import Delayed, Disturbance, Pushed
from e2c.evaluation.evaluate import evaluate
from envs.world import World, layout_of, simulated

STEPS = 12


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    """The shipped agent, in short episodes."""
    shorten_runs(monkeypatch, STEPS)
    found = e2c.load_agent(e2c.TRAINED)
    spec = dataclasses.replace(found.spec, episode_steps=STEPS)
    options = dataclasses.replace(found.options, horizon=5, first_iterations=2, restarts=2)
    return Agent(found.model, spec, options)


def states_of(episodes: Episodes) -> np.ndarray:
    assert episodes.states is not None
    return episodes.states.reshape(len(episodes), -1, episodes.states.shape[-1])


def test_disturbances_change_the_world_and_not_the_agent(agent: Agent) -> None:
    calm = states_of(assess(agent, 2, 7, oracle=False).agent.episodes)
    for disturbance in (
        Disturbance(mass=1.3),
        Disturbance(length=1.1),
        Disturbance(frame_noise=20.0),
        Disturbance(black_frames=0.5),
        Disturbance(state_noise=1.0),
    ):
        found = assess(agent, 2, 7, disturbance, oracle=False)
        disturbed = states_of(found.agent.episodes)
        assert (disturbed[:, -1] != calm[:, -1]).any(), disturbance
        np.testing.assert_array_equal(disturbed[:, 0], calm[:, 0])
        json.dumps(found.results, allow_nan=False)


def test_noise_on_the_state_is_the_same_for_agent_and_oracle(agent: Agent) -> None:
    noise = Disturbance(state_noise=2.0)
    one, again = (assess(agent, 3, 7, noise) for _ in range(2))
    assert one.oracle is not None
    untimed = {"seconds": 0, "oracle_seconds": 0}
    assert one.results | untimed == again.results | untimed
    zero = [noise.world(agent.spec, 3, 7) for _ in range(2)]
    drawn = [states_of(evaluate(world, Zero(world), 7).episodes) for world in zero]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    still = states_of(evaluate(zero[0], Zero(zero[0]), 8).episodes)
    assert (still != drawn[0]).any()


def test_perturbed_starts_are_those_of_the_task_that_has_them(agent: Agent) -> None:
    spec = problem_spec(make_world("E2C/PendulumBalance-v0"))
    starts = []
    for perturbed in (False, True):
        world = Disturbance(perturbed=perturbed).world(spec, 3, 0)
        world.reset(seed=5)
        starts.append(simulated(world, "The test").states)
    assert not starts[0].any()
    assert starts[1].all()
    with pytest.raises(E2CError, match="perturbed"):
        assess(agent, 2, 7, Disturbance(perturbed=True), oracle=False)


DISTURBANCES = {
    "mass": Disturbance(mass=1.3),
    "length": Disturbance(length=1.1),
    "perturbed": Disturbance(perturbed=True),
    "state_noise": Disturbance(state_noise=1.0),
    "kick": Disturbance(kick=0.1),
}
KNOWN = {"E2C/PendulumSwingUp-v0": {"mass", "length"}, "E2C/PendulumBalance-v0": {"perturbed"}}
"""Which of them a task knows; noise comes in all, and a kick where episodes outlast 6 s."""


@pytest.mark.parametrize("name", DISTURBANCES)
@pytest.mark.parametrize("env", envs.ENVIRONMENTS)
def test_a_disturbance_that_a_task_does_not_know_is_one_sentence(env: str, name: str) -> None:
    spec = problem_spec(make_world(env))
    known = KNOWN.get(env, set()) | {"state_noise"}
    if spec.episode_steps * spec.dt > 6:
        known |= {"kick"}
    if name in known:
        assert DISTURBANCES[name].world(spec, 2, 0).num_envs == 2
        return
    with pytest.raises(E2CError) as caught:
        DISTURBANCES[name].world(spec, 2, 0)
    message = str(caught.value)
    assert name in message
    assert "leave it out" in message
    assert message.count(". ") == 0


def test_a_kick_lasts_a_quarter_of_a_second_after_six() -> None:
    """The velocity gains what the push gives in each of five steps, whatever the agent does."""
    spec = problem_spec(make_world(ENV))
    calm, kicked = (
        states_of(evaluate(world, Zero(world), 7).episodes)
        for world in (d.world(spec, 3, 7) for d in (Disturbance(), Disturbance(kick=2.5)))
    )
    np.testing.assert_array_equal(calm[:, :121], kicked[:, :121])
    gained = kicked[:, 121, 1] - calm[:, 121, 1]
    np.testing.assert_allclose(gained, 0.05 * 3 * 2.5)
    world = Disturbance(kick=2.5).world(spec, 3, 7)
    assert isinstance(world, Pushed)
    assert list(world.steps) == [120, 121, 122, 123, 124]


def test_a_kick_that_would_not_come_is_refused(agent: Agent) -> None:
    with pytest.raises(
        E2CError, match=r"--kick comes 6 s into an episode, and one of .* lasts 0.6"
    ):
        Disturbance(kick=1.0).world(agent.spec, 2, 0)
    spec = dataclasses.replace(agent.spec, episode_steps=1000)
    with pytest.raises(E2CError, match="--kick needs a world whose states can be read and set"):
        Pushed(dots(2), 1.0, 0.0, spec)


def bad(world: World, faults: Faults, frames: np.ndarray) -> np.ndarray:
    """New frames ``[B, ...]`` as a bad camera shows them."""
    camera = BadCamera(world, faults, np.random.default_rng(0))
    camera.start = np.zeros((len(frames), 2))
    return camera._look(frames)


def test_noise_on_frames_has_the_deviation_asked_for() -> None:
    world = make_world(ENV, 5)
    seen = np.full((5, 48, 48), 128, np.uint8)
    noisy = bad(world, Faults(noise=10.0), seen)
    assert noisy.dtype == np.uint8
    assert noisy.std() == pytest.approx(10, rel=0.03)
    dark = bad(world, Faults(noise=10.0), 0 * seen)
    assert dark.max() < 80, "it does not wrap around"


@pytest.mark.parametrize("colour", [False, True])
def test_black_frames_are_as_many_as_asked_for(colour: bool) -> None:
    world = dots(500) if colour else make_world(ENV, 500)
    shape = (500, *layout_of(world).frame_shape)
    seen = bad(world, Faults(black=0.25), np.full(shape, 7, np.uint8))
    assert set(np.unique(seen)) == {0, 7}
    black = (seen == 0).reshape(500, -1)
    np.testing.assert_array_equal(black.all(-1), black.any(-1))
    assert black.all(-1).mean() == pytest.approx(0.25, abs=0.03)


def test_blind_steps_are_counted(agent: Agent) -> None:
    results = assess(agent, 3, 7, Disturbance(black_frames=1.0), oracle=False).results
    assert results["faults"]["blind"] == 3 * STEPS
    assert [row["faults"]["blind"] for row in results["episodes"]] == [STEPS] * 3


def test_a_bad_camera_is_as_bad_again_with_the_same_seed() -> None:
    spec = problem_spec(make_world(ENV))
    bad = Disturbance(frame_noise=10.0, black_frames=0.2)
    one, again, other = (
        rollout(world, Zero(world), 3, np.random.default_rng(0)).frames
        for world in (bad.world(spec, 3, seed) for seed in (1, 1, 2))
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_a_bad_camera_is_one_of_any_world() -> None:
    world = BadCamera(dots(2), Faults(noise=30.0, black=0.2), np.random.default_rng(0))
    episodes = rollout(world, Zero(world), 5, np.random.default_rng(1))
    assert episodes.frames.shape == (2 * (5 + 2), 6, 8, 3)


def test_a_frame_looks_the_same_in_every_observation_that_shows_it() -> None:
    bad_camera = Disturbance(frame_noise=10.0, black_frames=0.2, patch=12, brightness=-5.0)
    world = bad_camera.world(problem_spec(make_world(ENV)), 3, 0)
    before, _ = world.reset(seed=0)
    for _ in range(4):
        after = world.step(np.zeros((3, 1)))[0]
        np.testing.assert_array_equal(before[:, 1], after[:, 0])
        before = after


def test_brightness_and_contrast_change_every_pixel_within_the_grey_levels() -> None:
    world, frames = make_world(ENV, 2), np.array([0, 100, 250], np.uint8).repeat(2).reshape(2, 1, 3)
    np.testing.assert_array_equal(
        bad(world, Faults(brightness=20.0), frames), frames.clip(0, 235) + 20
    )
    darker = bad(world, Faults(contrast=-0.2), frames)
    np.testing.assert_array_equal(darker, np.rint(0.8 * frames))


def test_the_patch_has_its_size_and_moves_within_the_frame() -> None:
    camera = BadCamera(make_world(ENV, 2), Faults(patch=12), np.random.default_rng(0))
    camera.start = np.array([[20.0, 20.0], [47.0, 0.0]])
    sizes, places = [], []
    for camera.t in range(100):
        seen = camera._look(np.zeros((2, 48, 48), np.uint8)) == 128
        sizes.append(seen.sum((1, 2)))
        places.append(seen[0].any(0).argmax())
    assert np.max(sizes) == 144
    assert np.min(sizes) >= 36, "a quarter of it at least is inside"
    assert len(set(places)) > 20


def test_a_blind_camera_sees_nothing_for_as_long_as_asked_for() -> None:
    spec = problem_spec(make_world(ENV))
    world = Disturbance(blind=0.5).world(spec, 2, 0)
    frames = rollout(world, Zero(world), 140, np.random.default_rng(0)).frames.reshape(2, 142, -1)
    dark = frames.max(-1) == 0
    np.testing.assert_array_equal(np.flatnonzero(dark[0]), np.arange(121, 131))
    with pytest.raises(E2CError, match=r"--blind comes 6 s into an episode"):
        Disturbance(blind=0.5).world(dataclasses.replace(spec, episode_steps=100), 2, 0)


def test_a_delay_lets_controls_act_later() -> None:
    given = np.random.default_rng(0).uniform(-2, 2, (6, 2, 1))
    prompt, late = make_world(ENV, 2), Delayed(make_world(ENV, 2), 2)
    for world in (prompt, late):
        world.reset(seed=3)
    for control in np.concatenate((np.zeros((2, 2, 1)), given)):
        prompt.step(control)
    for control in np.concatenate((given, np.zeros((2, 2, 1)))):
        late.step(control)
    expected, found = (simulated(world, "").states for world in (prompt, late))
    np.testing.assert_allclose(found, expected)


def test_friction_brakes() -> None:
    """From the same state, the velocity after a step is lower by what friction took."""
    spec = problem_spec(make_world(ENV))
    worlds = [make_world(ENV, 2), Disturbance(friction=0.3).world(spec, 2, 0)]
    for world in worlds:
        world.reset(seed=0, options={"states": np.array([[0.3, 2.0], [1.0, -4.0]])})
        world.step(np.zeros((2, 1)))
    free, braked = (simulated(world, "").states[:, 1] for world in worlds)
    np.testing.assert_allclose(free - braked, 0.05 * 3 * 0.3 * np.array([2.0, -4.0]), rtol=1e-6)
    cart = problem_spec(make_world("E2C/CartPole-v0"))
    with pytest.raises(E2CError, match="--friction needs a velocity for each control"):
        Disturbance(friction=0.3).world(cart, 2, 0)
