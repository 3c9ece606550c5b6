"""A recording that is larger than the memory a process may have, and training on it.

python -m benchmarks.large
python -m benchmarks.large --gigabytes 0.3 --limit 0.7

A file of frames is made. A process then trains on it, and may have no more memory of its own than
the limit (RLIMIT_DATA: what it allocates, and not the files that it maps). The same process on a
packed file, which is read into memory, shows that the limit is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.store import Benchmark
from e2c.data.episodes import RECORDING, Episodes
from e2c.errors import run_command
from e2c.files import arrays

SIZE, STEPS = 64, 1000
"""Height and width of a frame [px]; transitions of an episode."""
CHILD = """
import json, resource, sys, time
import e2c
folder, limit, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
started = time.perf_counter()
e2c.train(folder + "/run", goal=folder + "/goal.npy", recordings=[folder + "/data.npz"],
          optimiser={"steps": steps})
print(json.dumps(time.perf_counter() - started))
"""


@dataclass(frozen=True)
class Large(Benchmark):
    """Train on a file under a limit of memory."""

    gigabytes: float = 1.5
    """Of frames."""
    limit: float = 1.0
    """Memory that the process may have [GB]."""
    steps: int = 100
    """Optimiser steps."""

    def __call__(self) -> None:
        """Make the file and train, or read; tell."""
        found = self.result("large", lambda: {"rows": [*map(self._trained, (False, True))]})
        for row in found["rows"]:
            print(row)

    def _trained(self, packed: bool) -> dict[str, Any]:
        """Train on a file that is packed or not, and tell how it ended."""
        with tempfile.TemporaryDirectory() as folder:
            arrays.LARGE = 2**62 if packed else 2**28
            size = write(Path(folder), int(self.gigabytes * 1e9))
            asked = [folder, str(int(self.limit * 1e9)), str(self.steps)]
            done = subprocess.run(
                [sys.executable, "-c", CHILD, *asked], capture_output=True, text=True, check=False
            )
        ended = done.stdout.splitlines()[-1:] if done.returncode == 0 else []
        return {
            "packed": packed,
            "frames_bytes": size,
            "limit_bytes": int(self.limit * 1e9),
            "steps": self.steps,
            "trained": bool(ended),
            "seconds": json.loads(ended[0]) if ended else None,
            "told": "" if ended else done.stderr.splitlines()[-1].replace(f"{folder}/", ""),
        }


def write(folder: Path, size: int) -> int:
    """Write ``data.npz`` with about ``size`` bytes of frames, and ``goal.npy``; return how many."""
    E = max(1, size // (SIZE * SIZE * (STEPS + 2)))
    shape = (E * (STEPS + 2), SIZE, SIZE)
    frames = np.memmap(folder / "frames", np.uint8, "w+", shape=shape)
    frames[:, 0] = np.random.default_rng(1).integers(0, 256, (len(frames), SIZE), np.uint8)
    for t in range(len(frames)):
        top, left = int(20 + 18 * np.sin(0.05 * t)), int(20 + 18 * np.cos(0.031 * t))
        frames[t, top : top + 8, left : left + 8] = 255
    limits = {"control_low": [-1.0], "control_high": [1.0]}
    made = {"env": RECORDING, "parameters": {"dt": 0.05, **limits}, "episode_steps": STEPS}
    made["camera"] = {"size": [SIZE, SIZE]}
    actions = np.random.default_rng(0).uniform(-1, 1, (E * STEPS, 1)).astype(np.float32)
    lengths = np.full(E, STEPS, np.int64)
    Episodes(frames, actions, lengths, provenance=made).save(folder / "data.npz")
    np.save(folder / "goal.npy", frames[:2])
    (folder / "frames").unlink()
    return int(frames.nbytes)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Large)())
