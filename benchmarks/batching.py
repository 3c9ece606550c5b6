"""Whether several seeds of one cell train faster together than one after another, on one core.

python -m benchmarks.batching --json benchmarks/results/batching.json

*Apart* is the shipped way: a model, a graph and an Adam for each seed. *Together* is the same
objective under ``torch.vmap``, its parameters stacked over S seeds, and one Adam on the stacks.
Every seed has its own weights and batches; the times compared, the noise and the lattice are drawn
once for all, since one graph cannot have another shape for each seed. Both ways step in turn on the
same draws, once their first gradients have been found equal. Drawing batches and clipping gradients
are left out. Processor time is counted, since the machine may do other work meanwhile.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from benchmarks.speed import threads
from e2c.config import Config
from e2c.control.base import make_world, problem_spec
from e2c.data.windows import Windows
from e2c.errors import E2CError, run_command
from e2c.files.provenance import provenance
from e2c.files.whole import write_json
from e2c.learning.collect import collect_transitions
from e2c.models.base import LatentModel
from e2c.models.methods import build_model
from e2c.models.objectives import Batch, ObjectiveConfig, draw_times
from e2c.presets import preset
from envs.world import simulated

TASKS = ("E2C/PendulumSwingUp-v0", "E2C/PendulumReach-v0", "E2C/Planar-v0")
TOLERANCE = 1e-5
"""Largest difference of the gradients of the two ways, as a share of the parameter's largest."""
WARM_UP = 3
"""Steps that are left out of the figures."""


@dataclass(frozen=True)
class Batching:
    """Time the optimiser steps of several seeds, apart and together."""

    seeds: tuple[int, ...] = (1, 2, 5, 10)
    """How many seeds; each number is measured."""
    repeats: int = 50
    """Steps timed of each."""
    json: Path | None = None
    """File to write the figures to."""

    def __call__(self) -> None:
        """Measure, write, tell."""
        with threads(1):
            figures = {
                task: {
                    str(S): compare(preset("default", task), S, self.repeats) for S in self.seeds
                }
                for task in TASKS
            }
            about = {"repeats": self.repeats, **provenance()}
        print(json.dumps(figures, indent=1))
        if self.json is not None:
            write_json(self.json, {**figures, **about})


class Loss(nn.Module):
    """The loss of a model, as a module, so that `torch.func.functional_call` can call it."""

    def __init__(self, model: LatentModel, objective: ObjectiveConfig) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x: Tensor, u: Tensor, times: Sequence[int], noise: int) -> Tensor:
        """Return the loss of ``x [B, K, C, H, W]``, ``u [B, T, m]``; ``noise`` is a seed."""
        generator = torch.Generator().manual_seed(noise)
        terms = self.model.terms(Batch(x, u, times), generator, self.objective)
        weights = self.model.weights(self.objective, self.objective.latent_weight)
        return torch.stack([share * terms[name] for name, share in weights.items()]).sum()


class Apart:
    """One model after another."""

    def __init__(self, losses: Sequence[Loss]) -> None:
        self.losses = losses
        self.adams = [torch.optim.Adam(loss.parameters(), fused=True) for loss in losses]

    def step(self, x: Tensor, u: Tensor, times: Sequence[int], noise: int) -> None:
        """Take one step with each seed, on ``x [S, B, K, C, H, W]`` and ``u [S, B, T, m]``."""
        for loss, adam, own_x, own_u in zip(self.losses, self.adams, x, u, strict=True):
            adam.zero_grad()
            loss(own_x, own_u, times, noise).backward()
            adam.step()


class Together:
    """All models in one graph; their parameters are stacked copies of those of ``losses``."""

    def __init__(self, losses: Sequence[Loss]) -> None:
        self.loss = losses[0]
        self.parameters, _ = torch.func.stack_module_state(list(losses))
        self.adam = torch.optim.Adam(self.parameters.values(), fused=True)

    def step(self, x: Tensor, u: Tensor, times: Sequence[int], noise: int) -> None:
        """Take one step with all seeds, on ``x [S, B, K, C, H, W]`` and ``u [S, B, T, m]``."""

        def loss(parameters: dict[str, Tensor], x: Tensor, u: Tensor) -> Tensor:
            given = (x, u, times, noise)
            value: Tensor = torch.func.functional_call(self.loss, parameters, given)
            return value

        self.adam.zero_grad()
        torch.vmap(loss, randomness="same")(self.parameters, x, u).sum().backward()
        self.adam.step()


def compare(config: Config, seeds: int, repeats: int) -> dict[str, float]:
    """Step both ways in turn; return the median milliseconds of a step and seed, and their ratio.

    Raises:
        E2CError: when the gradients of the first step differ.
    """
    windows, losses = material(config, seeds)
    apart, together = Apart(losses), Together(losses)
    generator = torch.Generator().manual_seed(0)
    taken, difference = [], 0.0
    for number in range(WARM_UP + repeats):
        times = draw_times(config.objective.horizon, config.objective.targets, generator)
        size = config.optimiser.batch_size
        batches = [windows.sample(size, times, generator) for _ in range(seeds)]
        x, u = (torch.stack(parts) for parts in zip(*batches, strict=True))
        clock = [time.process_time()]
        for way in (apart, together):
            way.step(x, u, times, number)
            clock.append(time.process_time())
        taken.append(1e3 * np.diff(clock) / seeds)
        if number == 0:
            difference = largest_difference(apart, together)
    a, b = np.median(taken[WARM_UP:], axis=0).tolist()
    return {"apart_ms": a, "together_ms": b, "ratio": b / a, "gradient_difference": difference}


def material(config: Config, seeds: int) -> tuple[Windows, list[Loss]]:
    """Collect a little data, and build a model for each of ``seeds`` seeds."""
    world = make_world(config.env)
    spec, goal = problem_spec(world), simulated(world, "This benchmark").task.goal_observation()
    data = collect_transitions(config.env, 500, config.data.episode_length, 0)
    windows = Windows([data], config.objective.horizon, 0.0, torch.device("cpu"))
    models = (build_model(config.model, spec, goal, seed) for seed in range(seeds))
    return windows, [Loss(model, config.objective) for model in models]


def largest_difference(apart: Apart, together: Together) -> float:
    """Compare the gradients of the last step, as shares of the largest of their parameter.

    Raises:
        E2CError: when they differ by more than `TOLERANCE`, or only one way has them.
    """
    shares = [0.0]
    for seed, loss in enumerate(apart.losses):
        for name, parameter in loss.named_parameters():
            a, b = parameter.grad, together.parameters[name].grad
            if a is not None and b is not None:
                shares.append(float((a - b[seed]).abs().max() / a.abs().max()))
            elif a is not b:  # a head that was drawn has a gradient, in both ways
                shares.append(float("inf"))
    worst = float(np.max(shares))
    if not worst <= TOLERANCE:
        raise E2CError(
            f"The two ways do not compute the same: a gradient differs by {worst:.1e} of its "
            f"largest where {TOLERANCE:g} is allowed; mend benchmarks/batching.py before timing."
        )
    return worst


if __name__ == "__main__":
    run_command(lambda: tyro.cli(Batching)())
