"""One optimisation loop, which yields metrics; it prints nothing and writes no file.

A step without a finite loss and a gradient is skipped. Training has *diverged* when too many steps
in a row are skipped, or when the model draws images worse than the mean image that it started from.
It then goes back to the last state that was kept, with a smaller step size. After a few returns
the next divergence ends training with an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from e2c.data.coarse import Lens, falling_blur
from e2c.data.windows import Windows
from e2c.errors import E2CError
from e2c.files.tensors import compare
from e2c.models.base import LatentModel
from e2c.models.objectives import Batch, ObjectiveConfig, draw_times
from e2c.options import option

MAX_SKIPPED_IN_A_ROW = 20
"""Training has diverged after this many skipped steps in a row."""
WORST = 3.0
"""Training has diverged when the smoothed loss of its drawings is this many times the first."""
SMOOTHING = 0.95
"""Share of the past in that loss."""
MAX_RECOVERIES = 5
"""Divergences that are recovered from; the next one ends training."""
RECOVERY = 0.3
"""Factor on the step size at each recovery."""
WARM_UP = 0.02
"""Share of the first phase over which the step size rises."""


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam, over two kinds of phase: one on the first data, then one after each own round."""

    steps: int = option(4000, 1)
    """Optimiser steps on the data given or drawn at random."""
    steps_per_round: int = option(500)
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
    blur: float = option(0.0)
    """Blur of the images that training starts from, a standard deviation [px]; 0 for none."""
    blur_until: float = option(0.4, 0, 1)
    """Share of the first phase over which the blur falls to none, linearly."""
    clip: float = option(100.0)
    """The norm of the gradient is cut to this; 0 leaves it."""


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


@dataclass(frozen=True)
class TrainingState:
    """Everything that decides the steps to come, as copies.

    Attributes:
        tensors: weights and buffers, Adam's moments, the generators' states; named by their kind.
        step: optimiser steps taken, over all phases.
        done: steps taken in the present phase.
        first: the sum of the tracked terms of the untrained model, which draws the mean image; 0
            before any step.
        level: that sum now, smoothed.
        skipped: steps left out.
        scale: factor on the step size, lowered by recoveries.
        recoveries: one ``{step, learning_rate, reason}`` for each.
    """

    tensors: dict[str, Tensor]
    step: int
    done: int
    first: float
    level: float
    skipped: int
    scale: float
    recoveries: list[dict[str, Any]]

    def is_finite(self) -> bool:
        """Whether there is neither NaN nor infinity in it."""
        return all(bool(tensor.isfinite().all()) for tensor in self.tensors.values())


class Trainer:
    """Adam on the objective of a method; keeps its moments and its generators from phase to phase.

    Args:
        model: optimised in place.
        objective: the options of its loss, of the class that the model's ``objective`` names.
        optimiser: the options of the optimiser.
        seed: of the batches and of the reparameterised samples.

    Raises:
        E2CError: when the objective is not defined on roll-outs that long.
    """

    def __init__(
        self, model: LatentModel, objective: ObjectiveConfig, optimiser: OptimiserConfig, seed: int
    ) -> None:
        if model.one_step and objective.horizon > 1:
            raise E2CError(
                f"{type(model).__name__} is defined on roll-outs of one step; got "
                f"{objective.horizon}; set objective.horizon and objective.targets to 1."
            )
        self.model, self.objective, self.options = model, objective, optimiser
        self.device = model.goal.device
        self.generators = {
            "batches": torch.Generator().manual_seed(seed),
            "noise": torch.Generator(self.device).manual_seed(seed),
        }
        self.adam = torch.optim.Adam(
            model.parameters(), lr=0.0, betas=(0.9, optimiser.beta2), fused=True
        )
        self.step, self.done = 0, 0
        """Optimiser steps taken, over all phases and in the present one."""
        self.lens = Lens(torch.zeros(()), 0.0)
        """Blurs the images of a batch: strongly at first, later not at all."""
        self.first = self.level = 0.0
        """The sum of the tracked terms: of the untrained model, and smoothed, now."""
        self.skipped, self.skipped_in_a_row = 0, 0
        """Steps left out because they had no finite loss or no gradient."""
        self.scale = 1.0
        """Factor on the step size."""
        self.recoveries: list[dict[str, Any]] = []
        """One ``{step, learning_rate, reason}`` for each divergence recovered from."""
        self.kept = self.state()
        """The state that a divergence goes back to."""

    def run(self, windows: Windows, phase: Phase) -> Iterator[dict[str, float]]:
        """Optimise to the end of a phase; yield what each step did that is not skipped.

        A row holds ``step``, ``loss``, every term of the objective, and what `titles` names. Its
        ``step`` may be lower than in the row before: training then went back to `kept`.

        Raises:
            E2CError: when training diverges more than `MAX_RECOVERIES` times.
        """
        self.kept, self.skipped_in_a_row = self.state(), 0
        while self.done < phase.steps:
            self._focus(windows, self._blur(phase))
            row = self._update(windows, self._latent_weight(phase), self._learning_rate(phase))
            if reason := self._divergence(windows, phase):
                self._recover(reason, phase)
            elif row:
                yield row
        self.done = 0

    @property
    def titles(self) -> dict[str, str]:
        """What the numbers of a row are called in pictures, in their order."""
        return {**self.model.term_titles, "lambda": "Weight λ", "lr": "Learning rate"}

    def keep(self, windows: Windows) -> bool:
        """Keep the present state as the one to go back to, if it is sound; return whether it is."""
        sound = self._is_sound(windows)
        if sound:
            self.kept = self.state()
        return sound

    def state(self) -> TrainingState:
        """Copy the present state."""
        moments = {
            f"adam/{kind}/{name}": value
            for name, parameter in self.model.named_parameters()
            for kind, value in self.adam.state.get(parameter, {}).items()
        }
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        draws = {f"generator/{name}": g.get_state() for name, g in self.generators.items()}
        copies = {name: t.clone() for name, t in {**tensors, **moments, **draws}.items()}
        return TrainingState(
            tensors=copies,
            step=self.step,
            done=self.done,
            first=self.first,
            level=self.level,
            skipped=self.skipped,
            scale=self.scale,
            recoveries=list(self.recoveries),
        )

    def restore(self, state: TrainingState) -> None:
        """Go on from ``state``: every step to come is, bit for bit, what it would have been.

        Raises:
            ValueError: when it is the state of another model.
        """
        compare(state.tensors, self._wanted(state.tensors))
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "adam": {}, "generator": {}}
        for name, value in state.tensors.items():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = value
        self.model.load_state_dict(parts["model"])
        self.adam.state.clear()
        parameters = dict(self.model.named_parameters())
        for name, value in parts["adam"].items():
            kind, _, parameter = name.partition("/")
            self.adam.state[parameters[parameter]][kind] = value.clone()
        for name, generator in self.generators.items():
            generator.set_state(parts["generator"][name])
        self.step, self.done = state.step, state.done
        self.first, self.level = state.first, state.level
        self.skipped, self.scale = state.skipped, state.scale
        self.recoveries = list(state.recoveries)

    def _wanted(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors like those of a state, with moments where ``found`` has any."""
        wanted = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        wanted |= {f"generator/{name}": g.get_state() for name, g in self.generators.items()}
        for name, parameter in self.model.named_parameters():
            moments = {f"adam/{kind}/{name}": parameter.data for kind in ("exp_avg", "exp_avg_sq")}
            moments[f"adam/step/{name}"] = torch.zeros(())
            wanted |= moments if moments.keys() & found.keys() else {}
        return wanted

    def _divergence(self, windows: Windows, phase: Phase) -> str | None:
        """Return why training has diverged, or None."""
        if self.skipped_in_a_row == MAX_SKIPPED_IN_A_ROW:
            return f"{self.skipped_in_a_row} steps in a row had no finite loss or gradient"
        if self.level > WORST * self.first:
            return f"what it drew was {WORST} times as bad as the mean image"
        if self.done == phase.steps and not self._is_sound(windows):
            return "its last step left a model that cannot be used"
        return None

    def _recover(self, reason: str, phase: Phase) -> None:
        """Go back to the state that was kept, with a smaller step."""
        scale, skipped = RECOVERY * self.scale, self.skipped
        told = {"step": self.step, "learning_rate": scale * phase.learning_rate, "reason": reason}
        recoveries = [*self.recoveries, told]
        if len(recoveries) > MAX_RECOVERIES:
            raise E2CError(
                f"Training diverged at step {self.step} ({reason}), also after {MAX_RECOVERIES} "
                f"returns to an earlier state, the last with {self.scale:.2g} of the step size; "
                "lower optimiser.learning_rate, set model.transition_bound or look at the data."
            )
        self.restore(self.kept)
        self.skipped, self.scale, self.recoveries = skipped, scale, recoveries
        self.skipped_in_a_row = 0

    def _latent_weight(self, phase: Phase) -> float:
        """Return lambda: in the first phase on its geometric ramp, later at its end."""
        start, end = self.objective.latent_weight_start, self.objective.latent_weight
        if not phase.ramp:
            return end
        progress, ramp = self.done / phase.steps, self.objective.ramp
        return float(start * (end / start) ** (min(1.0, progress / ramp) if ramp else 1.0))

    def _learning_rate(self, phase: Phase) -> float:
        """Return the step size: in the first phase it rises, is held and falls; later it falls."""
        progress, decay = self.done / phase.steps, self.options.decay
        if not phase.ramp:
            return float(self.scale * phase.learning_rate * decay**progress)
        warm = min(1.0, (progress + 1 / phase.steps) / WARM_UP)
        return float(self.scale * phase.learning_rate * warm * decay ** max(0.0, 2 * progress - 1))

    def _blur(self, phase: Phase) -> float:
        """Return the blur [px]: in the first phase it falls, later there is none."""
        if not phase.ramp:
            return 0.0
        return falling_blur(self.options.blur, self.options.blur_until, self.done / phase.steps)

    def _focus(self, windows: Windows, sigma: float) -> None:
        """Blur images by ``sigma`` [px] from now on; before the first blur, measure ``first``."""
        if sigma and not self.first:
            self.first = self._sample_loss(windows)
        self.lens = Lens(windows.mean_observation, sigma)

    def _terms(
        self, windows: Windows, batches: torch.Generator, noise: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the loss terms of a batch, as the lens blurs it."""
        times = draw_times(self.objective.horizon, self.objective.targets, batches)
        x, u = windows.sample(self.options.batch_size, times, batches)
        return self.model.terms(Batch(self.lens(x), u, times), noise, self.objective)

    def _tracked(self, terms: Mapping[str, Tensor]) -> float:
        return sum(terms[name].item() for name in self.model.tracked)

    @torch.no_grad()
    def _sample_loss(self, windows: Windows) -> float:
        """Sum the tracked terms of one more batch, whose seed is the number of steps taken."""
        noise = torch.Generator(self.device).manual_seed(self.step)
        terms = self._terms(windows, torch.Generator().manual_seed(self.step), noise)
        return self._tracked(terms)

    def _is_sound(self, windows: Windows) -> bool:
        """Evaluate one more batch: no loss so far was that of the present weights."""
        bound = WORST * self.first if self.first and self.lens.is_sharp else math.inf
        return self.state().is_finite() and self._sample_loss(windows) < bound

    def _update(
        self, windows: Windows, latent_weight: float, learning_rate: float
    ) -> dict[str, float]:
        """Take one step of Adam; an empty row says that it was skipped."""
        self.step, self.done = self.step + 1, self.done + 1
        terms = self._terms(windows, self.generators["batches"], self.generators["noise"])
        weights = self.model.weights(self.objective, latent_weight)
        loss = torch.stack([share * terms[name] for name, share in weights.items()]).sum()
        self.adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.options.clip or float("inf")
        )
        if not bool(torch.isfinite(loss + norm) & (norm > 0)):
            self.skipped += 1
            self.skipped_in_a_row += 1
            return {}
        self.skipped_in_a_row = 0
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
        self.adam.step()
        if self.lens.is_sharp:  # the loss of blurred images cannot be compared with `first`
            drawn = self._tracked(terms)
            self.first = self.first or drawn
            self.level = SMOOTHING * (self.level or drawn) + (1 - SMOOTHING) * drawn
        return {
            "step": self.step,
            "loss": loss.item(),
            **{name: value.item() for name, value in terms.items()},
            "lambda": latent_weight,
            "lr": learning_rate,
            "gradient_norm": norm.item(),
        }
