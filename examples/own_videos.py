"""Own videos: ten of them, each with a table of the actions, and a picture of the goal.

The first part films a pendulum and writes the files that you have already: videos, tables, a
picture. The last part learns from them. It needs no environment: the agent acts on frames from
anywhere. This trains for a few seconds, which is too short to succeed; leave the optimiser's
settings out to train in minutes.
"""

from pathlib import Path

import cv2
import numpy as np

import e2c
from e2c.data.formats import ImportOptions, import_recording
from e2c.report.video import write_video
from envs import Camera

HERE = Path("runs/own_videos_recorded")


def film(episodes: int) -> None:
    """Write videos with tables of the torques, at 20 frames a second, and a picture of the goal."""
    HERE.mkdir(parents=True, exist_ok=True)
    recorded = e2c.collect(transitions=episodes * 25)
    for number, episode in enumerate(recorded.split()):
        pictures = episode.frames[..., None].repeat(3, -1)
        write_video(HERE / f"{number}.mp4", pictures, fps=20)
        first = np.zeros((1, 1))  # no torque is known before the first observation, of two frames
        np.savetxt(HERE / f"{number}.csv", np.vstack([first, episode.actions]), header="torque")
    goal = e2c.make_world("E2C/PendulumSwingUp-v0").reset(seed=0)[1]["goal"][0]
    cv2.imwrite(str(HERE / "goal.png"), goal[-1])


if __name__ == "__main__":
    film(10)

    camera = Camera(size=(48, 48), frames=2)
    data = import_recording(HERE, ImportOptions(camera, control_low=(-2,), control_high=(2,)))
    data.save(HERE / "data.npz")
    agent = e2c.train(
        "runs/own_videos",
        goal=HERE / "goal.png",
        recordings=[HERE / "data.npz"],
        optimiser={"steps": 60, "dynamics_steps": 20, "sight_steps": 20},
    )
    frames = [camera.frame(picture) for picture in np.full((2, 300, 300, 3), 30, np.uint8)]
    print("torque:", agent.act(np.stack(frames)))
