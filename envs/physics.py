"""MuJoCo as a pure function of N states: the only place that steps an engine."""

from importlib import resources
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

_DIVERGED = 1e9  # MuJoCo itself calls 1e10 a failure, and writes a log file about it


def load_asset(name: str) -> mujoco.MjSpec:
    """Return the editable MJCF model ``envs/assets/<name>``.

    Its geoms are only drawn: every body states its mass and inertia, and nothing collides.
    """
    text = resources.files("envs.assets").joinpath(name).read_text(encoding="utf-8")
    return mujoco.MjSpec.from_string(text)


def unseen(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Compile a model without its geoms, which are only drawn, so that steps are faster."""
    bare = spec.copy()
    for geom in bare.geoms:
        bare.delete(geom)
    return bare.compile()


class Simulator:
    """A MuJoCo model that is stepped for many independent states at once.

    A state is ``[qpos, qvel]``. Each row is stepped alone, so its result is the same in any batch,
    bit for bit. Everything runs on the calling thread, with one workspace that is kept from call to
    call; no rendering context is ever made.
    """

    def __init__(self, model: mujoco.MjModel):
        self.model = model
        self.timestep = float(model.opt.timestep)
        """Length of a step [s]."""
        self.control_range: NDArray[np.float64] = model.actuator_ctrlrange.copy()
        """Lowest and highest value of each control, ``[m, 2]``, in the actuator's unit."""
        self.joint_range: NDArray[np.float64] = model.jnt_range[:, 1].copy()
        """Half the range of each joint, ``[n / 2]`` [rad or m]."""
        self.hinges: NDArray[np.bool_] = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        """Which joints turn, ``[n / 2]``."""
        self.state_dim = int(model.nq + model.nv)
        self._make_workspace()

    def _make_workspace(self) -> None:
        """Make the engine's working memory. It holds nothing that a later call needs."""
        self._workspace = mujoco.MjData(self.model)
        self._rollout = rollout.Rollout(nthread=0)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the workspace out of a copy or a pickle."""
        return {k: v for k, v in vars(self).items() if k not in ("_workspace", "_rollout")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Give a copy a workspace of its own."""
        vars(self).update(state)
        self._make_workspace()

    def number(self, name: str) -> NDArray[np.float64]:
        """Return the custom numbers that the asset calls ``name``."""
        return self.model.numeric(name).data.copy()

    def step(
        self,
        states: NDArray[np.float64],
        controls: NDArray[np.float64],
        steps: NDArray[np.int64] | int = 1,
    ) -> NDArray[np.float64]:
        """Advance ``states [N, n]`` under ``controls [N, m]``, held constant.

        Each row advances by its own number of ``steps [N]``, or all by the same. Inputs that have
        diverged or are not finite give NaN.
        """
        if len(states) == 0:  # MuJoCo's roll-out would crash
            return states.copy()
        sound = (np.abs(np.hstack([states, controls])) < _DIVERGED).all(axis=1, keepdims=True)
        full = np.zeros((len(states), 1 + self.state_dim))  # MuJoCo's: time, qpos, qvel
        np.copyto(full[:, 1:], states, where=sound)
        after, _ = self._rollout.rollout(
            self.model,
            self._workspace,
            full,
            np.where(sound, controls, 0.0)[:, None, :],
            nstep=int(np.max(steps)),
        )
        last = np.broadcast_to(steps, len(states)) - 1
        return np.where(sound, after[np.arange(len(states)), last, 1:], np.nan)
