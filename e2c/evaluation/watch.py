"""Watch an agent in one episode: what it saw, planned and imagined, for a film."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2c.control.agent import Agent
from e2c.control.base import Frames, rollout
from e2c.data.episodes import Episodes
from e2c.report.film import Film
from e2c.report.film_map import Beliefs
from envs.quantity import Quantity
from envs.world import Simulated, World

IMAGINED_STEPS = (2, 5, 10, 20, 30, 40)
"""How many steps ahead the imagined frames lie, as far as plans reach."""


class Watched:
    """An agent that is looked at while it acts in one episode.

    Attributes:
        milliseconds: wall-clock of every control step: encode and plan.
        imagined: what each plan looks like, ``[S, H, W]`` or ``[S, H, W, 3]``.
        costs: of each plan.
        distances: squared latent distance of each step from the goal, in units of the spread of
            the encodings.
        means: of the belief at each step, ``[n]``, if the agent has one.
        covariances: of it, ``[n, n]``.
        surprises: how many frames have been surprises by then.
    """

    def __init__(self, agent: Agent, steps: Sequence[int]) -> None:
        self.agent, self.steps = agent, steps
        self.milliseconds: list[float] = []
        self.imagined: list[Frames] = []
        self.costs: list[float] = []
        self.distances: list[float] = []
        self.means: list[NDArray[np.float64]] = []
        self.covariances: list[NDArray[np.float64]] = []
        self.surprises: list[float] = []

    def reset(self, goals: Frames | None, /) -> None:
        """Let the agent begin."""
        self.agent.reset(goals)

    def act(self, frames: Frames, /) -> NDArray[np.float32]:
        """Return the agent's actions ``[1, m]``."""
        started = time.perf_counter()
        actions = self.agent.act(frames)
        self.milliseconds.append(1e3 * (time.perf_counter() - started))
        assert self.agent.plan is not None
        self.imagined.append(self.agent.imagine(self.steps)[0])
        self.costs.append(float(self.agent.plan.cost[0]))
        self.distances.append(float(self.agent.distance_to_goal()[0]))
        if (belief := self.agent.belief) is not None:
            mean, covariance = belief.corrected
            self.means.append(mean[0])
            self.covariances.append(covariance[0])
            self.surprises.append(belief.surprises[0])
        return actions


@dataclass(frozen=True, eq=False)
class Sighting:
    """What was seen of an agent in one episode.

    Attributes:
        film: everything that a film of it shows.
        milliseconds: wall-clock of every control step ``[T]``: encode and plan.
    """

    film: Film
    milliseconds: NDArray[np.float64]


def watch(
    agent: Agent,
    world: World,
    seed: int,
    title: str,
    goals: Frames | None,
    goal_state: Sequence[float] = (),
) -> Sighting:
    """Run one episode in a world of one environment, and keep what the agent saw and imagined.

    Args:
        agent: acts.
        world: of one environment; one that is not simulated must render.
        seed: of the start.
        title: of the film.
        goals: what the episode is to reach; the world's own goal, or the agent's, by default.
        goal_state: the state that ``goals`` shows, where it is known.
    """
    steps = [s for s in IMAGINED_STEPS if s <= agent.options.horizon] or [1]
    watched, scenes = Watched(agent, steps), list[Frames]()
    system: Any = world.unwrapped

    def look(t: int) -> None:
        if not isinstance(system, Simulated):
            scenes.append(_picture(world))

    rng = np.random.default_rng(seed)
    episodes = rollout(world, watched, agent.spec.episode_steps, rng, goals, look)
    aim = _aim(system, episodes, goals, goal_state)
    film = Film(
        scenes=_drawn(system, episodes, aim) if isinstance(system, Simulated) else scenes[:-1],
        observations=episodes.observations(),
        imagined=np.stack(watched.imagined),
        imagined_steps=steps,
        goal=_goal(agent, episodes),
        controls=episodes.actions,
        control_limit=float(agent.spec.control_scale.max()),
        costs=np.array(watched.costs),
        distances=np.array(watched.distances),
        dt=agent.spec.dt,
        title=title,
        beliefs=_beliefs(watched),
        **_told(system, episodes, aim, goals is None),
    )
    return Sighting(film, np.array(watched.milliseconds))


def _picture(world: World) -> Frames:
    """Return what the world renders of its one episode."""
    rendered: Any = world.render()
    picture: Frames = rendered[0]
    return picture


def _aim(
    system: Any, episodes: Episodes, goals: Frames | None, goal_state: Sequence[float]
) -> NDArray[np.float64] | None:
    """Return the state ``[n]`` that the episode is to reach; None where it is not known."""
    if goal_state:
        return np.asarray(goal_state, np.float64)
    if goals is not None or episodes.states is None or not isinstance(system, Simulated):
        return None
    aim: NDArray[np.float64] = system.task.goal_states(episodes.states[:1])[0]
    return aim


def _drawn(system: Simulated, episodes: Episodes, aim: NDArray[np.float64] | None) -> Any:
    """Return how the scene at step t is drawn: the state, the control chosen there, the goal."""
    states, controls, task = episodes.states, episodes.actions, system.task
    assert states is not None
    return lambda t: task.picture(states[t], controls[t], aim)


def _goal(agent: Agent, episodes: Episodes) -> Frames:
    """Return what the episode was to reach, ``[F, H, W]`` or ``[F, H, W, 3]``."""
    if episodes.goals is not None:
        return episodes.goals[0]
    return agent.spec.layout.frames_of(agent.model.goal.cpu().numpy())


def _beliefs(watched: Watched) -> Beliefs | None:
    """Return what the agent believed; None where it acts without a belief."""
    if not watched.means:
        return None
    return Beliefs(
        np.stack(watched.means),
        np.stack(watched.covariances),
        np.diff(watched.surprises, prepend=0) > 0,
        watched.agent.cost.goal.reshape(-1).cpu().numpy(),
    )


def _told(
    system: Any, episodes: Episodes, aim: NDArray[np.float64] | None, own_goal: bool
) -> dict[str, Any]:
    """Return what a film shows of a state that is told, and of the world's own goal."""
    in_goal = episodes.in_goal
    if not isinstance(system, Simulated) or episodes.states is None:
        return {"control": Quantity("control", ""), "in_goal": in_goal}
    task, k = system.task, system.task.plotted
    return {
        "control": task.control,
        "plotted": task.components[k],
        "values": task.components[k].wrapped(episodes.states[:, k]),
        "goal_value": None if aim is None else float(aim[k]),
        "in_goal": in_goal if own_goal else None,
    }
