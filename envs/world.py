"""World: the contract of a system to act in, and the two tiers that it may add.

A *world* is a `gymnasium.vector.VectorEnv` whose observations are uint8 images and whose actions
are numbers within limits (``Box`` spaces). That is enough to collect, train, act, film and report.
A world may do more:

* It is *scored* if the infos of its steps hold ``is_goal``, a truth value for each episode:
  whether the system is in the goal region. The infos of a reset may also hold ``goal``, the
  observations that the episodes are to reach, and all infos may hold ``state``, the true states.
* It is *simulated* if it inherits `Simulated`: its states can be read and set. Only the oracle,
  random restarts and disturbances need that.

A feature that needs the simulated tier asks for it with `simulated`. Where it is missing, this
raises an error of one sentence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from envs.arrays import brief, is_whole
from envs.images import ImageLayout
from envs.task import Task

World = VectorEnv[Any, Any, Any]
"""The system to act in: B episodes side by side."""


class Simulated(ABC):
    """The base of a world whose states can be read and set, and whose mechanics are known."""

    task: Task
    """The mechanics, picture and score, as pure functions of states."""
    push: NDArray[np.float64] | None
    """Added to the controls in the coming steps, ``[B, m]``, not limited; or None."""

    @property
    @abstractmethod
    def states(self) -> NDArray[np.float64]:
        """A copy of the present states, ``[B, n]``; a reset's option ``states`` sets them."""


def simulated(world: World, feature: str) -> Simulated:
    """Return the simulated tier of a world, below any wrappers.

    Args:
        world: any world.
        feature: the feature that needs it, for the message.

    Raises:
        ValueError: when the world has no such tier.
    """
    inner: Any = world.unwrapped
    if isinstance(inner, Simulated):
        return inner
    raise ValueError(
        f"{feature} needs a world whose states can be read and set, and {name_of(world)} is known "
        "by its images only; leave it out."
    )


def check_world(world: World) -> None:
    """Raise a ValueError, one sentence, unless ``world`` fulfils the contract."""
    if not isinstance(world, VectorEnv):
        raise ValueError(
            f"A world is a gymnasium.vector.VectorEnv; got {type(world).__name__}: give what "
            "e2c.make_world(ID) returns."
        )
    acted = world.single_action_space
    if not shows_images(world):
        raise ValueError(
            f"{name_of(world)} shows {world.single_observation_space}, and a world shows uint8 "
            "images: add Gymnasium's AddRenderObservation."
        )
    layout_of(world)
    if not isinstance(acted, Box) or len(acted.shape) != 1 or acted.dtype.kind != "f":
        raise ValueError(
            f"{name_of(world)} takes actions of {acted}, and a world takes a vector of real "
            "numbers within limits (Box of float32): wrap it so that its actions are continuous."
        )
    if world.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP:
        raise ValueError(
            f"{name_of(world)} begins an episode anew in the step that ends it, which hides the "
            "last image: make it with AutoresetMode.NEXT_STEP or DISABLED."
        )
    if not (np.isfinite(acted.low).all() and np.isfinite(acted.high).all()):
        raise ValueError(
            f"{name_of(world)} has actions without limits, {acted}: give the lowest and the "
            "highest value of each in the environment's action_space."
        )
    if not (acted.low < acted.high).all():
        raise ValueError(
            f"{name_of(world)} has a control whose lowest value is not below its highest, {acted}: "
            "leave out of the environment's action_space what cannot be controlled."
        )


def shows_images(world: World) -> bool:
    """Say whether observations are uint8, as images are."""
    return isinstance(world.single_observation_space, Box) and (
        world.single_observation_space.dtype == np.uint8
    )


def control_space(world: World) -> Box:
    """Return the limits of one episode's controls, ``[m]``."""
    space = world.single_action_space
    assert isinstance(space, Box)
    return space


def layout_of(world: World) -> ImageLayout:
    """Return the layout of the images of one episode's observation."""
    space = world.single_observation_space
    assert isinstance(space, Box)
    return ImageLayout(space.shape)


def name_of(world: World) -> str:
    """Return the id that a world was made by, or the name of its class."""
    return world.spec.id if world.spec is not None else type(world.unwrapped).__name__


def time_step(world: World) -> float:
    """Return the control step [s]: the world's ``dt`` if it has one, or else one frame's time.

    Gymnasium's metadata state frames per second, mostly as whole numbers; ``dt`` is more exact.
    """
    dt = _attribute(world, "dt")
    return float(dt) if dt is not None else 1 / float(world.metadata.get("render_fps") or 30)


def episode_steps(world: World) -> int:
    """Return the steps after which an episode is cut off.

    Raises:
        ValueError: when the world has no such limit.
    """
    steps = None if world.spec is None else world.spec.max_episode_steps
    if steps is None:
        raise ValueError(
            f"{name_of(world)} does not say how long an episode is: register it with "
            "max_episode_steps."
        )
    return int(steps)


def settle_steps(world: World) -> int:
    """Return in how many last steps an episode must be in the goal region to succeed.

    It is the world's ``settle_steps`` if it has any, or else a quarter of an episode.
    """
    steps = _attribute(world, "settle_steps")
    return int(steps) if steps is not None else max(1, episode_steps(world) // 4)


def picture_size(world: World) -> tuple[int, int] | None:
    """Return height and width [px] of the pictures that a camera looks at; None without one."""
    found = _attribute(world, "picture_size")
    return None if found is None else (int(found[0]), int(found[1]))


def begin(
    world: World, rng: np.random.Generator, **options: Any
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Reset a world so that all chance in its episodes comes from ``rng``.

    A world with one generator gets ``rng`` as its own. A world that is made of single environments
    gets a seed for each of them.

    Raises:
        ValueError: for options that the world does not know, or infos that are no mapping.
    """
    told = options or None
    drawing: Any = world.np_random  # a tuple of generators in Gymnasium's SyncVectorEnv
    if isinstance(drawing, np.random.Generator):
        world.np_random = rng
        found = world.reset(options=told)
    else:
        seeds = rng.integers(2**31, size=world.num_envs).tolist()
        found = world.reset(seed=seeds, options=told)
    if not isinstance(found[1], Mapping):
        raise ValueError(
            f"{name_of(world)} gives infos as a {type(found[1]).__name__}, not as a dictionary of "
            "arrays: leave out the wrapper that changes them."
        )
    return found


def as_seed(seed: Any) -> int | None:
    """Return a seed as Gymnasium takes it.

    Raises:
        ValueError: unless it is None or a whole number from 0 on.
    """
    if seed is None:
        return None
    if not (is_whole(seed) and seed >= 0):
        raise ValueError(f"A seed is a whole number from 0 on; got {brief(seed)}.")
    return int(seed)


def _attribute(world: World, name: str) -> Any:
    """Return an attribute of a world, or of the first environment that it is made of, or None."""
    inner = world.unwrapped
    if hasattr(inner, name):
        return getattr(inner, name)
    first = getattr(inner, "envs", [None])[0]
    if first is None or not first.has_wrapper_attr(name):
        return None
    return first.get_wrapper_attr(name)
