"""The random numbers of an objective, drawn when it asks for them or ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

_ALONE = threading.RLock()
"""Held by the thread that uses torch's global generator, which all threads share."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator on the CPU, which layers draw their weights from.

    At the end the generator is as it was before. Other threads that call this wait meanwhile.
    """
    with _ALONE, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class Draws(Protocol):
    """Where an objective takes its random numbers from."""

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers of the shape, type and device of ``like``."""

    def choice(self, count: int) -> int:
        """Return one of 0 .. count - 1."""


class Generators:
    """Draws from generators of the CPU, so that every device gets the same numbers.

    Choices decide which operations a training step is made of. They do not depend on the seed, so
    that the steps of several seeds can be taken together.

    Args:
        seed: of all but the choices.
    """

    def __init__(self, seed: int) -> None:
        self.batches = torch.Generator().manual_seed(seed)
        """For batches of windows."""
        self.normals = torch.Generator().manual_seed(seed)
        self.choices = torch.Generator().manual_seed(0)

    def normal(self, like: Tensor) -> Tensor:
        """See `Draws.normal`."""
        drawn = torch.randn(like.shape, generator=self.normals, dtype=like.dtype)
        return drawn.to(like.device)

    def choice(self, count: int) -> int:
        """See `Draws.choice`."""
        return int(torch.randint(count, (1,), generator=self.choices))

    def states(self) -> dict[str, Tensor]:
        """Return where each generator stands."""
        return {name: generator.get_state() for name, generator in vars(self).items()}

    def set_states(self, states: Mapping[str, Tensor]) -> None:
        """Go on from what `states` returned."""
        for name, generator in vars(self).items():
            generator.set_state(states[name])

    def copy(self) -> Generators:
        """Return independent generators with the same states."""
        copied = Generators(0)
        copied.set_states(self.states())
        return copied


class Asked:
    """Notes which random numbers an objective asks for, and answers with zeros."""

    def __init__(self) -> None:
        self.shapes: list[torch.Size] = []
        """Shapes of the normal numbers, in their order."""
        self.counts: list[int] = []
        """Numbers of possible choices, in their order."""

    def normal(self, like: Tensor) -> Tensor:
        """See `Draws.normal`."""
        self.shapes.append(like.shape)
        return torch.zeros_like(like)

    def choice(self, count: int) -> int:
        """See `Draws.choice`."""
        self.counts.append(count)
        return 0

    def drawn(self, source: Draws) -> tuple[Tensor, tuple[int, ...]]:
        """Draw what was asked for: all normal numbers as one vector, and the choices."""
        normals = [source.normal(torch.empty(shape)).flatten() for shape in self.shapes]
        return torch.cat([torch.empty(0), *normals]), tuple(
            source.choice(count) for count in self.counts
        )


class Ahead:
    """Answers with random numbers that were drawn ahead.

    Args:
        shapes: of the normal numbers, in the order in which they are asked for.
        normals: all of them as one vector.
        choices: in the order in which they are asked for.
    """

    def __init__(
        self, shapes: Sequence[torch.Size], normals: Tensor, choices: Sequence[int]
    ) -> None:
        parts = normals.split_with_sizes([shape.numel() for shape in shapes])
        self._normals: Iterator[Tensor] = (
            part.view(shape) for part, shape in zip(parts, shapes, strict=True)
        )
        self._choices = iter(choices)

    def normal(self, like: Tensor) -> Tensor:
        """See `Draws.normal`."""
        return next(self._normals)

    def choice(self, count: int) -> int:
        """See `Draws.choice`."""
        return next(self._choices)
