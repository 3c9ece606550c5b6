"""Controller: what acts in a world; and the one loop in which it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import AutoresetMode, VectorWrapper
from numpy.typing import ArrayLike, NDArray

import envs
from e2c.control.record import Record
from e2c.data.episodes import RECORDING, Episodes
from e2c.errors import E2CError
from e2c.files.untrusted import shown
from e2c.models.base import ProblemSpec
from e2c.options import Range, checked, from_dict
from envs.arrays import as_array, form_of
from envs.faults import failure
from envs.world import (
    Simulated,
    World,
    begin,
    check_world,
    control_space,
    episode_steps,
    layout_of,
    name_of,
    picture_size,
    time_step,
)

Frames = NDArray[np.uint8]
Watch = Callable[[int], object]
"""Called with 0 when the episodes have begun, and with t after each step t."""


@runtime_checkable
class Controller(Protocol):
    """What acts: an agent, the oracle, random controls, a recording that is played again."""

    def reset(self, goals: Frames | None, /) -> None:
        """Begin a batch of episodes.

        Args:
            goals: the observations that the episodes are to reach, ``[B, *observation]``; None
                where the world does not tell them.
        """

    def act(self, frames: Frames, /) -> ArrayLike:
        """Return actions ``[B, m]`` for the observations ``frames [B, *observation]``."""


Acting = Annotated[
    Controller,
    "a controller: an agent, as e2c.load_agent(FOLDER) returns it, or an object with reset(goals) "
    "and act(frames)",
]
STEPS = Range(1, 1e9)
"""Of an episode, at most."""


@checked
def rollout(
    world: World,
    controller: Acting,
    steps: Annotated[int, STEPS],
    rng: Annotated[np.random.Generator, "a generator, as numpy.random.default_rng(0) returns it"],
    goals: Frames | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Episodes:
    """Play one episode in each environment of a world, and keep everything: the one loop.

    An episode ends when the world terminates or truncates it, or after ``steps`` steps.

    Args:
        world: what is acted in; it is reset first.
        controller: what acts.
        steps: T, the longest that an episode may be.
        rng: draws the starts, and all else that is by chance in the world.
        goals: what the episodes are to reach; the world's own goals by default.
        watch: told when the episodes have begun and after each step.
        options: of the world's reset, such as ``states`` or ``restart`` of a simulated world.

    Returns:
        B episodes, with whatever the world tells of states, rewards and the goal region. Where a
        state or a reward is not finite, none is kept, which is told once.

    Raises:
        E2CError: for an argument or an option that is not allowed, goals that are no observations,
            an action of another shape or that is not finite, and states or the goal region told in
            another form.
    """
    try:
        check_world(world)
        observations, infos = begin(world, rng, **options)
    except ValueError as error:
        raise E2CError(str(error)) from error
    told = infos.get("goal") if goals is None else goals
    if told is not None:
        _check_goals(told, world)
    controller.reset(told)
    record = Record(world, steps, observations, infos)
    if watch is not None:
        watch(0)
    for t in range(steps):
        actions = applied(controller.act(observations), world)
        observations, rewards, terminated, truncated, infos = world.step(actions)
        record.add(t, actions, observations, rewards, terminated, infos)
        if watch is not None:
            watch(t + 1)
        if record.end(t, terminated, truncated):
            break
        _leave_ended(world, record)
    return record.episodes(told)


def applied(actions: ArrayLike, world: World) -> NDArray[np.float32]:
    """Return the actions float32 ``[B, m]`` that act when ``actions [B, m]`` are asked for."""
    space = control_space(world)
    asked, wanted = as_array(actions), (world.num_envs, *space.shape)
    if asked.shape != wanted or asked.dtype.kind not in "fiu" or not np.isfinite(asked).all():
        raise E2CError(
            f"A controller gave {form_of(asked)}, or numbers that are not finite; {name_of(world)} "
            f"takes finite numbers of shape {list(wanted)}: correct the controller."
        )
    limited: NDArray[np.float32] = np.clip(asked, space.low, space.high).astype(np.float32)
    return limited


def _check_goals(goals: Any, world: World) -> None:
    """Raise an E2CError unless ``goals`` holds an observation for each episode."""
    found, wanted = as_array(goals), (world.num_envs, *layout_of(world).shape)
    if found.dtype != np.uint8 or found.shape != wanted:
        raise E2CError(
            f"The goals of {world.num_envs} episodes are uint8 of shape {list(wanted)}; got "
            f"{form_of(found)}: give an observation for each episode (or let the world's reset "
            "tell one as 'goal')."
        )


def problem_spec(world: World, options: Mapping[str, Any] | None = None) -> ProblemSpec:
    """Read from a world what a model has to know of it.

    Args:
        world: any world.
        options: what it was made with besides its id, so that `make_world_of` can make it again.

    Raises:
        E2CError: when the world does not say how long an episode is.
    """
    limits = control_space(world)
    try:
        steps = episode_steps(world)
    except ValueError as error:
        raise E2CError(str(error)) from None
    return ProblemSpec(
        env=name_of(world),
        observation_shape=layout_of(world).shape,
        control_low=tuple(limits.low.tolist()),
        control_high=tuple(limits.high.tolist()),
        dt=time_step(world),
        episode_steps=steps,
        options=dict(options or {}),
        picture_size=picture_size(world),
    )


def _leave_ended(world: World, record: Record) -> None:
    """Let a world whose episodes do not begin anew by themselves go on without the ended ones."""
    disabled = world.metadata.get("autoreset_mode") == AutoresetMode.DISABLED
    if disabled and not record.alive.all():
        world.reset(options={"reset_mask": ~record.alive})


@checked
def make_world(env_id: str, num_envs: int = 1, **options: Any) -> World:
    """Make a world.

    Args:
        env_id: of Gymnasium's registry, or of our tasks.
        num_envs: B, episodes side by side.
        options: of the environment, and ``camera``, a mapping of the fields of `envs.Camera`; those
            that are None are left out.

    Raises:
        E2CError: for an unknown id, an option that the environment does not take or allow, or an
            environment that fails as it is made; it tells its later failures so, too.
    """
    if env_id == RECORDING:
        raise E2CError(
            "A recording has no environment to act in: let the agent act on a camera's pictures, "
            "from Python (e2c.LiveAgent), or collect and train in an environment (--env)."
        )
    given = {name: value for name, value in options.items() if value is not None}
    if "camera" in given:
        given["camera"] = from_dict(given["camera"], envs.Camera, "camera.")
    try:
        world = envs.make(env_id, num_envs, **given)
    except MemoryError:
        raise
    except Exception as error:
        if env_id not in envs.ENVIRONMENTS:
            raise E2CError(failure(env_id, error)) from error
        if not isinstance(error, ValueError | TypeError):
            raise
        raise E2CError(shown(error) + ".") from None
    return world if isinstance(world.unwrapped, Simulated) else _Foreign(world)


class _Foreign(VectorWrapper[Any, Any, Any, Any, Any]):
    """A world of somebody's environment, whose failures are told in one sentence."""

    def __getattr__(self, name: str) -> Any:
        """Return what the world has besides, such as ``envs`` and ``call``."""
        if name == "env":  # it is being copied, and has none yet
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Begin all episodes anew."""
        with self._told():
            return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        """Step in all episodes, with actions within the limits."""
        given = applied(actions, self)
        with self._told():
            return self.env.step(given)

    def render(self) -> Any:
        """Return the pictures of all episodes."""
        with self._told():
            return self.env.render()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            raise E2CError(failure(name_of(self), error)) from error


def make_world_of(spec: ProblemSpec, num_envs: int = 1, **options: Any) -> World:
    """Make the world that a specification was read from, with more options.

    Raises:
        E2CError: as `make_world`.
    """
    return make_world(spec.env, num_envs, **{**spec.options, **options})
