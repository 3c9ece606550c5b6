"""How near does the planner come to the optimum? A dynamic program on the true dynamics says.

python -m benchmarks.optimum                # 100 starts
python -m benchmarks.optimum --starts 2 --resolutions 40

Two pendulums that are too heavy to lift: that of our headline task, and dm_control's
(``pendulum-swingup``, each action held for two of its steps). The score is the share of the steps
that end in the goal region; a thousand times that is dm_control's return.

The *program* is dynamic programming on a grid of angles and velocities. It is told the score, and
its policy is played: no controller is much better. The *oracle* is the agent's planner on the true
state and the true dynamics. It is told the goal alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium.spaces import Box
from numba import njit
from numpy.typing import NDArray

from benchmarks.speed import threads
from benchmarks.store import Benchmark, Result
from e2c.control.agent import PlannerConfig, build_planner, goal_cost
from e2c.control.oracle import TrueDynamics
from e2c.errors import E2CError, run_command
from e2c.models.base import ProblemSpec
from envs.pendulum import PendulumSwingUp
from envs.task import Task

Floats = NDArray[np.float64]
Policy = Callable[[int, Floats], Floats]
"""Chooses the controls ``[N, 1]`` of control step t in the states ``[N, 2]``."""

SETTLED = 50
"""A success is in the goal region in each of this many last control steps."""
PROGRAM_CONTROLS, PLAYED_CONTROLS = 5, 41
"""Controls that the program compares, and its policy, evenly spaced between the limits."""
MARGIN = 1.15
"""Velocities of the grid reach so much further than a fall from upright to hanging leads."""


class Pendulum(PendulumSwingUp):
    """The headline task's pendulum, and what both pendulums are asked here."""

    repeat = 1
    """Steps that are scored in a control step."""
    control_steps = 200

    def path(self, states: Floats, controls: Floats) -> list[Floats]:
        """Return the states ``[N, 2]`` after each scored step of a control step."""
        return [PendulumSwingUp.predict(self, states, controls)]

    def score(self, path: list[Floats]) -> Floats:
        """Return the share ``[N]`` of a path that is in the goal region."""
        return np.mean([self.is_goal(states) for states in path], axis=0)

    @property
    def fastest(self) -> float:
        """The largest velocity of a grid [rad/s]."""
        return MARGIN * self.max_restart_velocity


class SuitePendulum(Pendulum):
    """dm_control's pendulum: a ball of 1 kg and radius 0.05 m, 0.5 m from a damped hinge.

    MuJoCo takes the damping d of the hinge implicitly: with inertia I and step h, the
    acceleration is ``(torque + m g l sin(angle) - d velocity) / (I + h d)``.
    """

    repeat = 2
    control_steps = 500
    goal_half_width = math.radians(8)
    gravity = 9.81
    rod, ball, damping, step = 0.5, 0.05, 0.1, 0.02
    max_restart_velocity = math.sqrt(4 * 9.81 / 0.5)

    def __init__(self) -> None:
        super().__init__(mass=1.0, length=self.rod)
        self.dt = self.repeat * self.step
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)

    def path(self, states: Floats, controls: Floats) -> list[Floats]:
        """Return the states ``[N, 2]`` after each of MuJoCo's steps under ``controls [N, 1]``."""
        inertia = self.mass * (self.rod**2 + 0.4 * self.ball**2) + self.step * self.damping
        (angle, velocity), path = states.T, []
        for _ in range(self.repeat):
            weight = self.mass * self.gravity * self.rod * np.sin(angle)
            torque = controls[:, 0] + weight - self.damping * velocity
            velocity = velocity + self.step * torque / inertia
            angle = angle + self.step * velocity
            path.append(np.stack([angle, velocity], 1))
        return path

    def predict(self, states: Floats, controls: Floats) -> Floats:
        """Return the states ``[N, 2]`` after a control step."""
        return self.path(states, controls)[-1]

    def linearize(self, states: Floats, controls: Floats) -> tuple[Floats, Floats]:
        """Return the derivatives of a control step, by differences."""
        return Task.linearize(self, states, controls)

    def sample_starts(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw starts ``[n, 2]`` at rest, at any angle."""
        return np.stack([rng.uniform(-math.pi, math.pi, n), np.zeros(n)], 1)


CASES: dict[str, tuple[Pendulum, PlannerConfig]] = {
    "headline": (Pendulum(), PlannerConfig(tries=64, terminal_weight=100.0)),
    "dm_control": (
        SuitePendulum(),
        PlannerConfig(horizon=80, restarts=32, tries=64, control_weight=0.02),
    ),
}
"""Pendulums, and how the oracle plans."""


@dataclass(frozen=True)
class Optimum(Benchmark):
    """Compare the oracle with dynamic programs on finer and finer grids."""

    starts: int = 100
    """Episodes."""
    seed: int = 1000
    """Of the starts."""
    resolutions: tuple[int, ...] = (200, 400, 800)
    """Angles, and intervals of velocities, of the grids; at least 3. The oracle is compared with
    the program on the last of them."""

    def __call__(self) -> None:
        """Measure or read, tell.

        Raises:
            E2CError: when there are no starts, or no resolutions from 3 on.
        """
        if self.starts < 1 or min(self.resolutions, default=0) < 3:
            raise E2CError(
                f"--starts is {self.starts} and --resolutions {list(self.resolutions)}; give at "
                "least 1 start, and resolutions of at least 3."
            )
        with threads(1):
            found = self.result("optimum", self.measured)
        print(table(found["pendulums"]))

    def measured(self) -> Result:
        """Compare on every pendulum."""
        rows = {name: self.measure(*case) for name, case in CASES.items()}
        task = {"starts": self.starts, "start_seed": self.seed, "settled_steps": SETTLED}
        return {"pendulums": rows, **task}

    def measure(self, pendulum: Pendulum, options: PlannerConfig) -> dict[str, Any]:
        """Score the programs' policies and the oracle from the same starts."""
        starts = pendulum.sample_starts(np.random.default_rng(self.seed), self.starts)
        programs = []
        for resolution in self.resolutions:
            program = Program(pendulum, resolution)
            value = float(program.value(0, starts).mean()) / pendulum.control_steps
            played = play(pendulum, program.policy, starts)
            programs.append({"resolution": resolution, "value": value, **played})
        oracle = play(pendulum, oracle_policy(pendulum, options), starts)
        share = oracle["in_goal"] / programs[-1]["in_goal"]
        return {"programs": programs, "oracle": oracle, "share": share, "planner": asdict(options)}


class Program:
    """The optimal policy, by dynamic programming backward in time.

    Values between the points of the grid are linear. Scores are those of exact steps.

    Args:
        pendulum: whose score is to be maximal.
        resolution: angles of the grid, and intervals of its velocities.
    """

    def __init__(self, pendulum: Pendulum, resolution: int) -> None:
        self.pendulum, self.resolution = pendulum, resolution
        turn = np.arange(resolution) * math.tau / resolution - math.pi
        speeds = np.linspace(-pendulum.fastest, pendulum.fastest, resolution + 1)
        points = np.stack(np.meshgrid(turn, speeds, indexing="ij"), -1).reshape(-1, 2)
        places, scores = zip(
            *(self._follow(points, u) for u in self._controls(PROGRAM_CONTROLS)), strict=True
        )
        shape = pendulum.control_steps + 1, resolution, resolution + 1
        self.values = np.zeros(shape, np.float32)
        """Score to come from control step t on, in control steps."""
        for t in range(pendulum.control_steps - 1, -1, -1):
            now, later = self.values[t].reshape(-1), self.values[t + 1]
            back_up(later, np.array(places), np.array(scores), now)

    def _controls(self, count: int) -> Floats:
        high = float(self.pendulum.action_space.high[0])
        return np.linspace(-high, high, count)

    def _follow(self, states: Floats, u: float) -> tuple[Floats, Floats]:
        """Return where ``states [N, 2]`` lead on the grid, and their scores ``[N]``."""
        path = self.pendulum.path(states, np.full((len(states), 1), u))
        return self._place(path[-1]), self.pendulum.score(path)

    def _place(self, states: Floats) -> Floats:
        """Return ``states [N, 2]`` in units of the grid."""
        R, fastest = self.resolution, self.pendulum.fastest
        turn = np.mod(states[:, 0] / math.tau + 0.5, 1.0) * R
        speed = (states[:, 1] / fastest + 1) * R / 2
        return np.stack([np.where(turn < R, turn, 0.0), speed.clip(0, R * (1 - 1e-9))], 1)

    def value(self, t: int, states: Floats) -> Floats:
        """Return the score to come ``[N]`` from control step t on, in control steps."""
        found = np.empty(len(states), np.float32)
        back_up(self.values[t], self._place(states)[None], np.zeros((1, len(states))), found)
        return found.astype(np.float64)

    def policy(self, t: int, states: Floats) -> Floats:
        """Choose the best controls ``[N, 1]``, by one exact step and the values after it."""
        controls = self._controls(PLAYED_CONTROLS)
        total = []
        for u in controls:
            path = self.pendulum.path(states, np.full((len(states), 1), u))
            total.append(self.pendulum.score(path) + self.value(t + 1, path[-1]))
        return controls[np.argmax(total, 0)][:, None]


@njit
def back_up(later: Any, places: Any, scores: Any, now: Any) -> None:
    """Write the values of N states: the best, over U controls, of score and value after it.

    Args:
        later: ``[R, R+1]``, values after the step; the first axis goes around.
        places: ``[U, N, 2]``, where the step leads, in units of the grid.
        scores: ``[U, N]``.
        now: ``[N]``, to be written.
    """
    for n in range(len(now)):
        best = -math.inf
        for u in range(len(places)):
            x, y = places[u, n]
            i, j = int(x), int(y)
            a, b, k = x - i, y - j, (i + 1) % len(later)
            here = (1 - b) * later[i, j] + b * later[i, j + 1]
            there = (1 - b) * later[k, j] + b * later[k, j + 1]
            best = max(best, scores[u, n] + (1 - a) * here + a * there)
        now[n] = best


def oracle_policy(pendulum: Pendulum, options: PlannerConfig) -> Policy:
    """Plan as the agent does, on the true state and the true dynamics."""
    dynamics, limits = TrueDynamics(pendulum, 1), pendulum.action_space
    spec = ProblemSpec(
        env=type(pendulum).__name__,
        observation_shape=(),
        control_low=tuple(limits.low.tolist()),
        control_high=tuple(limits.high.tolist()),
        dt=pendulum.dt,
        episode_steps=pendulum.control_steps,
    )
    goal = dynamics.whiten(pendulum.goal_state())
    variance = torch.tensor(float(dynamics.state_dim))
    cost = goal_cost(goal, variance, spec, options, goal.new_zeros(1))
    planner = build_planner(dynamics, spec, options)

    def act(t: int, states: Floats) -> Floats:
        controls: Floats = planner.plan(dynamics.whiten(states), cost).controls[:, 0].numpy()
        return controls

    return act


def play(pendulum: Pendulum, policy: Policy, states: Floats) -> dict[str, float]:
    """Play episodes from ``states [N, 2]``: share of the steps in the goal region, and success."""
    scores = []
    for t in range(pendulum.control_steps):
        path = pendulum.path(states, policy(t, states))
        scores.append(pendulum.score(path))
        states = path[-1]
    every = np.array(scores)
    return {
        "in_goal": float(every.mean()),
        "worst_in_goal": float(every.mean(0).min()),
        "success_rate": float((every[-SETTLED:] == 1).all(0).mean()),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| pendulum | program, by resolution | oracle | share |", "|---|---|---|---|"]
    for name, row in rows.items():
        programs = ", ".join(f"{p['in_goal']:.4f} ({p['resolution']})" for p in row["programs"])
        oracle = row["oracle"]["in_goal"]
        lines.append(f"| {name} | {programs} | {oracle:.4f} | {row['share']:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Optimum)())
