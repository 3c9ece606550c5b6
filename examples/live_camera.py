"""A live camera: pictures in, controls out, at an even rate, and a recording of both.

    python examples/live_camera.py runs/own 0 goal.png

The arguments are a run folder, the number of a camera, and a picture of the goal. Without a goal,
the agent goes for the goal that it was trained for. The name of a video in place of the number
makes a rehearsal: it prints the controls that the agent would choose. After 200 steps or at Ctrl-C,
pictures and controls are written into runs/live, in a form that `e2c-import` reads.
"""

import itertools
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

import e2c
from e2c.report.video import write_video

OUT, STEPS = Path("runs/live"), 200


def send(control: np.ndarray) -> None:
    """Replace this by code that drives your system."""
    print("control:", *control.round(3))


def pictures(camera: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield the pictures of a camera, ``[h, w, 3]``."""
    while (read := camera.read())[0]:
        yield read[1][..., ::-1]  # OpenCV's colours are blue, green, red


def play(agent: e2c.LiveAgent, seen: Iterator[np.ndarray], done: list) -> Iterator[np.ndarray]:
    """Act on each picture, then yield it."""
    due, stopped = time.monotonic(), threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopped.set())  # Ctrl-C ends it, and all is written
    for picture in itertools.islice(seen, STEPS):
        done.append(agent.act(picture))
        send(done[-1])
        yield picture
        due += agent.dt
        if stopped.wait(max(0.0, due - time.monotonic())):
            break


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("Name a run and a camera, and maybe a goal: live_camera.py runs/own 0 goal.png")
    run, source, *more = sys.argv[1:]
    goal = more[0] if more else None
    agent = e2c.LiveAgent(e2c.load_agent(run))
    camera = cv2.VideoCapture(int(source)) if source.isdigit() else cv2.VideoCapture(source)
    if not camera.isOpened():
        sys.exit(f"Neither a camera nor a video opens as {source}.")
    seen = pictures(camera)
    agent.reset(goal)
    agent.act(next(seen))  # the first plan of a process takes longest, so it moves nothing
    agent.reset(goal)
    OUT.mkdir(parents=True, exist_ok=True)
    done: list[np.ndarray] = []
    write_video(OUT / "0.mp4", play(agent, seen, done), fps=1 / agent.dt)
    np.savetxt(OUT / "0.csv", done, delimiter=",")
