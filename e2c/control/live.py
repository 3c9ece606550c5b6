"""An agent behind a live camera: pictures in, controls out."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from e2c.control.agent import Agent
from e2c.control.goals import as_recorded, camera_of
from e2c.errors import E2CError
from e2c.options import checked
from envs.arrays import as_array
from envs.camera import check_picture


class LiveAgent:
    """Acts on the pictures of a camera, one episode at a time.

    A picture becomes a frame, with the size, crop and colour of the frames that were learned from.
    It may have another resolution than the pictures of the recording, but not another shape.
    The last F frames are one observation. At the first picture of an episode, all F show it, as
    after the reset of an environment.

    To be called once in each control step, `dt`. The first call of an episode takes longest, since
    it plans from nothing; the first in a process also loads compiled code. So let it act once, and
    reset it, before the system moves.

    Args:
        agent: a trained one.
    """

    @checked
    def __init__(
        self, agent: Annotated[Agent, "an agent, as e2c.load_agent(FOLDER) returns it"]
    ) -> None:
        self.agent = agent
        self._camera = camera_of(agent.spec)
        self._frames = deque[NDArray[np.uint8]](maxlen=self._camera.frames)

    @property
    def dt(self) -> float:
        """The control step [s]: the time between two pictures of what was learned from."""
        return self.agent.spec.dt

    def reset(self, goal: NDArray[np.uint8] | str | Path | None = None) -> None:
        """Begin an episode.

        Args:
            goal: what to reach, as `Agent.reset` takes it: a picture of the camera, say.

        Raises:
            E2CError: as there, and for several goals.
        """
        given = as_array(goal)
        if given.ndim > max(3, len(self.agent.spec.observation_shape)):
            raise E2CError(f"A live agent acts in one episode; got {len(given)} goals; give one.")
        self.agent.reset(goal)
        self._frames.clear()

    def act(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Choose the next action.

        Args:
            picture: what the camera sees now, uint8 RGB ``[h, w, 3]`` or grey ``[h, w]``.

        Returns:
            float32 ``[m]``, in the unit of the actions that were learned from.

        Raises:
            E2CError: when it is no picture, or of another shape than those that were recorded, or
                the camera's crop is not inside it.
        """
        seen = as_array(picture)
        try:
            if seen.ndim != 2 or seen.dtype != np.uint8:  # it is not grey
                seen = check_picture(None if picture is None else seen, "The camera's picture is")
            frame = self._camera.frame(as_recorded(seen, self.agent.spec))
        except ValueError as error:
            raise E2CError(str(error)) from None
        self._frames.extend([frame] * (1 if self._frames else self._camera.frames))
        return self.agent.act(np.stack(self._frames).reshape(self.agent.spec.observation_shape))
