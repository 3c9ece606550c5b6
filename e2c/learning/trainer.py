"""The optimisation loop. It yields metrics; it prints nothing and writes no file.

A step is skipped unless its loss is finite and its gradient finite and not zero. Training has
*diverged* when too many steps in a row are skipped, when the model draws images much worse than the
mean image that it started from, or when a phase ends with a model that cannot be used. Training
then goes back to the last kept state, with a smaller step size. After a few returns the next
divergence ends training with an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from e2c.data.coarse import Lens
from e2c.data.windows import Windows
from e2c.errors import E2CError
from e2c.files.tensors import compare
from e2c.learning.adam import Adam
from e2c.learning.schedule import OptimiserConfig, Phase, Schedule
from e2c.models.base import LatentModel
from e2c.models.draws import Generators
from e2c.models.objectives import Batch, ObjectiveConfig, draw_times

MAX_SKIPPED_IN_A_ROW = 20
"""Training has diverged after this many skipped steps in a row."""
WORST = 3.0
"""Training has diverged when the smoothed sum of the tracked terms is this many times the first."""
SMOOTHING = 0.95
"""Share of the past in that sum."""
MAX_RECOVERIES = 5
"""Divergences that are recovered from; the next one ends training."""
RECOVERY = 0.3
"""Factor on the step size at each recovery."""


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Everything that decides the steps to come, as copies.

    Attributes:
        tensors: weights and buffers, Adam's moments, the generators' states; named by their kind.
        step: optimiser steps taken, over all phases.
        done: steps taken in the present phase.
        first: the sum of the tracked terms of the untrained model, which draws the mean image; 0
            before it is measured. `Trainer.focus` may raise it.
        level: the present sum of the tracked terms, smoothed.
        skipped: number of skipped steps.
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
        """Whether no tensor holds NaN or infinity."""
        numbers = [tensor for tensor in self.tensors.values() if tensor.is_floating_point()]
        return bool(torch.stack([tensor.isfinite().all() for tensor in numbers]).all())


class Trainer:
    """Adam on the objective of a method; moments and generators go on from phase to phase.

    Args:
        model: optimised in place.
        objective: the options of its loss, of the class that the model's ``objective`` names.
        optimiser: the options of the optimiser.
        seed: of the batches and of the reparameterised samples.

    Raises:
        E2CError: when the objective is defined on roll-outs of one step, and the horizon is longer.
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
        self.generators = Generators(seed)
        self.adam = Adam(model.parameters(), self.device, optimiser.beta2)
        self.step, self.done = 0, 0
        """Optimiser steps taken, over all phases and in the present one."""
        self.lens = Lens(torch.zeros(()), 0.0)
        """Blurs the images of a batch: strongly at first, later not at all."""
        self.first = self.level = 0.0
        """The sum of the tracked terms: at first, and now, smoothed; see `TrainingState`."""
        self.skipped, self.skipped_in_a_row = 0, 0
        """Steps that were skipped: in all, and since the last step that was taken."""
        self.scale = 1.0
        """Factor on the step size."""
        self.recoveries: list[dict[str, Any]] = []
        """One ``{step, learning_rate, reason}`` for each divergence recovered from."""
        self.kept = self.state()
        """The state that a divergence goes back to."""

    def run(self, windows: Windows, phase: Phase) -> Iterator[dict[str, float]]:
        """Optimise to the end of a phase; yield a row of metrics for each step that is not skipped.

        A row holds ``step``, ``loss``, every term of the objective, and what `titles` names. Its
        ``step`` may be lower than in the row before: training then went back to `kept`.

        Raises:
            E2CError: when training diverges more than `MAX_RECOVERIES` times.
        """
        schedule = self.begin(phase)
        while self.done < phase.steps:
            self.focus(windows, schedule.blur(self.done))
            row = self.count(self._update(windows, schedule))
            if reason := self.divergence(windows, phase):
                self.recover(reason, phase)
            elif row:
                yield row
        self.done = 0

    def begin(self, phase: Phase) -> Schedule:
        """Begin a phase, or go on with it, and return its schedule."""
        self.kept, self.skipped_in_a_row = self.state(), 0
        return Schedule(phase, self.options, self.objective)

    def begin_anew(self, fresh: LatentModel) -> None:
        """Take the weights of an untrained model; random numbers and counts go on."""
        self.model.load_state_dict(fresh.state_dict())
        self.adam.state.clear()
        self.first = self.level = 0.0

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the numbers of a row in pictures, in their order."""
        return {**self.model.term_titles, "lambda": "Weight λ", "lr": "Learning rate"}

    def keep(self, windows: Windows) -> bool:
        """Keep the present state, to go back to, if it is sound; return whether it is."""
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
        draws = {f"generator/{name}": at for name, at in self.generators.states().items()}
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
            self.adam.state.setdefault(parameters[parameter], {})[kind] = value.clone()
        self.generators.set_states(parts["generator"])
        self.step, self.done = state.step, state.done
        self.first, self.level = state.first, state.level
        self.skipped, self.scale = state.skipped, state.scale
        self.recoveries = list(state.recoveries)

    def _wanted(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors of the shapes that a state must have; ``found`` says which moments."""
        wanted = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        wanted |= {f"generator/{name}": at for name, at in self.generators.states().items()}
        for name, parameter in self.model.named_parameters():
            moments = {f"adam/{kind}/{name}": parameter.data for kind in ("exp_avg", "exp_avg_sq")}
            moments[f"adam/step/{name}"] = torch.zeros(())
            wanted |= moments if moments.keys() & found.keys() else {}
        return wanted

    def divergence(self, windows: Windows, phase: Phase) -> str | None:
        """Return why training has diverged, or None."""
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            return f"{self.skipped_in_a_row} steps in a row had no finite loss or gradient"
        if self.level > WORST * self.first:
            return f"what it drew was {WORST} times as bad as the mean image"
        if self.done == phase.steps and not self._is_sound(windows):
            return "its last step left a model that cannot be used"
        return None

    def recover(self, reason: str, phase: Phase) -> None:
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

    def focus(self, windows: Windows, sigma: float) -> None:
        """Blur images by ``sigma`` [px] from now on; before the first blur, measure ``first``.

        A later phase may begin with data so unlike the first that the tracked terms look like a
        divergence. Then their sum at its start becomes ``first``.
        """
        if sigma and not self.first:
            self.first = self._sample_loss(windows)
        self.lens = Lens(windows.mean_observation, sigma)
        if self.first and self.done == 0:
            begun = self._sample_loss(windows)
            self.first = begun if begun > WORST * self.first else self.first

    def _batch(self, windows: Windows, draws: Generators) -> Batch:
        """Draw a batch, blurred by the lens."""
        times = draw_times(self.objective.horizon, self.objective.targets, draws)
        x, u = windows.sample(self.options.batch_size, times, draws.batches)
        return Batch(self.lens(x), u[:, : times[-1]], torch.tensor(times, device=self.device))

    @torch.no_grad()
    def _sample_loss(self, windows: Windows) -> float:
        """Sum the tracked terms of one more batch, whose seed is the number of steps taken."""
        draws = Generators(self.step)
        batch = self._batch(windows, draws)
        terms = self.model.terms(batch, draws, self.objective)
        return sum(terms[name].item() for name in self.model.tracked)

    def _is_sound(self, windows: Windows) -> bool:
        """Say whether the state is finite, and the tracked terms of one more batch are not huge.

        No row so far holds the terms of the present weights.
        """
        bound = WORST * self.first if self.first and self.lens.is_sharp else math.inf
        return self.state().is_finite() and self._sample_loss(windows) < bound

    def _update(self, windows: Windows, schedule: Schedule) -> dict[str, float]:
        """Take one step of Adam, unless the loss or its gradient forbids it; return its row."""
        latent_weight = schedule.latent_weight(self.done)
        rate = self.scale * schedule.learning_rate(self.done)
        batch = self._batch(windows, self.generators)
        loss, terms = self.model(batch, self.generators, self.objective, latent_weight)
        self.adam.clear_gradients()
        loss.backward()
        norm = clip(self.model, self.options)
        row = {
            "loss": loss.item(),
            **{name: value.item() for name, value in terms.items()},
            "lambda": latent_weight,
            "lr": rate,
            "gradient_norm": norm.item(),
        }
        if may_step(row):
            self.adam.set_rate(rate)
            self.adam.step()
        return row

    def count(self, row: Mapping[str, float]) -> dict[str, float]:
        """Count a step; return its row with its number, or an empty one if it was skipped."""
        self.step, self.done = self.step + 1, self.done + 1
        if not may_step(row):
            self.skipped += 1
            self.skipped_in_a_row += 1
            return {}
        self.skipped_in_a_row = 0
        if self.lens.is_sharp:  # the loss of blurred images cannot be compared with `first`
            drawn = sum(row[name] for name in self.model.tracked)
            self.first = self.first or drawn
            self.level = SMOOTHING * (self.level or drawn) + (1 - SMOOTHING) * drawn
        return {"step": self.step, **row}


def clip(model: LatentModel, options: OptimiserConfig) -> Tensor:
    """Cut the norm of the gradient as the options say; return the norm before, a scalar."""
    most = options.clip or float("inf")
    return torch.nn.utils.clip_grad_norm_(model.parameters(), most)


def may_step(row: Mapping[str, float]) -> bool:
    """Say whether Adam may take a step: its loss is finite, its gradient finite and not zero."""
    return math.isfinite(row["loss"] + row["gradient_norm"]) and row["gradient_norm"] > 0
