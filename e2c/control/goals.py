"""Goals that a user gives: a picture, a moment of a recording, or a state of a simulated world."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from e2c.control.base import Frames, make_world_of
from e2c.data import episodes as recorded
from e2c.errors import E2CError
from e2c.files.untrusted import read_bytes, shown
from e2c.models.base import ProblemSpec
from envs import Camera
from envs.arrays import as_array, form_of
from envs.camera import resized
from envs.world import simulated

PICTURES = (".png", ".jpg", ".jpeg")
MAX_BYTES = 50_000_000
"""A file larger than this is no goal."""
_MOMENT = re.compile(r"(.+\.npz):(\d+):(\d+)", re.IGNORECASE)


def given_goal(text: str, state: Sequence[float], spec: ProblemSpec) -> Frames | None:
    """Return the observation to reach that a user gave, by `read_goal` or `from_state`; or None.

    Raises:
        E2CError: where both are given; and as these two.
    """
    if text and state:
        raise E2CError("--goal and --goal-state were both given; give one of them.")
    if state:
        return from_state(state, spec)
    return read_goal(text, spec) if text else None


def read_goal(text: str, spec: ProblemSpec) -> Frames:
    """Read the observation to reach.

    Args:
        text: a picture (.png, .jpg), an array (.npy) of a picture or of an observation, or a moment
            of a recording, ``FILE.npz:EPISODE:STEP``, both counted from 0.
        spec: whose observations it is like.

    Returns:
        uint8 of the shape of an observation; a single picture stands in the place of every frame,
        so that nothing moves.

    Raises:
        E2CError: when it cannot be read, does not fit, or shows nothing.
    """
    return _showing(_read(text, spec), f"The goal {shown(text)}", spec)


def _showing(goal: Frames, what: str, spec: ProblemSpec) -> Frames:
    """Return an observation if it shows something, and say that it does not as of ``what``."""
    planes = spec.layout.to_planes(goal)
    if (planes.min((-2, -1)) == planes.max((-2, -1))).all():
        raise E2CError(
            f"{what} shows nothing: each of its frames is of one colour alone; give a picture of "
            "what is to be reached."
        )
    return goal


def _read(text: str, spec: ProblemSpec) -> Frames:
    """Read what `read_goal` checks."""
    if moment := _MOMENT.fullmatch(text):
        return _moment(Path(moment[1]), int(moment[2]), int(moment[3]), spec)
    path = Path(text)
    if path.suffix.lower() in PICTURES:
        return from_picture(_picture(path), spec)
    if path.suffix.lower() == ".npy":
        return _seen(_array(path), spec)
    raise E2CError(
        f"The goal {shown(text)} is not of a known kind; give a picture (.png, .jpg), an array "
        "(.npy), or a moment of a recording (FILE.npz:EPISODE:STEP)."
    )


def goal_picture(text: str, spec: ProblemSpec) -> Frames | None:
    """Return the picture ``[h, w, 3]``, or grey ``[h, w]``, that a goal is before a camera saw it.

    Returns:
        None where the goal is an observation or a frame, or there is none.

    Raises:
        E2CError: when it cannot be read.
    """
    path = Path(text)
    if path.suffix.lower() in PICTURES:
        found = _picture(path)
    elif path.suffix.lower() == ".npy":
        found = _array(path)
    else:
        return None
    return None if found.shape in (spec.layout.shape, spec.layout.frame_shape) else found


def as_observations(goal: Any, spec: ProblemSpec) -> Any:
    """Return a goal that a program gave as observations, as far as it can be one.

    Args:
        goal: the path of a file, which `read_goal` reads; a picture or a frame, as `from_array`
            takes them; or one observation, or several, which are returned as they are: a world
            knows what it tells.
        spec: whose observations it is like.

    Raises:
        E2CError: as `read_goal`.
    """
    if isinstance(goal, str | Path):
        return read_goal(str(goal), spec)
    is_array = isinstance(goal, np.ndarray | Tensor)
    wanted, found = spec.layout.shape, np.asarray(goal) if is_array else None
    if found is None or found.shape[1:] == wanted or found.dtype != np.uint8:
        return goal
    is_picture = found.ndim == 2 or (found.ndim == 3 and found.shape[2] == 3)
    if not ((found.shape == wanted or is_picture) and found.size):
        return goal
    return from_array(found, spec)


def content_hash(goal: NDArray[Any]) -> str:
    """Return the SHA-256 over the shape, type and contents of a goal."""
    digest = hashlib.sha256(f"{goal.shape}{goal.dtype}".encode())
    digest.update(np.ascontiguousarray(goal).data)
    return digest.hexdigest()


def from_array(array: NDArray[np.uint8], spec: ProblemSpec) -> Frames:
    """Return the observation that an array shows: an observation, one of its frames, or a picture.

    Raises:
        E2CError: for an array of another type or shape, or one that shows nothing.
    """
    return _showing(_seen(array, spec), "The goal", spec)


def _seen(array: NDArray[np.uint8], spec: ProblemSpec) -> Frames:
    """Return what `from_array` checks."""
    layout, found = spec.layout, as_array(array)
    if found.dtype == np.uint8 and found.shape == layout.shape:
        return found
    if found.dtype == np.uint8 and found.shape == layout.frame_shape:
        return np.broadcast_to(found, (layout.frames, *found.shape)).reshape(layout.shape).copy()
    return from_picture(found, spec)


def from_picture(picture: NDArray[np.uint8], spec: ProblemSpec) -> Frames:
    """Return the observation in which every frame shows ``picture``, uint8 ``[h, w, 3]`` or grey.

    Raises:
        E2CError: for an array that is no picture.
    """
    if picture.dtype == np.uint8 and picture.shape == spec.layout.frame_shape:
        return _seen(picture, spec)
    grey = picture.ndim == 2
    if picture.dtype != np.uint8 or not (grey or (picture.ndim == 3 and picture.shape[2] == 3)):
        raise E2CError(
            f"A goal is a picture, uint8 of [height, width, 3], or an observation, uint8 of "
            f"{list(spec.observation_shape)}; got {form_of(picture)}."
        )
    coloured = np.repeat(picture[..., None], 3, 2) if grey else picture
    try:
        seen = camera_of(spec).look_at(as_recorded(coloured, spec))
        return seen.reshape(spec.observation_shape)
    except ValueError as error:
        raise E2CError(f"The goal does not fit the camera: {shown(error)}.") from None


def camera_of(spec: ProblemSpec) -> Camera:
    """Return the camera that makes observations of pictures, as those of a spec were made."""
    H, W = spec.layout.frame_shape[:2]
    told = spec.options.get("camera", {})
    layout = {"size": (H, W), "colour": spec.layout.is_colour, "frames": spec.layout.frames}
    return Camera(**{**told, **layout})


def as_recorded(picture: Frames, spec: ProblemSpec) -> Frames:
    """Return a picture in the resolution of those before, if a spec tells it.

    Raises:
        ValueError: as `envs.camera.resized`.
    """
    return picture if spec.picture_size is None else resized(picture, spec.picture_size)


def from_state(state: Sequence[float], spec: ProblemSpec) -> Frames:
    """Return the observation of a simulated world that is at rest in ``state [n]``.

    Raises:
        E2CError: when the world is not simulated, or its states have another number of components.
    """
    with closing(make_world_of(spec)) as world:
        try:
            task = simulated(world, "A goal that is given as a state").task
        except ValueError as error:
            raise E2CError(shown(error) + ", and give a picture: --goal goal.png.") from None
        if len(state) != task.state_dim:
            parts = ", ".join(component.label for component in task.components)
            raise E2CError(
                f"A goal state of {spec.env} has {task.state_dim} numbers: {parts}; "
                f"got {len(state)}."
            )
        try:
            return task.observe(np.asarray([state], np.float64))[0]
        except ValueError as error:
            raise E2CError(shown(error) + ".") from None


def _moment(path: Path, episode: int, step: int, spec: ProblemSpec) -> Frames:
    """Return one observation of a recording."""
    found = recorded.load(path)
    if episode >= len(found) or step > found.lengths[episode]:
        last = f"{len(found)} episodes" if episode >= len(found) else f"{found.lengths[episode]}"
        raise E2CError(
            f"{path} has no step {step} of episode {episode}: it has {last}; both are counted "
            "from 0."
        )
    first = found.frame_rows(episode).start + step
    frames = found.frames[first : first + found.frames_per_observation]
    if found.layout.frame_shape != spec.layout.frame_shape or len(frames) != spec.layout.frames:
        raise E2CError(
            f"{path} shows observations of shape {list(found.layout.shape)}, and a goal of "
            f"{spec.env} is of {list(spec.observation_shape)}; choose a recording of that world."
        )
    return frames.reshape(spec.observation_shape)


def _picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file as RGB, or as grey where it is grey."""
    try:
        content = np.frombuffer(read_bytes(path, MAX_BYTES), np.uint8)
        found = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if content.size else None
    except (ValueError, cv2.error) as error:
        raise E2CError(_unreadable(path, error)) from None
    if found is None:
        raise E2CError(f"The goal {path} is not a picture that can be read; give a .png or .jpg.")
    picture = found.astype(np.uint8)
    return picture[..., 0] if (picture == picture[..., :1]).all() else picture


def _array(path: Path) -> NDArray[np.uint8]:
    """Read an array file, as plain numbers."""
    try:
        content = io.BytesIO(read_bytes(path, MAX_BYTES))
        found: NDArray[np.uint8] = np.load(content, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise E2CError(_unreadable(path, error)) from None
    return found


def _unreadable(path: Path, error: Exception) -> str:
    """Return the sentence for a file of a goal that cannot be read."""
    return (
        f"The goal {path} cannot be read ({shown(error)}); give the path of a picture (.png, .jpg) "
        "or of an array (.npy)."
    )
