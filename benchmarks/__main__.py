"""All figures of README and docs: printed from committed results, or measured from nothing.

python -m benchmarks                                                # `make figures`
python -m benchmarks --remeasure --rows swing_up goals --seeds 0 1  # `make remeasure`

Of each benchmark it is told how many commits changed its code since its results were measured, and
which of its cells have other options than today's.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import readme
from benchmarks.any_pixels import AnyPixels
from benchmarks.cells import complain
from benchmarks.demo import Demo
from benchmarks.devices import Devices
from benchmarks.dmc import Dmc
from benchmarks.exploration import Exploration
from benchmarks.failures import Failures
from benchmarks.faults import Faults
from benchmarks.films import Films
from benchmarks.goals import Goals
from benchmarks.growth import Growth
from benchmarks.gym_mujoco import GymMujoco
from benchmarks.kills import Kills
from benchmarks.large import Large
from benchmarks.local import Local
from benchmarks.mujoco_camera import MujocoCamera
from benchmarks.mutations import Mutations
from benchmarks.noise import NoiseShows
from benchmarks.optimum import Optimum
from benchmarks.overhead import Overhead
from benchmarks.peers import Peers
from benchmarks.planners import Planners
from benchmarks.recordings import Recordings
from benchmarks.robustness import Robustness
from benchmarks.speed import Speed
from benchmarks.store import COMMITTED, ROOT, Benchmark, read
from benchmarks.sweeps import Sweeps
from benchmarks.swing_up import SwingUp
from benchmarks.tables import Tables
from e2c.errors import E2CError, run_command

BENCHMARKS: dict[str, type[Benchmark]] = {
    "demo": Demo,
    "swing_up": SwingUp,
    "noise": NoiseShows,
    "exploration": Exploration,
    "optimum": Optimum,
    "robustness": Robustness,
    "any_pixels": AnyPixels,
    "mujoco_camera": MujocoCamera,
    "dmc": Dmc,
    "gym_mujoco": GymMujoco,
    "goals": Goals,
    "planners": Planners,
    "recordings": Recordings,
    "films": Films,
    "large": Large,
    "speed": Speed,
    "devices": Devices,
    "peers": Peers,
    "growth": Growth,
    "local": Local,
    "kills": Kills,
    "sweeps": Sweeps,
    "failures": Failures,
    "mutations": Mutations,
    "faults": Faults,
    "overhead": Overhead,
    "tables": Tables,
}
"""Those with committed results, in the order in which they are measured."""
RUN = "runs/remeasured_demo"
WHOLE = {
    "swing_up": ("--rows", "all"),
    "dmc": ("--tasks", "all", "--frames", "10000", "20000", "40000"),
    "films": ("--transitions", "2000", "4000"),
    "local": ("--tasks", "all"),
    "demo": ("--out", RUN),
    "speed": ("--run", RUN),
    "devices": ("--device", "cuda"),
    "sweeps": ("--engines", "processes", "ray"),
    "failures": (
        *("--engines", "processes", "ray", "--worker", "18", "--driver", "16"),
        *("--node", "10", "--disk", "11"),
    ),
}
"""Options with which a benchmark measures, and prints, all that the documentation shows."""
CODE = ("e2c", "envs", "planners")


@dataclass(frozen=True)
class All:
    """Print every figure from the committed results, or measure them from nothing."""

    remeasure: bool = False
    """Measure, in place of printing."""
    rows: tuple[str, ...] = ("all",)
    """Benchmarks, by their names, or all."""
    seeds: tuple[int, ...] = ()
    """Seeds to measure, where a benchmark has seeds; left out, its own."""
    results: Path = Path("runs/remeasured")
    """Folder to measure into; what an earlier call left there with the same options stays."""

    def __call__(self) -> None:
        """Print, or measure.

        Raises:
            E2CError: for a benchmark that there is not, or after one that failed.
        """
        names = tuple(BENCHMARKS) if self.rows == ("all",) else self.rows
        for name in names:
            if name not in BENCHMARKS:
                known = ", ".join(BENCHMARKS)
                raise E2CError(f"There is no benchmark {name!r}; choose among: {known}, all.")
        if self.remeasure:
            complain([name for name in names if not self._measured(name)])
            return
        print("README:", *readme.rows(), sep="\n")
        for name in names:
            print(f"\n{name}: {age(name)}")
            committed(name)()

    def _measured(self, name: str) -> bool:
        """Run a benchmark in a process of its own, and say whether it succeeded."""
        seeded = self.seeds and "seeds" in {f.name for f in dataclasses.fields(BENCHMARKS[name])}
        options = ["--seeds", *map(str, self.seeds)] if seeded else []
        place = ["--results", str(self.results.absolute())]
        command = [sys.executable, "-m", f"benchmarks.{name}", *place, *WHOLE.get(name, ())]
        print(f"{name}:", flush=True)
        return subprocess.run([*command, *options], cwd=ROOT, check=False).returncode == 0


def committed(name: str) -> Any:
    """Return the benchmark that prints all that the repository holds of this name."""
    return tyro.cli(BENCHMARKS[name], args=["--committed", *WHOLE.get(name, ())])


def age(name: str) -> str:
    """Say of which commits a benchmark's committed results are, and how old these are."""
    paths = [*COMMITTED.glob(f"{name}.json"), *(COMMITTED / name).rglob("*.json")]
    commits = {read(path)["commit"] for path in paths}
    later = {commit: changes_since(commit, f"benchmarks/{name}*.py") for commit in commits}
    if None in later.values():
        return f"{len(paths)} results, some of commits that are not in this repository"
    oldest = max((count for count in later.values() if count is not None), default=0)
    count = "1 commit" if oldest == 1 else f"{oldest} commits"
    old = f"the oldest are {count} older than the code they measure"
    return f"{len(paths)} results; {old if oldest else 'as new as the code they measure'}"


def changes_since(commit: str, *files: str) -> int | None:
    """Count the commits since ``commit`` that changed the package or one of ``files``.

    Returns:
        The count; None where there is no such commit.
    """
    asked = ["git", "rev-list", "--count", f"{commit.rstrip('+')}..HEAD", "--", *CODE, *files]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return None if done.returncode else int(done.stdout)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(All)())
