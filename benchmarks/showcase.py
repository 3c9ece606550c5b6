"""The pictures of the documentation, from a run.

python -m benchmarks.showcase runs/demo                              # all of the README, into docs
python -m benchmarks.showcase runs/rail --film docs/own_environment.webp     # a film alone

All are: the film of one episode (.mp4, and small and animated for the page), the angles of 100
episodes, the run's own pictures, and how its report looks in Chromium.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from playwright.sync_api import sync_playwright

from e2c.control.agent import Agent
from e2c.control.base import make_world_of
from e2c.door import load_agent
from e2c.errors import E2CError, run_command
from e2c.evaluation.assessment import Outputs, assess_and_film
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.watch import watch
from e2c.files import runs
from e2c.files.whole import write_whole
from e2c.options import option
from e2c.report.film import film_frames
from e2c.report.video import write_video

DOCS = Path(__file__).parents[1] / "docs"
SHOWN = ("latent_space", "open_loop_error", "rollouts", "losses")
PAGE_SIZE = (960, 540)
START_SEED = 1000


@dataclass(frozen=True)
class Showcase:
    """Draw what the documentation shows."""

    run: tyro.conf.Positional[Path]
    """Run folder that training wrote."""
    film: Path | None = None
    """Draw only a film, small and animated, to this file (.webp)."""
    title: str = "an own environment"
    """What that film says it shows."""
    steps: int | None = option(None, 1, 10_000)
    """Steps of that film; left out, those of an episode."""

    def __call__(self) -> None:
        """Run the closed loop, write everything into docs, or a film."""
        torch.set_num_threads(1)
        agent = load_agent(self.run)
        if self.film is not None:
            spec = replace(agent.spec, episode_steps=self.steps or agent.spec.episode_steps)
            shown = Agent(agent.model, spec, agent.options)
            animate(self.film, frames_of(shown, f"Embed to Control: {self.title}"), shown)
            return
        DOCS.mkdir(exist_ok=True)
        outputs = Outputs(picture=DOCS / "episodes.png")
        assess_and_film(agent, 100, START_SEED, Disturbance(), False, outputs)
        frames = frames_of(agent, "Embed to Control: swing-up from pixels")
        write_video(DOCS / "swing_up.mp4", frames, 1 / agent.spec.dt)
        animate(DOCS / "swing_up.webp", frames, agent)
        photograph(self.run / runs.REPORT, DOCS / "report.png")
        for name in SHOWN:
            shutil.copy(self.run / "pictures" / f"{name}.png", DOCS / f"{name}.png")
        print(f"written: {', '.join(sorted(path.name for path in DOCS.iterdir()))}")


def photograph(page: Path, picture: Path) -> None:
    """Open a page in headless Chromium, let its film run for a while, and take a picture.

    Raises:
        E2CError: when there is no such browser.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise E2CError("There is no Chromium on the PATH to look at the report with; install one.")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        sheet = chromium.new_page(viewport={"width": 1200, "height": 1500})
        sheet.goto(page.resolve().as_uri())
        sheet.wait_for_timeout(4000)
        write_whole(picture, lambda aside: sheet.screenshot(path=aside))
        chromium.close()


def frames_of(agent: Agent, title: str) -> list[np.ndarray]:
    """Watch an agent in one episode; return the pictures of the film."""
    film = watch(agent, make_world_of(agent.spec), START_SEED, title, goals=None).film
    return list(film_frames(film))


def animate(path: Path, frames: list[np.ndarray], agent: Agent) -> None:
    """Write every second frame, made smaller, as an animated picture in real time."""
    animation = cv2.Animation()
    animation.frames = [
        cv2.resize(frame[..., ::-1], PAGE_SIZE, interpolation=cv2.INTER_AREA)
        for frame in frames[::2]
    ]
    animation.durations = [round(2000 * agent.spec.dt)] * len(animation.frames)

    def write(aside: Path) -> None:
        if not cv2.imwriteanimation(str(aside), animation, [cv2.IMWRITE_WEBP_QUALITY, 60]):
            raise OSError(f"OpenCV could not write {aside}")

    write_whole(path, write)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Showcase)())
