"""Which planner? iLQG, CEM and MPPI with the model that comes with the project, on its task.

python -m benchmarks.planners               # 20 starts
python -m benchmarks.planners --starts 1

Every planner acts from images alone, from the same starts. The time of a control step is that of
one episode alone, on one thread. Leave the machine idle meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from benchmarks.speed import WARM_UP, closed_loop, starts_of, statistics, threads
from benchmarks.store import Benchmark, Result
from e2c.control.agent import Agent
from e2c.door import load_agent
from e2c.errors import E2CError, run_command
from e2c.evaluation.assessment import assess
from e2c.files.runs import TRAINED
from planners import PLANNERS

START_SEED = 1000


@dataclass(frozen=True)
class Planners(Benchmark):
    """Let every planner act with one model, and compare them."""

    starts: int = 20
    """Episodes of each planner."""

    def __call__(self) -> None:
        """Measure or read, tell.

        Raises:
            E2CError: when there are no starts.
        """
        if self.starts < 1:
            raise E2CError(f"--starts is {self.starts}; it must be at least 1.")
        with threads(1):
            found = self.result("planners", self.measured)
        print(table(found["planners"]))

    def measured(self) -> Result:
        """Let every planner act."""
        agent = load_agent(TRAINED)
        found = {name: measure(agent.with_planner(name), self.starts) for name in PLANNERS}
        task = {"env": agent.spec.env, "starts": self.starts, "start_seed": START_SEED}
        return {"planners": found, **task}


def measure(agent: Agent, starts: int) -> dict[str, float]:
    """Return the scores of an agent, and how long one of its control steps takes [ms]."""
    scores = assess(agent, starts, START_SEED, oracle=False).agent.scores.summary()
    milliseconds = closed_loop(agent, starts_of(agent, 1))
    return {
        **{name: scores[name] for name in ("success_rate", "time_in_goal")},
        **statistics(milliseconds[WARM_UP:]),
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| planner | success | time in goal | control step [ms] |", "|---|---|---|---|"]
    for name, row in found.items():
        lines.append(
            f"| {name} | {row['success_rate']:.0%} | {row['time_in_goal']:.3f} "
            f"| {row['median_ms']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Planners)())
