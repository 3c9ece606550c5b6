"""Somebody's environment that is not as it should be: one sentence says what and where."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from dots import Dot

from e2c.control.agent import Agent, PlannerConfig
from e2c.control.base import make_world, rollout
from e2c.control.simple import Zero
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.evaluation.evaluate import evaluate
from e2c.files.runs import TRAINED
from envs.faults import failure

CAMERA = {"size": (6, 8), "frames": 1}
CODE = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box


class Mine(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space, action_space = Box(-1, 1, (1,)), Box(-1, 1, (1,))

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}

    def render(self):
        return np.eye(8, dtype=np.uint8)[..., None].repeat(3, 2)


gymnasium.register("Mine-v0", "MODULE:Mine", max_episode_steps=5)
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a module with something replaced, and return its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def write(old: str = "", new: str = "") -> str:
        assert old in CODE
        name = f"own_module_{len(names)}_{tmp_path.name}".replace("-", "_")
        names.append(name)
        (tmp_path / f"{name}.py").write_text(CODE.replace(old, new, 1).replace("MODULE", name))
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)
    for env_id in ("Mine-v0", "Mine-v1"):
        gymnasium.registry.pop(env_id, None)


Write = Callable[..., str]


def play(module: str, env_id: str = "Mine-v0") -> None:
    world = make_world(f"{module}:{env_id}", 2, camera=CAMERA)
    rollout(world, Zero(world), 3, np.random.default_rng(0))


def test_one_that_is_as_it_should_be_is_played(written: Write) -> None:
    play(written())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("        return np.zeros(1, np.float32), 0.0", "        return self.no, 0.0",
         r"fails in step\(\) of MODULE.py, line 19, with AttributeError: 'Mine' object has no"),
        ("        return np.eye", "        return self.no + np.eye",
         r"fails in render\(\) of MODULE.py, line 22, with AttributeError"),
        ("0.0, False, False, {}", "0.0, False, {}",
         r"fails with ValueError: not enough values.*; reset\(.*step\(action\) an observation, a"),
        (", *, seed=None, options=None", "",
         r"fails with TypeError: .*'seed'; reset\(seed, options\) must return"),
        ("def render(self):", "def render(self)", r"fails with SyntaxError: .*MODULE.py, line 21"),
        ("import numpy as np", "import numpy as np\nfrom numpy import nonsense",
         r"MODULE fails in MODULE.py, line 4, with ImportError"),
        ('"MODULE:Mine"', '"MODULE:Yours"',
         "is registered as MODULE:Yours, which has no Yours: correct that"),
        ('"MODULE:Mine"', '"no_such_module:Mine"',
         "is registered as no_such_module:Mine, and there is no module no_such_module"),
        ("import numpy as np", "import numpy as np\nimport no_such_module",
         r"cannot be imported \(No module named 'no_such_module'\)"),
        ('"Mine-v0"', '"Mine-v1"', "MODULE registers no 'Mine-v0'; valid are: MODULE:Mine-v1"),
        ('gymnasium.register("Mine-v0", "MODULE:Mine", max_episode_steps=5)', "",
         r'MODULE was imported and registers no .*: gymnasium.register\("Mine-v0", "MODULE:CLASS"'),
        ("np.uint8", "np.float64", "renders float64 of shape"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_what_is_wrong_with_it_is_one_sentence(
    written: Write, old: str, new: str, told: str
) -> None:
    module = written(old, new)
    with pytest.raises(E2CError, match=told.replace("MODULE", module)) as raised:
        play(module)
    assert "\n" not in str(raised.value)
    assert not re.search(r"\.\.|\. [A-Z]", str(raised.value)), "one sentence"


def test_a_class_may_be_registered_itself(written: Write) -> None:
    module = written('"MODULE:Mine"', "Mine")
    play(module)
    with pytest.raises(E2CError, match=f"valid are: {module}:Mine-v0"):
        play(module, "Mine-v7")


def test_the_name_of_a_file_is_not_that_of_a_module(tmp_path: Path) -> None:
    for text in ("mine.py:Mine-v0", f"{tmp_path}/mine.py:Mine-v0"):
        told = r"names a file; write mine:Mine-v0, and add the folder of mine\.py to PYTHONPATH"
        with pytest.raises(E2CError, match=told):
            make_world(text)


def test_an_id_alone_is_told_that_it_needs_its_module() -> None:
    with pytest.raises(E2CError, match="and one of yours with its module: module:Mine-v0"):
        make_world("Mine-v0")


def test_actions_of_another_shape_are_refused_and_others_limited(written: Write) -> None:
    world = make_world(f"{written()}:Mine-v0", 2, camera=CAMERA)
    world.reset(seed=0)
    world.step(np.full((2, 1), 7.0, np.float32))
    for wrong in (np.zeros((3, 1)), np.zeros(2), np.full((2, 1), np.nan)):
        with pytest.raises(E2CError, match=r"takes finite numbers of shape \[2, 1\]"):
            world.step(wrong)


def test_what_the_world_has_besides_is_still_there(written: Write) -> None:
    world: Any = make_world(f"{written()}:Mine-v0", 2, camera=CAMERA)
    assert len(world.envs) == 2
    assert world.get_attr("render_mode") == ("rgb_array", "rgb_array")


def test_a_lack_of_memory_stays_what_it_is(written: Write) -> None:
    module = written("        return np.eye", "        raise MemoryError\n        return np.eye")
    with pytest.raises(MemoryError):
        make_world(f"{module}:Mine-v0", camera=CAMERA)


def test_an_error_without_words_is_a_sentence_too() -> None:
    try:
        raise AssertionError
    except AssertionError as error:
        told = failure("Mine-v0", error)
    assert re.search(r"^Mine-v0 fails in .* of test_own_environment.py, line \d+, with Asser", told)


@pytest.mark.parametrize("make", [Dot, lambda: load_agent(TRAINED)], ids=["episode", "agent"])
def test_what_is_no_world_is_refused(make: Callable[[], Any]) -> None:
    given = make()
    told = rf"A world is a gymnasium.vector.VectorEnv; got {type(given).__name__}: give what"
    with pytest.raises(E2CError, match=told):
        evaluate(given, load_agent(TRAINED))


def test_a_goal_may_be_given_to_an_agent_as_a_picture_or_a_file(tmp_path: Path) -> None:
    """As training takes it: what the agent steers for is that of the observation."""
    import cv2

    agent = load_agent(TRAINED)
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[10:50, 40:56] = 255
    cv2.imwrite(str(tmp_path / "goal.png"), picture)
    np.save(tmp_path / "goal.npy", picture)
    frame = cv2.resize(picture[..., 0], (48, 48), interpolation=cv2.INTER_AREA)
    wanted = goal_of(agent, np.stack([frame, frame]))
    arrays = (picture, frame, picture[..., 0], torch.from_numpy(picture))
    for given in (*arrays, tmp_path / "goal.png", tmp_path / "goal.npy"):
        np.testing.assert_allclose(goal_of(agent, given), wanted, atol=1e-5)
    with pytest.raises(E2CError, match=r"there is no such file.*give the path of a picture"):
        agent.reset(goal=tmp_path / "none.png")


def goal_of(agent: Agent, goal: Any) -> Any:
    """Return where an agent is that is given a goal."""
    agent = Agent(agent.model, agent.spec, PlannerConfig())
    agent.reset(goal=goal)
    return agent._goal
