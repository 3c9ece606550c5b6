"""Every planner by its name, all built in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from planners import checks
from planners.base import Dynamics, Planner
from planners.names import Names
from planners.receding import RecedingHorizon, RecedingOptions
from planners.sampling import CEM, MPPI, CEMOptions, MPPIOptions


class Builder(Protocol):
    """A function that builds a planner, or a class with this constructor."""

    def __call__(
        self,
        dynamics: Dynamics,
        low: Tensor,
        high: Tensor,
        *,
        horizon: int,
        options: Any = None,
        generator: torch.Generator | None = None,
    ) -> Planner:
        """Build a planner.

        Args:
            dynamics: System to control.
            low: ``[m]``: lower limits of the controls.
            high: ``[m]``: upper limits.
            horizon: Number ``T`` of controls planned ahead; it replaces the options' horizon.
            options: The planner's own options; left out, its defaults.
            generator: Source of random numbers, on the CPU; left out, torch's global one.
        """


def _build(
    planner: Callable[..., Planner],
    kind: type[Any],
    dynamics: Dynamics,
    low: Tensor,
    high: Tensor,
    *,
    horizon: int,
    options: Any = None,
    generator: torch.Generator | None = None,
) -> Planner:
    """Build a planner whose constructor finds the horizon in its options."""
    chosen = replace(checks.options(options, kind), horizon=horizon)
    return planner(dynamics, low, high, chosen, generator)


PLANNERS: dict[str, Builder] = Names(
    "planner",
    {
        "ilqg": partial(_build, RecedingHorizon, RecedingOptions),
        "cem": partial(_build, CEM, CEMOptions),
        "mppi": partial(_build, MPPI, MPPIOptions),
    },
)
"""Planners by name; ``PLANNERS["mine"] = MyPlanner`` adds one (see ``examples/own_planner.py``)."""
