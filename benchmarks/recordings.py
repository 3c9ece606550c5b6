"""The same episodes as a file and as ten videos with tables: what the agent learns from each.

python -m benchmarks.recordings       # seeds 0 to 2
python -m benchmarks.recordings --seeds 0 --starts 20

Ten episodes of the headline task under random torques are kept as e2c-collect does, and filmed. The
films, compressed, and their tables are imported. On both, training goes on with own episodes.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import e2c
from benchmarks.store import Benchmark, Result
from e2c.data.episodes import Episodes
from e2c.data.formats import ImportOptions, import_recording
from e2c.errors import run_command
from e2c.files import runs
from e2c.presets import HEADLINE
from e2c.report.video import write_video

VIDEOS, STEPS, LIMIT = 10, 500, 2.0
"""How many episodes, how long they are, and the limit of the torque [N m]."""


@dataclass(frozen=True)
class Recordings(Benchmark):
    """Train on a file and on videos of the same episodes, and compare."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the episodes and of training."""
    starts: int = 100
    """Episodes of each evaluation."""

    def __call__(self) -> None:
        """Measure or read, tell."""
        found = self.result("recordings", lambda: {"rows": [*map(self._row, self.seeds)]})
        for row in found["rows"]:
            print(row)

    def _row(self, seed: int) -> Result:
        """Return the scores of a seed."""
        with tempfile.TemporaryDirectory() as folder:
            return {"seed": seed, **self._compared(Path(folder), seed)}

    def _compared(self, folder: Path, seed: int) -> dict[str, Any]:
        """Return the scores by what was learned from."""
        record(folder, seed)
        options = ImportOptions(env=HEADLINE, control_low=(-LIMIT,), control_high=(LIMIT,))
        import_recording(folder, options).save(folder / "films.npz")
        told = {}
        for name in ("file", "films"):
            e2c.train(
                folder / name,
                recordings=[folder / f"{name}.npz"],
                seed=seed,
                evaluation={"episodes": self.starts},
            )
            found = json.loads((folder / name / runs.EVALUATION).read_text())
            told[name] = {key: found[key] for key in ("success_rate", "time_in_goal")}
        return told


def record(folder: Path, seed: int) -> None:
    """Record episodes, keep them as ``file.npz``, and film them."""
    data = e2c.collect(HEADLINE, VIDEOS * STEPS, STEPS, seed, max_episode_steps=STEPS)
    data.save(folder / "file.npz")
    film(data, folder)


def film(data: Episodes, folder: Path) -> None:
    """Write a film of each episode, and beside it the table of its actions."""
    for number, episode in enumerate(data.split()):
        colour = data.layout.is_colour
        pictures = episode.frames if colour else episode.frames[..., None].repeat(3, -1)
        write_video(folder / f"{number}.mp4", pictures, 1 / data.provenance["parameters"]["dt"])
        before = np.zeros((data.frames_per_observation - 1, episode.actions.shape[1]))
        np.savetxt(folder / f"{number}.csv", np.vstack([before, episode.actions]))


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Recordings)())
