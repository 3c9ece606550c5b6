"""Parts by their names: a dictionary that the user may add to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class Names(dict[str, T]):
    """Parts by name. ``names["mine"] = Mine`` adds one; a built-in name keeps its part.

    A saved file holds only the name of a part. If the name meant another part later, loading could
    not detect that.

    Args:
        kind: the word for a part in error messages.
        built_in: the parts that cannot be replaced.
    """

    def __init__(self, kind: str, built_in: Mapping[str, T]) -> None:
        super().__init__(built_in)
        self._kind, self._built_in = kind, dict(built_in)

    def __setitem__(self, name: str, part: T) -> None:
        """Add a part, or replace one that was added before.

        Raises:
            ValueError: when ``name`` belongs to another, built-in part.
        """
        if self._built_in.get(name, part) is not part:
            raise ValueError(
                f"There is a built-in {self._kind} {name!r} already; choose another name for yours."
            )
        super().__setitem__(name, part)
