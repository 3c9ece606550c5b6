"""Names and units of the numbers of a state and of the controls, for plots."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Quantity:
    """The quantity of one number of a state, or of all controls."""

    name: str
    """Its name, e.g. ``"angle"``."""
    unit: str
    """Its unit, e.g. ``"rad"``; may be empty."""
    goal_half_width: float | None = None
    """Half the width of the goal region about the goal's value; None if it has no bounds."""

    @property
    def is_angle(self) -> bool:
        """Whether values that differ by 2 pi mean the same."""
        return self.unit == "rad"

    @property
    def title(self) -> str:
        """Its name at the beginning of a line."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def label(self) -> str:
        """Its name and, if it has one, its unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def wrapped(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``values [...]`` as they are; if they are angles, within -pi .. pi."""
        return (values + math.pi) % (2 * math.pi) - math.pi if self.is_angle else values
