"""What a device does side by side: seeds trained together, and plans.

python -m benchmarks.devices --device cuda

A training step of E seeds is compared with that of one, and a plan for B problems with that of one.
On a CPU seeds are trained one after another; there a step of E is E steps.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.store import Benchmark, Result
from e2c.config import Config
from e2c.control.base import make_world, problem_spec
from e2c.data.windows import Windows
from e2c.door import load_agent
from e2c.errors import run_command
from e2c.files.runs import TRAINED
from e2c.learning.collect import collect_transitions
from e2c.learning.schedule import Phase
from e2c.learning.together import CHUNK, optimise
from e2c.learning.trainer import Trainer
from e2c.models.devices import find_device
from e2c.models.methods import build_model
from envs.world import simulated
from planners import ILQG, ILQGOptions

REPEATED = 5
"""Plans are timed so often."""


@dataclass(frozen=True)
class Devices(Benchmark):
    """Measure what a device does side by side."""

    device: str = "cpu"
    """cpu or cuda."""
    seeds: tuple[int, ...] = (1, 10)
    """Numbers of seeds that are trained together; the first is compared with."""
    plans: tuple[int, ...] = (1, 100, 4096)
    """Numbers of problems that are planned for together."""
    chunks: int = 8
    """Training is timed over so many chunks of steps, after a first that is left out."""

    def __call__(self) -> None:
        """Measure or read, tell."""
        torch.set_num_threads(1)
        found = self.result("devices", self.measured)
        print(json.dumps(found, indent=1))

    def measured(self) -> Result:
        """Train and plan."""
        device = find_device(self.device)
        steps = {E: training_step(E, device, self.chunks) for E in self.seeds}
        rates = {B: B / plan(B, device) for B in self.plans}
        return {
            "device": self.device,
            "training_step_ms": {str(E): 1e3 * seconds for E, seconds in steps.items()},
            "against_one": {str(E): steps[E] / steps[self.seeds[0]] for E in self.seeds},
            "iterations_per_second": {str(B): rate for B, rate in rates.items()},
        }


def training_step(E: int, device: torch.device, chunks: int) -> float:
    """Return the seconds that a step of E seeds of the default takes: the median of the chunks."""
    config = Config()
    trainers, windows = zip(*(_begun(config, seed, device) for seed in range(E)), strict=True)
    ends, of_a_chunk = list[float](), CHUNK * (E if device.type == "cpu" else 1)
    phase = Phase((chunks + 1) * CHUNK, config.optimiser.learning_rate, True)
    for done, _ in enumerate(optimise(trainers, windows, phase), start=1):
        if done % of_a_chunk == 0:
            ends.append(time.perf_counter())
    return float(np.median(np.diff(ends))) / CHUNK


def _begun(config: Config, seed: int, device: torch.device) -> tuple[Trainer, Windows]:
    """Return what trains a seed of a task, and what it learns from."""
    world = make_world(config.env)
    spec, goal = problem_spec(world), simulated(world, "The benchmark").task.goal_observation()
    data = collect_transitions(config.env, 1000, config.data.episode_length, seed)
    model = build_model(config.model, spec, spec.layout.to_planes(goal), seed).to(device)
    windows = Windows([data], config.objective.horizon, 0.0, device)
    model.decoder.start_at(windows.mean_observation)
    return Trainer(model, config.objective, config.optimiser, seed), windows


@torch.inference_mode()
def plan(B: int, device: torch.device) -> float:
    """Return the seconds that one iteration of iLQG for B problems takes: the median."""
    agent = load_agent(TRAINED, str(device))
    limits = (agent.spec.control_low, agent.spec.control_high)
    low, high = (torch.tensor(limit, device=device) for limit in limits)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(B, agent.model.transition.n, generator=generator).to(device)
    U = torch.randn(B, 1, agent.options.horizon, len(low), generator=generator).to(device)
    ilqg = ILQG(ILQGOptions(max_iterations=1))
    first = ilqg.solve(agent.dynamics, agent.cost, x, U.clamp(low, high), low, high)
    begun: Any = (x, first.controls[:, None], low, high, first.states[:, None])
    taken = []
    for _ in range(1 + REPEATED):
        started = time.perf_counter()
        ilqg.solve(agent.dynamics, agent.cost, *begun)
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[1:]))


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Devices)())
