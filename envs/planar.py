"""A square agent on a plane with obstacles, to be moved into a corner."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from envs import raster, scenes
from envs.quantity import Quantity
from envs.task import Actions, Bools, Floats, Frames, Task


class PlanarNavigation(Task):
    """Move into the corner that is asked for; the locally-linear-control suite's planar task.

    It is the task of PCC (Levine et al., ICLR 2020), after its public code.

    Mechanics
        None: a step adds the action to the position, and the agent is kept inside the square world
        of 40 px. If a step would end with an obstacle's centre under the agent, the agent stays
        where it was. It may pass over an obstacle within a step.
    State ``[4]``
        ``row`` and ``column`` of the agent's centre [px], from the upper left corner; ``goal row``
        and ``goal column`` [px], the episode's goal, which does not move.
    Action ``[2]``
        (rows, columns) to move [px], each clipped to ±3.
    Observation ``uint8 [1, 40, 40]``
        One frame, white on black: the agent, a square of half width 1.5 px, and six round obstacles
        of radius 2.5 px. It does not show the goal.
    Start
        Uniform in [3, 7]²; the goal is one of the corners (37, 37), (37, 3) and (3, 37).
    Random restarts
        Uniform where the agent can be. (The published sampler takes whole pixels and nearly whole
        moves, because its frames are rounded to them.)
    Goal
        Within 2 px of the episode's goal; its image shows the agent there. The score is the share
        of 40 steps that end in that region. An episode succeeds if its last 10 steps all do.
    Reward
        1 in the goal region before the step, 0 elsewhere; for comparison only.

    Args:
        state_noise: see `Task`; a unit is 1 px in each direction. Noise may push the agent onto
            an obstacle, but not out of the world.
    """

    goal_radius = 2.0
    """The goal region's radius [px]."""
    components = (
        Quantity("row", "px", goal_radius),
        Quantity("column", "px", goal_radius),
        Quantity("goal row", "px"),
        Quantity("goal column", "px"),
    )
    control = Quantity("move", "px")
    goal_sentence = "Move into the corner that is asked for"
    frames_per_observation = 1
    frame_shape = (40, 40)
    settle_steps = 10
    goals = ((37.0, 37.0), (37.0, 3.0), (3.0, 37.0))
    """The goals of an episode: (row, column) [px]."""
    start_range = (3.0, 7.0)
    """An episode starts with both coordinates between these [px]."""
    max_move = 3.0
    """A step goes at most this far in each direction [px]."""
    half_width = 1.5
    """Half the agent's width [px]."""
    obstacles = ((20.5, 5.5), (20.5, 13.5), (20.5, 27.5), (20.5, 35.5), (10.5, 20.5), (30.5, 20.5))
    """The obstacles' centres: (row, column) [px]."""
    obstacle_radius = 2.5
    """The radius of an obstacle [px]."""

    def __init__(self, state_noise: float = 0.0):
        dt = 0.1  # only films need a time step here
        control_range = np.array([[-self.max_move, self.max_move]] * 2)
        super().__init__(dt, control_range, state_noise)

    def _step(self, states: Floats, controls: Floats) -> Floats:
        after = states.copy()
        after[:, :2] = self._inside(states[:, :2] + controls)
        stays = self._blocked(after[:, :2])
        after[stays] = states[stays]
        after[~np.isfinite(np.hstack([states, controls])).all(axis=1)] = np.nan
        return after

    def _inside(self, positions: Floats) -> Floats:
        """Clip ``positions [N, 2]`` so that the whole agent is in the world."""
        return np.clip(positions, self.half_width, self._edge)

    @property
    def _edge(self) -> float:
        """The largest coordinate at which the whole agent is in the square world [px]."""
        return self.frame_shape[0] - self.half_width

    def _blocked(self, positions: Floats) -> Bools:
        """Say of each of ``positions [N, 2]`` whether an obstacle's centre is under the agent."""
        apart = np.abs(positions[:, None] - np.array(self.obstacles))
        return (apart <= self.half_width).all(axis=2).any(axis=1)

    def previous(self, states: Floats) -> Floats:
        """Return ``states [N, 4]``: without an action the agent stays where it is."""
        return states

    def noise_unit(self) -> Floats:
        """Return 1 px for the agent, nothing for the goal, ``[4]``."""
        return np.array([1.0, 1.0, 0.0, 0.0])

    def disturb(self, states: Floats, generators: Sequence[np.random.Generator]) -> Floats:
        """Add the state noise to ``states [N, 4]`` and keep the agents in the world."""
        states = super().disturb(states, generators)
        return np.concatenate([self._inside(states[:, :2]), states[:, 2:]], axis=1)

    @cached_property
    def _background(self) -> Frames:
        centres = np.array([self.obstacles])
        return raster.capsules(
            centres, centres, radius=self.obstacle_radius, shape=self.frame_shape
        )

    def draw(self, states: Floats) -> Frames:
        """Return the frames ``[N, 40, 40]`` of ``states [N, 4]``."""
        half = (self.half_width, self.half_width)
        agents = raster.boxes(states[:, :2], half=half, shape=self.frame_shape)
        return np.maximum(agents, self._background, out=agents)

    def picture(self, state: Floats, action: Actions, goal: Floats | None) -> Frames:
        """Return the RGB picture ``[480, 480, 3]`` of ``state [4]``, ``action [2]`` last."""
        return scenes.plane(
            state[:2],
            np.asarray(action, np.float64),
            None if goal is None else goal[:2],
            obstacles=np.array(self.obstacles),
            radii=(self.half_width, self.obstacle_radius, self.goal_radius),
            side=self.frame_shape[0],
        )

    def goal_state(self) -> Floats:
        """Return the agent in the first corner, which is its goal, ``[4]``."""
        return np.array([*self.goals[0], *self.goals[0]])

    def goal_states(self, states: Floats) -> Floats:
        """Return the states with the agent at the goal of each of ``states [N, 4]``."""
        return np.tile(states[:, 2:], (1, 2))

    def is_goal(self, states: Floats) -> Bools:
        """Say whether the agent is within 2 px of its goal, for each of ``states [..., 4]``."""
        away = np.asarray(states)[..., :2] - np.asarray(states)[..., 2:]
        return np.hypot(away[..., 0], away[..., 1]) <= self.goal_radius

    def sample_states(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` states ``[n, 4]``, uniform where the agent can be, with any of the goals."""
        positions = self._draw_inside(rng, n)
        while (blocked := self._blocked(positions)).any():
            positions[blocked] = self._draw_inside(rng, int(blocked.sum()))
        return np.concatenate([positions, rng.choice(self.goals, n)], axis=1)

    def _draw_inside(self, rng: np.random.Generator, n: int) -> Floats:
        return rng.uniform(self.half_width, self._edge, (n, 2))

    def sample_starts(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw ``n`` starts ``[n, 4]``, each with its goal; start i is the same for any n > i."""
        low, high = self.start_range
        drawn = rng.uniform(size=(n, 3))
        asked_for = (len(self.goals) * drawn[:, 2]).astype(int)
        positions = low + (high - low) * drawn[:, :2]
        return np.concatenate([positions, np.array(self.goals)[asked_for]], axis=1)

    def coordinates(self, states: Floats) -> Floats:
        """Map ``states [..., 4]`` to ``(row, column)``, ``[..., 2]``, which actions can change."""
        return states[..., :2]

    def from_coordinates(self, coordinates: Floats) -> Floats:
        """Map ``coordinates [..., 2]`` back to states ``[..., 4]`` with the first goal."""
        goals = np.broadcast_to(self.goals[0], coordinates.shape)
        return np.concatenate([coordinates, goals], axis=-1)

    def coordinates_jacobian(self, states: Floats) -> Floats:
        """Return the derivative ``[N, 2, 4]`` of `coordinates` at ``states [N, 4]``."""
        return np.tile(np.eye(2, 4), (len(states), 1, 1))
