"""Films of a camera and nothing else: what is learned from them, and what then acts."""

import os
from pathlib import Path

import numpy as np
import pytest
from tiny import CONFIG, leave_undrawn, shorten_runs

from benchmarks import films
from benchmarks.films import CAMERA, Films, LiveAgents
from benchmarks.store import read
from e2c.control.base import make_world
from e2c.data.episodes import RECORDING
from e2c.door import load_agent
from e2c.files.runs import TRAINED
from e2c.presets import HEADLINE
from envs import Camera
from envs.mujoco_graphics import choose_graphics


def test_films_alone_are_learned_from_and_an_agent_acts_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose_graphics()
    if "MUJOCO_GL" not in os.environ:
        pytest.skip("no graphics library that needs no display; on Debian: apt install libosmesa6")
    shorten_runs(monkeypatch, 9)
    leave_undrawn(monkeypatch)
    small = Camera((24, 24), CAMERA.colour, CAMERA.frames, renderer=CAMERA.renderer)
    monkeypatch.setattr(films, "CAMERA", small)
    monkeypatch.setattr(films, "STARTS", 3)
    monkeypatch.setattr(films, "preset", lambda *_: CONFIG)
    Films(cell="5", transitions=(18,), results=tmp_path)()
    found = read(tmp_path / "films" / "18" / "5.json")
    assert found["options"]["filmed"] == 18
    assert found["transitions"] == 16, "two episodes, whose first observations have two frames"
    assert len(found["episodes"]) == 3
    assert (found["config"]["env"], found["config"]["data"]["rounds"]) == (RECORDING, 0)
    Films(seeds=(), transitions=(18,), results=tmp_path)()
    assert capsys.readouterr().out.splitlines()[2].startswith("| seed 5 | 16 | ")


def test_each_episode_has_an_agent_of_its_own_with_the_same_model() -> None:
    agent = load_agent(TRAINED)
    seen = make_world(HEADLINE, 3).reset(seed=3, options={"restart": True})[0]
    live, other = LiveAgents(agent, 3), LiveAgents(agent, 1)
    live.reset(None)
    together = live.act(seen)
    assert together.shape == (3, 1)
    for b in range(3):
        other.reset(None)
        np.testing.assert_array_equal(other.act(seen[b : b + 1]), together[b : b + 1])
