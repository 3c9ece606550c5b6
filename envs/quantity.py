"""What the numbers of a state and the controls are, for whoever draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Quantity:
    """One number of a state, or what all controls are."""

    name: str
    """What it is, e.g. ``"angle"``."""
    unit: str
    """What it is counted in, e.g. ``"rad"``."""
    goal_half_width: float | None = None
    """How far the goal region reaches to either side of the goal's value; None if not bounded."""

    @property
    def is_angle(self) -> bool:
        """Whether it comes round again after 2 pi."""
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
