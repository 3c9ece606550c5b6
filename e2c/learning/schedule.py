"""What changes from step to step of a phase of training: step size, lambda, blur."""

from __future__ import annotations

from dataclasses import dataclass

from e2c.data.coarse import falling_blur
from e2c.models.objectives import ObjectiveConfig
from e2c.options import option

WARM_UP = 0.02
"""Share of the first phase over which the step size rises."""


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam's options; a first phase learns from the first data, one more follows each own round."""

    steps: int = option(5000, 1)
    """Optimiser steps on the first data, given or recorded."""
    steps_per_round: int = option(250)
    """Optimiser steps after each round of the agent's own episodes."""
    batch_size: int = option(32, 1, 65_536)
    """Roll-outs in a batch."""
    learning_rate: float = option(1e-3, 1e-8, 1e3)
    """Adam's step size in the first phase."""
    learning_rate_own: float = option(5e-4, 1e-8, 1e3)
    """Adam's step size at the start of each later phase."""
    beta2: float = option(0.999, 0, 0.99999)
    """Adam's decay of squared gradients."""
    decay: float = option(0.1, 1e-6, 1e3)
    """Factor by which the step size has fallen at the end of each phase; 1 keeps it."""
    blur: float | None = option(None)
    """Blur of the images at the start of training, a standard deviation [px]; 0 for none. If left
    out, it is chosen from the first data; see e2c/learning/looks.py."""
    blur_until: float = option(0.4, 0, 1)
    """Share of the first phase over which the blur falls to none, linearly."""
    dynamics_steps: int = option(4000)
    """Steps at the end of a run in which the dynamics alone learn on, from the means of the
    encodings; 0 for none."""
    dynamics_steps_per_round: int = option(0)
    """Steps in which a copy of the dynamics learns on before each round of own episodes, which it
    then plays; 0 for none."""
    sight_steps: int = option(3000)
    """Steps at the end of a run in which a copy of the encoder learns to see through the faults of
    a camera; 0 for none."""
    clip: float = option(100.0)
    """The norm of the gradient is cut to this; 0 leaves it."""


@dataclass(frozen=True)
class Phase:
    """A stretch of optimisation.

    Attributes:
        steps: optimiser steps.
        learning_rate: Adam's step size at the start.
        ramp: whether lambda is ramped (the first phase) or at its final value (later ones).
    """

    steps: int
    learning_rate: float
    ramp: bool


@dataclass(frozen=True)
class Schedule:
    """The values of a phase after ``done`` of its steps."""

    phase: Phase
    optimiser: OptimiserConfig
    objective: ObjectiveConfig

    def latent_weight(self, done: int) -> float:
        """Return lambda: in the first phase on its geometric ramp, later its final value."""
        start, end = self.objective.latent_weight_start, self.objective.latent_weight
        if not self.phase.ramp:
            return end
        progress, ramp = done / self.phase.steps, self.objective.ramp
        return float(start * (end / start) ** (min(1.0, progress / ramp) if ramp else 1.0))

    def learning_rate(self, done: int) -> float:
        """Return the step size: in the first phase it rises, is held and falls; later it falls."""
        phase, decay = self.phase, self.optimiser.decay
        progress = done / phase.steps
        if not phase.ramp:
            return float(phase.learning_rate * decay**progress)
        warm = min(1.0, (progress + 1 / phase.steps) / WARM_UP)
        return float(phase.learning_rate * warm * decay ** max(0.0, 2 * progress - 1))

    def blur(self, done: int) -> float:
        """Return the blur [px]: in the first phase it falls, later there is none."""
        if not self.phase.ramp:
            return 0.0
        blur, until = self.optimiser.blur or 0.0, self.optimiser.blur_until
        return falling_blur(blur, until, done / self.phase.steps)
