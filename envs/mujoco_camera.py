"""MuJoCo's camera: our own tasks as MuJoCo draws them, on a chequered floor, with light and shadow.

A frame is a pure function of a state here too. So the image of a goal, random restarts and the
earlier frame of an observation are made in the same way as with the tasks' own frames.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from envs.camera import Camera
from envs.images import CHANNELS
from envs.mujoco_graphics import LIBRARIES, free_when_unused, new_context
from envs.physics import load_asset
from envs.task import Floats, Frames, Task

FINER = 2
"""Pictures are this much larger than frames, so that a move by part of a pixel changes a frame."""


def film(task: Task, camera: Camera) -> None:
    """Let a task be seen by MuJoCo's camera from now on.

    Args:
        task: one that MuJoCo simulates.
        camera: size, colour, crop and number of the frames.

    Raises:
        ValueError: for a task that MuJoCo does not simulate, for an action that is held for several
            steps, for a crop that is not inside the picture, or when no graphics library works.
    """
    if camera.repeat > 1:
        raise ValueError(
            "Our own tasks take an action for each step; leave the camera's repeat out."
        )
    look = MujocoCamera(staged(task.visible()), camera)
    look(task.goal_state()[None])  # if drawing does not work, this says so at once
    task.look_with(look, camera.frames, camera.frame_shape)


def staged(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Return a task's model in the studio, which is scaled to the reach of the model."""
    studio, reach = load_asset("studio.xml"), spec.numeric("reach").data[0]
    for thing in (studio.geom("floor"), studio.light("lamp"), studio.camera("front")):
        thing.pos = reach * thing.pos
    studio.geom("floor").size = reach * studio.geom("floor").size
    studio.option = spec.option
    studio.attach(spec, frame=studio.worldbody.add_frame(), prefix="task_")
    return studio.compile()


class MujocoCamera:
    """Takes frames of a model, each from the state alone.

    A copy or an unpickled object has an OpenGL context of its own.

    Args:
        model: the model to draw, with a camera ``front``; a state begins with its ``qpos``.
        camera: how pictures become frames.

    Raises:
        ValueError: when no graphics library works.
    """

    def __init__(self, model: mujoco.MjModel, camera: Camera) -> None:
        self.model, self.camera = model, camera
        self._open()

    def _open(self) -> None:
        """Make the OpenGL context and its objects; they are freed with this object."""
        H, W = (FINER * side for side in self.camera.size)
        self.model.vis.global_.offheight, self.model.vis.global_.offwidth = H, W
        self._data, self._rect = mujoco.MjData(self.model), mujoco.MjrRect(0, 0, W, H)
        self._scene, self._options = mujoco.MjvScene(self.model, 100), mujoco.MjvOption()
        self._front = mujoco.MjvCamera()
        self._front.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._front.fixedcamid = self.model.camera("front").id
        try:
            self._context: Any = new_context(W, H)
            self._context.make_current()
            self._drawer = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        except Exception as error:
            raise ValueError(
                "MuJoCo's camera needs OpenGL, which does not work here "
                f"({type(error).__name__}: {error}): install a graphics library ({LIBRARIES}), or "
                "leave the camera's renderer out."
            ) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawer)
        free_when_unused(self, self._context.make_current, self._drawer.free, self._context.free)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the OpenGL context out of a copy or a pickle."""
        return {"model": self.model, "camera": self.camera}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make an OpenGL context for a copy."""
        vars(self).update(state)
        self._open()

    def __call__(self, states: Floats) -> Frames:
        """Return the frames ``[N, H, W]``, or ``[N, H, W, 3]``, of ``states [N, n]``.

        A joint whose position is not finite is drawn at zero.
        """
        frames = np.empty((len(states), *self.camera.frame_shape), np.uint8)
        self._context.make_current()
        for frame, state in zip(frames, states, strict=True):
            self._data.qpos[:] = np.nan_to_num(state[: self.model.nq], posinf=0.0, neginf=0.0)
            frame[:] = self.camera.frame(self._picture())
        return frames

    def _picture(self) -> Frames:
        """Return the picture ``[h, w, 3]`` of the present positions."""
        mujoco.mj_kinematics(self.model, self._data)
        mujoco.mj_camlight(self.model, self._data)
        mujoco.mjv_updateScene(
            self.model,
            self._data,
            self._options,
            None,
            self._front,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        picture = np.empty((self._rect.height, self._rect.width, CHANNELS), np.uint8)
        mujoco.mjr_render(self._rect, self._scene, self._drawer)
        mujoco.mjr_readPixels(picture, None, self._rect, self._drawer)
        return picture[::-1]  # OpenGL's first row is the lowest
