"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file aside and move it into place, so that it appears whole or not at all.

    Args:
        path: where the file is to appear; its folder must exist.
        write: writes the file at the path given to it, which has the same suffix.

    Raises:
        OSError: when the disk is full or the folder cannot be written; nothing is left behind.
    """
    aside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON, whole or not at all, in a folder that is made if need be.

    Raises:
        OSError: as `write_whole`.
        ValueError: for a number that is not finite.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_whole(path, lambda aside: aside.write_text(text, "utf-8"))


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written by `write_whole` in a folder and below."""
    for path in folder.rglob(".*.tmp*"):
        found = _ASIDE.fullmatch(path.name)
        if found and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


_ASIDE = re.compile(r"\..+\.(\d{1,9})\.tmp(\.\w+)?")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
