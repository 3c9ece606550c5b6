"""Minari: data sets of others as recordings, and ours for others; needs ``e2c[minari]``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray

from e2c.data.episodes import Episodes
from e2c.data.tables import Floats, check_actions
from e2c.data.takes import Take
from e2c.errors import E2CError
from e2c.files.arrays import MISHAPS
from e2c.files.untrusted import shown

PREFIX = "minari:"
"""What the name of a data set begins with where a recording is named."""


def is_minari(source: Path) -> bool:
    """Tell whether a recording is a Minari data set: by its name, or by what its folder holds."""
    return str(source).startswith(PREFIX) or (source / "data" / "metadata.json").exists()


def minari_takes(source: Path) -> Iterator[Take]:
    """Yield the episodes of a Minari data set.

    Args:
        source: ``minari:NAME``, as `minari.load_dataset` takes it; or the folder of a data set.

    Raises:
        E2CError: when Minari is missing, or cannot read it; when it has no images or no continuous
            actions.
    """
    minari, name = _minari(), str(source)
    try:
        if name.startswith(PREFIX):
            found = minari.load_dataset(name.removeprefix(PREFIX))
        else:
            found = minari.MinariDataset(source / "data")
        key = _image(found.observation_space, name)
        low, high = _limits(found.action_space, name)
        for number, episode in enumerate(found.iterate_episodes()):
            pictures = episode.observations if key is None else episode.observations[key]
            take = f"Episode {number} of {name}"
            actions = check_actions(np.asarray(episode.actions), take)
            yield Take(take, _grey(pictures), actions, limits=(low, high))
    except (*MISHAPS, ValueError, LookupError, TypeError, ImportError) as error:
        raise E2CError(f"{name} cannot be read by Minari ({shown(error)}).") from None


def export(episodes: Episodes, name: str) -> None:
    """Make a Minari data set of episodes, in Minari's folder (``MINARI_DATASETS_PATH``).

    An observation there is the newest frame alone, so that the frames before an episode's first
    whole observation are left out.

    Args:
        episodes: what was recorded.
        name: of the data set, such as ``mine/pendulum-v0``.

    Raises:
        E2CError: when Minari is missing, or refuses the name.
    """
    minari, m = _minari(), episodes.actions.shape[1]
    told: Mapping[str, Any] = episodes.provenance.get("parameters", {})
    low, high = (
        np.asarray(told.get(f"control_{end}", [beyond] * m), np.float32)
        for end, beyond in (("low", -np.inf), ("high", np.inf))
    )
    buffers = [_buffer(part, e) for e, part in enumerate(episodes.split())]
    try:
        with warnings.catch_warnings(action="ignore"):
            minari.create_dataset_from_buffers(
                name,
                buffers,
                action_space=Box(low, high, dtype=np.float32),
                observation_space=Box(0, 255, episodes.frames.shape[1:], np.uint8),
                data_format="hdf5",
                jpeg_encoding=False,
            )
    except (*MISHAPS, ValueError, LookupError, TypeError, ImportError) as error:
        raise E2CError(
            f"Minari does not make {shown(repr(name))} ({shown(error)}); a name is like "
            "mine/pendulum-v0, and not taken yet."
        ) from None


def _minari() -> ModuleType:
    try:
        import minari.data_collector  # a folder that is called minari has no such module
    except ImportError as error:
        raise E2CError(
            f'Minari is not installed ({error}); install it with: pip install "e2c[minari]"'
        ) from None
    found: ModuleType = minari
    return found


def _image(space: Space[Any], name: str) -> str | None:
    """Return the key of the images among the observations; None where these are the images.

    Raises:
        E2CError: when there are none, or more than one in an observation.
    """
    if _is_image(space):
        return None
    keys = (
        [key for key, part in space.items() if _is_image(part)] if isinstance(space, Dict) else []
    )
    if len(keys) != 1:
        what = f"several images ({', '.join(keys)})" if keys else "no images"
        raise E2CError(
            f"An observation of {name} holds {what}: it is {shown(space)}; choose a data set with "
            "one picture in each, uint8 of [h, w, 3] or [h, w]."
        )
    return keys[0]


def _is_image(space: Space[Any]) -> bool:
    """Tell whether a space is that of pictures: uint8 ``[h, w]``, ``[h, w, 1]``, ``[h, w, 3]``."""
    shape = space.shape or ()
    return (
        isinstance(space, Box)
        and space.dtype == np.uint8
        and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)))
    )


def _limits(space: Space[Any], name: str) -> tuple[Floats, Floats]:
    """Return the limits of each control ``[m]``.

    Raises:
        E2CError: when actions are not vectors of real numbers.
    """
    if not isinstance(space, Box) or len(space.shape) != 1 or space.dtype.kind != "f":
        raise E2CError(
            f"The actions of {name} are {shown(space)}; they must be vectors of real numbers."
        )
    return space.low.astype(np.float64), space.high.astype(np.float64)


def _grey(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures ``[N, h, w, 3]``, or ``[N, h, w]`` for ``[N, h, w, 1]`` too."""
    return pictures[..., 0] if pictures.shape[3:] == (1,) else pictures


def _buffer(episode: Episodes, number: int) -> Any:
    """Return an episode as Minari takes it."""
    from minari.data_collector import EpisodeBuffer

    T, last = episode.transitions, np.arange(episode.transitions) == episode.transitions - 1
    ended = bool(episode.terminated is not None and episode.terminated[0])
    return EpisodeBuffer(
        id=number,
        observations=episode.frames[episode.frames_per_observation - 1 :],
        actions=episode.actions,
        rewards=np.zeros(T) if episode.rewards is None else episode.rewards,
        terminations=last & ended,
        truncations=last & (not ended),
    )
