"""A world that nobody knows goes the whole way: in colour, and its episodes end as they like."""

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import cv2
import gymnasium
import numpy as np
import pytest
from dots import Dot
from tiny import CONFIG, leave_undrawn

from e2c.config import Recipe
from e2c.control.base import make_world, make_world_of, problem_spec
from e2c.control.simple import Zero
from e2c.data import episodes as recorded
from e2c.data.episodes import Episodes
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.evaluation.assessment import Outputs, assess_and_film
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.evaluate import evaluate
from e2c.files import runs
from e2c.learning import own
from e2c.learning.collect import collect_transitions
from e2c.learning.run import train
from e2c.models import checkpoint
from envs import Camera
from envs.world import begin

ENV = "Test/Wanderer-v0"
LONGEST = 9
CAMERA = {"size": (6, 8), "colour": True, "frames": 1}


class Wanderer(Dot):
    """A dot whose episodes end after 3 to 11 steps, by chance; after 9 they are cut off."""

    opened: ClassVar[int] = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        Wanderer.opened += 1

    def close(self) -> None:
        Wanderer.opened -= 1

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        found = super().reset(seed=seed)
        self.ends = int(self.np_random.integers(3, 12))
        return found


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Any:
    gymnasium.register(
        ENV, f"{__name__}:Wanderer", max_episode_steps=LONGEST, kwargs={"tells": True}
    )
    yield
    del gymnasium.registry[ENV]


RECIPE = Recipe(dataclasses.replace(CONFIG, env=ENV, camera=Camera(**CAMERA)), seed=3)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "wanderer"
    train(RECIPE, folder)
    return folder


def assert_whole(episodes: Episodes, longest: int = LONGEST) -> None:
    """Nothing of an episode that follows is taken for a part of one."""
    assert episodes.states is not None
    assert episodes.terminated is not None
    for e, T in enumerate(episodes.lengths):
        shown = episodes.frames[episodes.frame_rows(e)][:, 0, 0]
        assert (shown[:, 1] == shown[0, 1]).all(), "one episode"
        np.testing.assert_array_equal(shown[:, 2], 10 * np.arange(T + 1))
        np.testing.assert_array_equal(episodes.states[episodes.moment_rows(e), 2], np.arange(T + 1))
        assert episodes.terminated[e] or longest == T


def test_a_run_ends_with_everything(run: Path) -> None:
    assert runs.finished(run)
    data = [recorded.load(run / "data" / name) for name in ("first.npz", "round_1.npz")]
    assert_whole(data[0], CONFIG.data.episode_length or 0)
    assert_whole(data[1])
    for part in data:
        assert part.goals is not None
        assert part.goals.shape == (len(part), 1, 6, 8, 3)
    about = json.loads((run / runs.SUMMARY).read_text())
    assert about["transitions"] == sum(part.transitions for part in data)
    assert data[0].transitions >= CONFIG.data.transitions
    assert np.isfinite(about["open_loop_error"]).all()
    results = json.loads((run / runs.EVALUATION).read_text())
    assert results["success_rate"] == 1, "two steps in the goal at the end are a quarter"
    assert [3 <= row["steps"] <= LONGEST for row in results["episodes"]] == [True] * 2
    assert not any("oracle" in key for key in results)
    film = cv2.VideoCapture(str(run / runs.VIDEO))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) >= 3
    assert (run / runs.REPORT).stat().st_size > 10_000


def test_no_world_is_left_open_that_is_asked_for_a_while(run: Path, tmp_path: Path) -> None:
    agent, before = load_agent(run), Wanderer.opened
    assess_and_film(agent, 2, 0, Disturbance(), True, Outputs(json=tmp_path / "found.json"))
    own.scores(recorded.load(run / "data" / "round_1.npz"), CONFIG.data, agent.spec)
    assert Wanderer.opened == before


def test_its_agent_sees_and_imagines_in_colour(run: Path) -> None:
    agent = load_agent(run)
    assert agent.spec.observation_shape == (6, 8, 3)
    world = make_world_of(agent.spec, 5)
    found = evaluate(world, agent, 7)
    assert len(set(found.episodes.lengths.tolist())) > 1, "choose a seed"
    assert_whole(found.episodes)
    assert agent.imagine([0, 2]).shape == (5, 2, 6, 8, 3)
    observations, infos = begin(world, np.random.default_rng(1))
    agent.reset(infos["goal"])
    assert agent.act(observations).shape == (5, 2)


def test_a_run_that_was_interrupted_ends_with_the_same_weights(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own round: the first data and the goal are those that it left behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "rollout", lambda *_: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            train(RECIPE, tmp_path / "again")
    assert not (tmp_path / "again" / "data" / "round_1.npz").exists()
    leave_undrawn(monkeypatch)
    train(RECIPE, tmp_path / "again")
    for name in (checkpoint.NAME, "data/first.npz", "data/round_1.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


def test_transitions_are_collected_until_there_are_enough() -> None:
    """Episodes that end early leave some to collect: more are made, until there are enough."""
    one, again = (collect_transitions(ENV, 100, 8, 3, options={"camera": CAMERA}) for _ in range(2))
    assert one.content_hash == again.content_hash
    assert one.transitions >= 100
    assert one.transitions - one.lengths[-1] < 100 + 8
    assert len(set(one.lengths.tolist())) > 2
    assert one.lengths.max() <= 8
    sources = one.provenance["from"]
    assert len(sources) > 1
    assert {source["seed"] for source in sources} == {3}
    assert {source["restarts"] for source in sources} == {False}


@pytest.mark.parametrize(
    "disturbance",
    [
        Disturbance(mass=2.0),
        Disturbance(length=2.0),
        Disturbance(state_noise=2.0),
        Disturbance(perturbed=True),
        Disturbance(kick=2.0),
    ],
    ids=str,
)
def test_disturbances_that_need_more_than_images_are_one_sentence(
    disturbance: Disturbance,
) -> None:
    spec = problem_spec(make_world(ENV, camera=CAMERA), {"camera": CAMERA})
    longer = dataclasses.replace(spec, episode_steps=1000)
    with pytest.raises(E2CError, match=r"^[A-Z-][^\n]*(mass|length|state_noise|perturbed|kick)"):
        disturbance.world(longer, 2, 0)


def test_a_bad_camera_is_for_every_world() -> None:
    spec = problem_spec(make_world(ENV, camera=CAMERA), {"camera": CAMERA})
    calm, noisy = (
        evaluate(world, Zero(world), 7).episodes
        for world in (d.world(spec, 3, 0) for d in (Disturbance(), Disturbance(frame_noise=30.0)))
    )
    assert calm.lengths.tolist() == noisy.lengths.tolist()
    np.testing.assert_array_equal(calm.states, noisy.states)
    assert (calm.frames != noisy.frames).mean() > 0.5
