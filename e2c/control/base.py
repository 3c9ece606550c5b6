"""Controller: what acts in a world; and the one loop in which it does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import AutoresetMode, VectorWrapper
from numpy.typing import ArrayLike, NDArray

import envs
from e2c.data.episodes import RECORDING, Episodes
from e2c.errors import E2CError
from e2c.files.provenance import versions
from e2c.files.tracking import tell
from e2c.files.untrusted import shown
from e2c.models.base import ProblemSpec
from e2c.options import Range, checked, from_dict
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
    record = _Record(world, steps, observations, infos)
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
    asked, wanted = _as_array(actions), (world.num_envs, *space.shape)
    if asked.shape != wanted or asked.dtype.kind not in "fiu" or not np.isfinite(asked).all():
        what = f"{asked.dtype} of shape {list(asked.shape)}"
        raise E2CError(
            f"A controller gave {what}, or numbers that are not finite; {name_of(world)} takes "
            f"finite numbers of shape {list(wanted)}: correct the controller."
        )
    limited: NDArray[np.float32] = np.clip(asked, space.low, space.high).astype(np.float32)
    return limited


def _as_array(told: Any) -> NDArray[Any]:
    """Return ``told`` as an array; what cannot be one, such as a ragged list, is one of objects."""
    try:
        return np.asarray(told)
    except (ValueError, TypeError, RuntimeError):
        return np.array(None, object)


def _check_goals(goals: Any, world: World) -> None:
    """Raise an E2CError unless ``goals`` holds an observation for each episode."""
    found, wanted = _as_array(goals), (world.num_envs, *layout_of(world).shape)
    if found.dtype != np.uint8 or found.shape != wanted:
        raise E2CError(
            f"The goals of {world.num_envs} episodes are uint8 of shape {list(wanted)}; got "
            f"{found.dtype} of shape {list(found.shape)}: give an observation for each episode (or "
            "let the world's reset tell one as 'goal')."
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


class _Form(NamedTuple):
    """In which form infos tell something of each of B episodes."""

    what: str
    dimensions: int
    kinds: str
    kept_as: type


_FORMS = {
    "state": _Form("a vector of numbers", 2, "fiu", np.float64),
    "is_goal": _Form("a truth value", 1, "biu", np.bool_),
}


def _not_told(world: World, name: str, found: NDArray[Any]) -> E2CError:
    """Say that infos do not tell what they should under ``name``."""
    told = "nothing" if found.dtype == object else f"{found.dtype} of {list(found.shape)}"
    return E2CError(
        f"{name_of(world)} tells {told} of its {world.num_envs} episodes as {name!r}: let the info "
        f"of its reset and of every step hold {_FORMS[name].what} of that name, or none of them."
    )


class _Record:
    """What happens in B episodes of at most T steps."""

    def __init__(self, world: World, steps: int, observations: Frames, infos: dict[str, Any]):
        self.world, self.layout = world, layout_of(world)
        B, F = world.num_envs, self.layout.frames
        self.frames = np.empty((B, steps + F, *self.layout.frame_shape), np.uint8)
        self.actions = np.empty((B, steps, *control_space(world).shape), np.float32)
        self.rewards = np.empty((B, steps))
        self.lengths = np.full(B, steps, np.int64)
        self.terminated = np.zeros(B, np.bool_)
        self.alive = np.ones(B, np.bool_)
        self.moments = {
            name: np.empty((B, steps + 1, *self._told(name, infos).shape[1:]), form.kept_as)
            for name, form in _FORMS.items()
            if name in infos
        }
        self.frames[:, :F] = self.layout.split(observations)
        self._add_moment(0, infos)

    def add(
        self,
        t: int,
        actions: NDArray[np.float32],
        observations: Frames,
        rewards: NDArray[np.float64],
        terminated: NDArray[np.bool_],
        infos: dict[str, Any],
    ) -> None:
        """Keep step t; of episodes that ended before, what is kept is cut off later."""
        self.actions[:, t], self.rewards[:, t] = actions, rewards
        self.frames[:, self.layout.frames + t] = self.layout.split(observations)[:, -1]
        self.terminated |= self.alive & terminated
        if "is_goal" in infos and "is_goal" not in self.moments:
            if t > 0:
                raise _not_told(self.world, "is_goal", np.array(None, object))
            B, T = self.rewards.shape  # a reset need not tell it: no start is scored
            self.moments["is_goal"] = np.zeros((B, T + 1), np.bool_)
        self._add_moment(t + 1, infos)

    def _add_moment(self, t: int, infos: dict[str, Any]) -> None:
        for name, kept in self.moments.items():
            told = self._told(name, infos)
            if told.shape[1:] != kept.shape[2:]:
                raise _not_told(self.world, name, told)
            kept[:, t] = told

    def _told(self, name: str, infos: dict[str, Any]) -> NDArray[Any]:
        """Return what infos tell of each episode under ``name``, ``[B]`` or ``[B, n]``."""
        found, form = _as_array(infos.get(name)), _FORMS[name]
        if found.dtype == object:  # what Gymnasium's worlds make of truth values and lists
            found = _as_array(found.tolist())
        everywhere = infos.get(f"_{name}", self.alive)[self.alive].all()
        if found.ndim != form.dimensions or found.dtype.kind not in form.kinds or not everywhere:
            raise _not_told(self.world, name, found)
        return found

    def end(self, t: int, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]) -> bool:
        """End the episodes that step t ended; say whether all have."""
        ending = self.alive & (terminated | truncated)
        self.lengths[ending] = t + 1
        self.alive &= ~ending
        return not self.alive.any()

    def episodes(self, goals: Frames | None) -> Episodes:
        """Return what was recorded; what is not finite is no state and no reward."""
        T, moments = self.lengths, self.moments
        states = _kept(moments["state"], T + 1) if "state" in moments else None
        return Episodes(
            frames=_kept(self.frames, T + self.layout.frames),
            actions=_kept(self.actions, T),
            lengths=T,
            states=_if_finite(states, f"{name_of(self.world)} told a state"),
            rewards=_if_finite(_kept(self.rewards, T), f"{name_of(self.world)} told a reward"),
            in_goal=_kept(moments["is_goal"], T + 1) if "is_goal" in moments else None,
            goals=None if goals is None else self.layout.split(goals),
            terminated=self.terminated,
            provenance=_provenance(self.world),
        )


def _kept(array: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Join the first ``lengths[b]`` rows of each ``array[b]``."""
    kept = np.arange(array.shape[1]) < lengths[:, None]
    return array[kept]


def _if_finite(array: NDArray[Any] | None, told: str) -> NDArray[Any] | None:
    """Return ``array`` if it is finite, or None, since nothing that acts or learns needs it."""
    if array is None or np.isfinite(array).all():
        return array
    _tell_once(f"{told} that is not finite; none is kept of these episodes.")
    return None


_tell_once = functools.cache(tell)


def _leave_ended(world: World, record: _Record) -> None:
    """Let a world whose episodes do not begin anew by themselves go on without the ended ones."""
    disabled = world.metadata.get("autoreset_mode") == AutoresetMode.DISABLED
    if disabled and not record.alive.all():
        world.reset(options={"reset_mask": ~record.alive})


def _provenance(world: World) -> dict[str, Any]:
    """Tell what made episodes, as far as the world knows."""
    space = control_space(world)
    parameters = {
        "dt": time_step(world),
        "control_low": space.low.tolist(),
        "control_high": space.high.tolist(),
    }
    return {"env": name_of(world), "parameters": parameters, "versions": versions()}


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
