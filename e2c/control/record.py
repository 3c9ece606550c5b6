"""Record: what is kept of the episodes that are played, step by step."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.files.provenance import versions
from e2c.files.tracking import tell
from envs.arrays import as_array, form_of
from envs.task import Frames
from envs.world import World, control_space, layout_of, name_of, time_step


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
    told = "nothing" if found.dtype == object else form_of(found)
    return E2CError(
        f"{name_of(world)} tells {told} of its {world.num_envs} episodes as {name!r}: let the info "
        f"of its reset and of every step hold {_FORMS[name].what} of that name, or none of them."
    )


class Record:
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
        found, form = as_array(infos.get(name)), _FORMS[name]
        if found.dtype == object:  # what Gymnasium's worlds make of truth values and lists
            found = as_array(found.tolist())
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


def _provenance(world: World) -> dict[str, Any]:
    """Tell what made episodes, as far as the world knows."""
    space = control_space(world)
    parameters = {
        "dt": time_step(world),
        "control_low": space.low.tolist(),
        "control_high": space.high.tolist(),
    }
    return {"env": name_of(world), "parameters": parameters, "versions": versions()}
