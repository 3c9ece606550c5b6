"""One optimisation loop, which yields metrics; it prints nothing and writes no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from e2c.config import ObjectiveConfig, OptimiserConfig
from e2c.dataset import Windows
from e2c.errors import E2CError
from e2c.model import E2C
from e2c.objectives import draw_times, e2c_terms

MAX_SKIPPED_IN_A_ROW = 50
"""Training stops with an error after this many steps in a row whose loss is not finite."""


@dataclass(frozen=True)
class Phase:
    """One stretch of optimisation.

    Attributes:
        steps: optimiser steps.
        learning_rate: Adam's step size at the start.
        ramp: whether lambda is ramped (the first phase) or at its final value (later ones).
    """

    steps: int
    learning_rate: float
    ramp: bool


class Trainer:
    """Adam on the E2C objective; keeps its moments and its generator from phase to phase.

    Args:
        model: optimised in place.
        objective: the loss.
        optimiser: the optimiser.
        seed: of the batches and of the reparameterised samples.
    """

    def __init__(
        self, model: E2C, objective: ObjectiveConfig, optimiser: OptimiserConfig, seed: int
    ) -> None:
        self.model, self.objective, self.options = model, objective, optimiser
        self.device = model.goal.device
        self.batches = torch.Generator().manual_seed(seed)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        self.adam = torch.optim.Adam(
            model.parameters(), lr=0.0, betas=(0.9, optimiser.beta2), fused=True
        )
        self.step = 0
        """Optimiser steps taken, over all phases."""
        self.skipped = 0
        """Steps left out because their loss was not finite."""

    def run(self, windows: Windows, phase: Phase) -> Iterator[dict[str, float]]:
        """Optimise for one phase; yield the loss terms of every step.

        Raises:
            E2CError: when too many steps in a row have no finite loss.
        """
        in_a_row = 0
        for i in range(phase.steps):
            progress = i / phase.steps
            latent_weight = self._latent_weight(progress) if phase.ramp else None
            row = self._update(windows, latent_weight, self._learning_rate(progress, phase))
            in_a_row = 0 if row else in_a_row + 1
            if in_a_row == MAX_SKIPPED_IN_A_ROW:
                raise E2CError(
                    f"Training diverged: {in_a_row} steps in a row up to step {self.step} had no "
                    "finite loss; lower optimiser.learning_rate or set model.transition_bound."
                )
            if row:
                yield row

    def _latent_weight(self, progress: float) -> float:
        """Lambda on its geometric ramp, ``progress`` from 0 to 1."""
        start, end = self.objective.latent_weight_start, self.objective.latent_weight
        share = min(1.0, progress / self.objective.ramp) if self.objective.ramp else 1.0
        return float(start * (end / start) ** share)

    def _learning_rate(self, progress: float, phase: Phase) -> float:
        """Warm up over 2%, hold, and fall over the second half of the first phase; later, fall."""
        decay = self.options.decay
        if not phase.ramp:
            return float(phase.learning_rate * decay**progress)
        warm = min(1.0, (progress + 1 / phase.steps) / 0.02)
        return float(phase.learning_rate * warm * decay ** max(0.0, 2 * progress - 1))

    def _update(
        self, windows: Windows, latent_weight: float | None, learning_rate: float
    ) -> dict[str, float]:
        """Take one step; an empty row says that it was skipped."""
        self.step += 1
        weight = self.objective.latent_weight if latent_weight is None else latent_weight
        times = draw_times(self.objective.horizon, self.objective.targets, self.batches)
        x, u = windows.sample(self.options.batch_size, times, self.batches)
        terms = e2c_terms(self.model, x, u, times, self.noise)
        loss = terms.total(weight)
        self.adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.options.clip or float("inf")
        )
        if not bool(torch.isfinite(loss + norm)):
            self.skipped += 1
            return {}
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
        self.adam.step()
        return {
            "step": self.step,
            "loss": loss.item(),
            **{name: value.item() for name, value in vars(terms).items()},
            "lambda": weight,
            "lr": learning_rate,
            "gradient_norm": norm.item(),
        }
