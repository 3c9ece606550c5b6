"""Parts by their names: a dictionary that the user may add to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class Names(dict[str, T]):
    """Parts by name. ``names["mine"] = Mine`` adds one; no other part takes a built-in one's name.

    What is saved keeps the name alone. Where the part of that name is another one when it is
    loaded, nothing could tell.

    Args:
        kind: what the parts are called in a sentence.
        built_in: those that there are from the beginning.
    """

    def __init__(self, kind: str, built_in: Mapping[str, T]) -> None:
        super().__init__(built_in)
        self._kind, self._built_in = kind, dict(built_in)

    def __setitem__(self, name: str, part: T) -> None:
        """Add a part, or put another in the place of an added one.

        Raises:
            ValueError: when ``name`` is that of a built-in part.
        """
        if self._built_in.get(name, part) is not part:
            raise ValueError(
                f"There is a built-in {self._kind} {name!r} already; choose another name for yours."
            )
        super().__setitem__(name, part)
