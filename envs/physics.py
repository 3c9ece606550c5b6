"""MuJoCo as a pure function of N states: the only place that steps an engine."""

from importlib import resources

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

_DIVERGED = 1e9  # MuJoCo itself calls 1e10 a failure, and writes a log file about it


def load_asset(name: str) -> mujoco.MjSpec:
    """Return the editable MJCF model ``envs/assets/<name>``."""
    return mujoco.MjSpec.from_string(resources.files("envs.assets").joinpath(name).read_text())


class Simulator:
    """One control step of a MuJoCo model, for many independent states at once.

    A state is ``[qpos, qvel]``. Each row is stepped from itself alone, so that it comes out bit for
    bit the same in any batch. Everything runs on the calling thread, with one workspace that is
    kept from call to call; no rendering context is ever made.
    """

    def __init__(self, model: mujoco.MjModel):
        self.model = model
        self.control_step = float(model.opt.timestep)
        """Length of a step [s]."""
        self.control_range: NDArray[np.float64] = model.actuator_ctrlrange.copy()
        """Lowest and highest value of each control, ``[m, 2]``, in the actuator's unit."""
        self.state_dim = int(model.nq + model.nv)
        self._workspace = mujoco.MjData(model)
        self._rollout = rollout.Rollout(nthread=0)

    def step(
        self, states: NDArray[np.float64], controls: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Advance ``states [N, n]`` by one step under ``controls [N, m]``, held constant.

        A state that is not finite, or has diverged, becomes NaN and stays so.
        """
        sound = (np.abs(states) < _DIVERGED).all(axis=1, keepdims=True)
        full = np.zeros((len(states), 1 + self.state_dim))  # MuJoCo's: time, qpos, qvel
        np.copyto(full[:, 1:], states, where=sound)
        after, _ = self._rollout.rollout(
            self.model, self._workspace, full, controls[:, None, :], nstep=1
        )
        return np.where(sound, after[:, 0, 1:], np.nan)
