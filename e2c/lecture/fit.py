"""Fitting a model to recorded episodes in memory: no run folder, no rounds, no pictures."""

from __future__ import annotations

from typing import Any

from e2c.data.episodes import Episodes
from e2c.data.windows import Windows
from e2c.learning.schedule import OptimiserConfig, Phase
from e2c.learning.trainer import Trainer
from e2c.models.base import LatentModel
from e2c.models.objectives import ObjectiveConfig


def fit(
    model: LatentModel[Any],
    data: Episodes,
    objective: ObjectiveConfig,
    optimiser: OptimiserConfig,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Train a new model in place, as the first phase of a run does.

    Args:
        model: untrained; its decoder begins at the mean image of the data.
        data: what it learns from.
        objective: options of its loss.
        optimiser: its ``steps`` and ``learning_rate`` are those of the phase.
        seed: of batches and samples.

    Returns:
        A row for each step; see `Trainer.run`.

    Raises:
        E2CError: when no episode is as long as a window, or training diverges for good.
    """
    windows = Windows([data], objective.horizon, 0.0, model.goal.device, model.see)
    model.decoder.start_at(windows.mean_observation)
    trainer = Trainer(model.train(), objective, optimiser, seed)
    rows = list(trainer.run(windows, Phase(optimiser.steps, optimiser.learning_rate, True)))
    model.eval().measure(data.planes())
    return rows
