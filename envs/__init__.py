"""Control tasks seen through a camera, registered with Gymnasium as data.

``import envs`` registers every task of :data:`ENVIRONMENTS`; :func:`make` builds one.

    >>> import envs
    >>> env = envs.make("E2C/PendulumSwingUp-v0")
    >>> observation, info = env.reset(seed=0)
    >>> observation.shape, observation.dtype
    ((2, 48, 48), dtype('uint8'))
"""

import difflib
from dataclasses import dataclass
from typing import Any

import gymnasium

from envs.core import PixelEnv

__all__ = ["ENVIRONMENTS", "EnvEntry", "PixelEnv", "make"]


@dataclass(frozen=True)
class EnvEntry:
    """What Gymnasium is told about one task."""

    id: str
    """The name given to :func:`make`."""
    entry_point: str
    """``module:Class`` of the :class:`~envs.core.PixelEnv`, imported when it is first made."""
    max_episode_steps: int
    """Control steps after which an episode is truncated, and over which it is scored."""


ENVIRONMENTS = {
    entry.id: entry
    for entry in (
        EnvEntry("E2C/PendulumSwingUp-v0", "envs.pendulum:PendulumSwingUp", 200),
        EnvEntry("E2C/Planar-v0", "envs.planar:PlanarNavigation", 40),
        EnvEntry("E2C/PendulumBalance-v0", "envs.strong_pendulum:PendulumBalance", 100),
        EnvEntry("E2C/PendulumReach-v0", "envs.strong_pendulum:PendulumReach", 100),
        EnvEntry("E2C/CartPole-v0", "envs.cart_pole:CartPole", 50),
        EnvEntry("E2C/ThreeLinkArm-v0", "envs.three_link_arm:ThreeLinkArm", 200),
    )
}


def make(env_id: str, **kwargs: Any) -> PixelEnv:
    """Build the task called ``env_id``, without Gymnasium's wrappers.

    It never truncates: ``ENVIRONMENTS[env_id].max_episode_steps`` holds the length of an episode.
    For the wrapped environment that ends by itself, call ``gymnasium.make(env_id)``.

    Args:
        env_id: a key of :data:`ENVIRONMENTS`.
        kwargs: the task's own options, e.g. ``state_noise`` and ``render_mode``.

    Raises:
        ValueError: for an unknown id; the message lists the valid ones, the nearest first.
    """
    if env_id not in ENVIRONMENTS:
        nearest = sorted(ENVIRONMENTS, key=lambda known: -_similarity(env_id, known))
        raise ValueError(f"No environment is called {env_id!r}; valid are: {', '.join(nearest)}.")
    env = gymnasium.make(env_id, disable_env_checker=True, **kwargs).unwrapped
    assert isinstance(env, PixelEnv)
    return env


def _similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()


for _entry in ENVIRONMENTS.values():
    gymnasium.register(_entry.id, _entry.entry_point, max_episode_steps=_entry.max_episode_steps)
