"""An agent behind a live camera sees what an environment with that camera shows."""

import re
import runpy
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dots import Dot
from numpy.typing import NDArray
from tiny import MODEL, ROOT, SPEC, generator, images

import e2c
from e2c.control.agent import Agent, PlannerConfig
from e2c.control.live import LiveAgent
from e2c.data.formats import ImportOptions, import_recording
from e2c.errors import E2CError
from e2c.models.methods import build_model
from e2c.report.video import write_video
from envs.camera import Camera, look

PICTURES = np.random.default_rng(5).integers(0, 256, (7, 30, 40, 3)).astype(np.uint8)
CAMERAS = [
    Camera(size=(12, 6), frames=3),
    Camera(size=(12, 6), frames=1, crop=(2, 26, 10, 22)),
    Camera(size=(12, 6), frames=2, colour=True),
]


class Shown(Dot):
    """Shows one picture after another."""

    def render(self) -> Any:
        return PICTURES[self.t]


def agent_of(camera: Camera, size: tuple[int, int] | None = None) -> Agent:
    """An untrained agent that would have learned behind a camera, from pictures of a size."""
    told = {"camera": asdict(camera)}
    spec = replace(SPEC, observation_shape=camera.shape, options=told, picture_size=size)
    noise = images(20, replace(SPEC, observation_shape=spec.planes))
    model = build_model(MODEL, spec, noise[0], 0).eval()
    with torch.no_grad():
        for parameter in model.transition.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator(3)))
    model.measure(noise)
    return Agent(
        model, spec, PlannerConfig(horizon=5, first_iterations=3, restarts=2, control_weight=1e-3)
    )


@pytest.mark.parametrize("camera", CAMERAS, ids=["grey", "one frame of a crop", "colour"])
def test_it_acts_as_in_an_environment_with_its_camera(camera: Camera) -> None:
    agent, live = agent_of(camera), LiveAgent(agent_of(camera))
    env = look(Shown(), camera)
    for _ in range(2):
        observation, _ = env.reset(seed=0)
        agent.reset(PICTURES[0])
        live.reset(PICTURES[0])
        for picture in PICTURES[:-1]:
            wanted, found = agent.act(np.asarray(observation)), live.act(picture)
            np.testing.assert_array_equal(found, wanted)
            observation = env.step(wanted)[0]
    assert live.dt == SPEC.dt


def test_grey_pictures_are_seen_as_those_of_a_recording() -> None:
    camera = CAMERAS[0]
    agent, live = agent_of(camera), LiveAgent(agent_of(camera))
    grey = PICTURES[..., 1]
    frames: list[NDArray[np.uint8]] = [camera.frame(grey[0])] * 2
    for picture in grey:
        frames.append(camera.frame(picture))
        np.testing.assert_array_equal(live.act(picture), agent.act(np.stack(frames[-3:])))


def test_a_picture_of_another_resolution_is_cropped_at_the_same_place(tmp_path: Path) -> None:
    camera, larger = CAMERAS[1], PICTURES.repeat(3, 1).repeat(3, 2)
    cv2.imwrite(str(tmp_path / "goal.png"), larger[3][..., ::-1])
    live, agent = (LiveAgent(agent_of(camera, (30, 40))) for _ in range(2))
    live.reset(tmp_path / "goal.png")
    agent.reset(PICTURES[3])
    for picture, same in zip(larger, PICTURES, strict=True):
        np.testing.assert_array_equal(live.act(picture), agent.act(same))
        np.testing.assert_array_equal(live.act(picture[..., 1]), agent.act(same[..., 1]))


def test_a_picture_of_another_shape_is_refused() -> None:
    upright = PICTURES[0].transpose(1, 0, 2)
    live = LiveAgent(agent_of(CAMERAS[0], (30, 40)))
    for act in (live.act, live.reset):
        for picture in (upright, upright[..., 1]):
            told = "The picture of 40x30 pixels .* has another shape than .* of 30x40; take one"
            with pytest.raises(E2CError, match=told):
                act(picture)
    with pytest.raises(E2CError, match="has another shape"):
        live.act(np.zeros((0, 0), np.uint8))
    LiveAgent(agent_of(CAMERAS[0])).act(upright)


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (None, "The camera's picture is nothing; a camera needs a picture, uint8 of"),
        (PICTURES[0] / 255, r"The camera's picture is float64 of shape \[30, 40, 3\]"),
        (PICTURES[0, ..., :2], r"The camera's picture is uint8 of shape \[30, 40, 2\]"),
        ([[1, 2], [3]], r"The camera's picture is no array; a camera"),
        (PICTURES[0, :9], r"The crop \[2, 26, 10, 22\] .* is not inside the picture of 9x40"),
    ],
)
def test_what_is_no_picture_is_refused_and_forgotten(picture: Any, told: str) -> None:
    live, other = (LiveAgent(agent_of(CAMERAS[1])) for _ in range(2))
    with pytest.raises(E2CError, match=told) as raised:
        live.act(picture)
    assert re.fullmatch(r"[^\n]+\.", str(raised.value))
    np.testing.assert_array_equal(live.act(PICTURES[0]), other.act(PICTURES[0]))


def test_a_goal_is_a_picture_of_the_camera_or_its_file(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "goal.png"), PICTURES[3][..., ::-1])
    given, read = (LiveAgent(agent_of(CAMERAS[2])) for _ in range(2))
    given.reset(PICTURES[3])
    read.reset(tmp_path / "goal.png")
    np.testing.assert_array_equal(given.act(PICTURES[0]), read.act(PICTURES[0]))
    with pytest.raises(E2CError, match="A goal"):
        given.reset(images(2)[0])
    with pytest.raises(E2CError, match="acts in one episode; got 4 goals; give one"):
        given.reset(np.zeros((4, *given.agent.spec.observation_shape), np.uint8))
    with pytest.raises(
        E2CError, match=r"agent is 'runs/a'; it must be an agent, as e2c.load_agent"
    ):
        LiveAgent("runs/a")  # type: ignore[arg-type]


def test_the_example_acts_on_a_video_and_records_what_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = e2c.collect(transitions=12).frames
    write_video(Path("seen.mp4"), seen[..., None].repeat(3, -1), fps=20)

    def run(source: str) -> None:
        monkeypatch.setattr(sys, "argv", ["live_camera.py", str(e2c.TRAINED), source])
        runpy.run_path(str(ROOT / "examples" / "live_camera.py"), run_name="__main__")

    run("seen.mp4")
    controls = capsys.readouterr().out.count("control: ")
    assert controls == len(seen) - 1, "the first picture only warms up"
    found = import_recording(Path("runs/live"), ImportOptions(Camera(size=(40, 40))))
    assert found.lengths.tolist() == [controls - 2]
    with pytest.raises(SystemExit, match=r"^Neither a camera nor a video opens as no.mp4\.$"):
        run("no.mp4")
    monkeypatch.setattr(sys, "argv", ["live_camera.py"])
    with pytest.raises(SystemExit, match=r"^Name a run and a camera, and maybe a goal: "):
        runpy.run_path(str(ROOT / "examples" / "live_camera.py"), run_name="__main__")


class TwoControls:
    """An agent of two controls, which the user stops at the sixth picture."""

    dt, seen = 0.05, 0

    def __init__(self, agent: object) -> None:
        pass

    def reset(self, goal: None) -> None:
        self.seen = 0

    def act(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen += 1
        if self.seen == 6:
            signal.raise_signal(signal.SIGINT)
        return np.array([0.5 * (-1) ** self.seen, self.seen % 3], np.float32)


def test_the_example_writes_what_was_done_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(e2c, "load_agent", lambda run: None)
    monkeypatch.setattr(e2c, "LiveAgent", TwoControls)
    monkeypatch.setattr(sys, "argv", ["live_camera.py", "run", "seen.mp4"])
    write_video(Path("seen.mp4"), PICTURES.repeat(2, 0), fps=20)
    before = signal.getsignal(signal.SIGINT)
    try:
        runpy.run_path(str(ROOT / "examples" / "live_camera.py"), run_name="__main__")
    finally:
        signal.signal(signal.SIGINT, before)
    found = import_recording(tmp_path / "runs" / "live", ImportOptions(Camera(size=(30, 40))))
    assert found.actions.tolist() == [[0.5, 2], [-0.5, 0], [0.5, 1], [-0.5, 2]]
