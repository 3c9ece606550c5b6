"""A probe of a world that nobody knows, before its first data: at what the camera is to look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from e2c.config import Recipe
from e2c.control.base import Frames
from e2c.control.goals import goal_picture
from e2c.data.looks import box_of, look_at
from e2c.files import runs
from e2c.files.tracking import tell
from e2c.learning.collect import collect_transitions, opened_task
from e2c.learning.looks import Crop, aim
from e2c.models.base import ProblemSpec
from e2c.options import to_dict
from envs.images import channels_first
from envs.world import World, picture_size

TRANSITIONS, LONGEST = 200, 100
"""Steps of the probe, in episodes of at most so many; nothing is learned from them."""
SIZE = (128, 128)
"""Height and width of its frames [px]: enough to tell where something moves."""


def aimed(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe that says what part of its world's pictures the camera sees.

    What was left open is as in the run that ``folder`` holds. Before a run begins, a few episodes
    are seen whole, under random controls, and `e2c.learning.looks.aim` decides. The goal has to be
    in sight too: so it must be a picture of the same size. Another goal, or one that the world
    tells, has been through a camera, which this one must agree with.

    Raises:
        E2CError: as `opened_task`, and where the goal cannot be read.
    """
    camera = recipe.config.camera
    if camera.crop is not None or recipe.data:
        return recipe
    if (folder / runs.CONFIG).exists():
        crop = runs.read_recipe(folder / runs.CONFIG).config.camera.crop
    else:
        crop = _probed(recipe)
    return replace(recipe, config=replace(recipe.config, camera=replace(camera, crop=crop)))


def _probed(recipe: Recipe) -> Crop | None:
    """Look where something moves, and tell what is to be seen; None where that is all."""
    with opened_task(recipe) as (world, spec):
        goal = _goal_to_see(recipe, world, spec)
    if goal is None:
        return None
    data, whole = recipe.config.data, replace(recipe.config.camera, size=SIZE, frames=1)
    options = {**spec.options, "camera": to_dict(whole)}
    seen = collect_transitions(
        spec.env, TRANSITIONS, LONGEST, recipe.seed, noise=data.noise, options=options
    )
    frames = np.concatenate([seen.frames, whole.frame(goal)[None]])
    looks = look_at(seen)
    box = box_of(channels_first(frames, whole.colour), looks)
    size = goal.shape[0], goal.shape[1]
    crop, why = aim(looks, box, size, recipe.config.camera.size)
    _tell(crop, why, size)
    return crop


def _goal_to_see(recipe: Recipe, world: World | None, spec: ProblemSpec) -> Frames | None:
    """Return the picture of the goal that must be in sight; None where nothing is to be aimed."""
    size = None if world is None else picture_size(world)
    if world is None or size is None or "goal" in world.reset(seed=0)[1]:
        return None
    goal = goal_picture(recipe.goal, spec)
    return None if goal is None or goal.shape[:2] != size else goal


def _tell(crop: Crop | None, why: str, size: tuple[int, int]) -> None:
    """Tell in a sentence what the camera sees."""
    where = "the whole picture"
    if crop is not None:
        where = "rows {} to {} and columns {} to {} of the picture".format(*crop)
    told = f"the camera sees {where} ({size[0]}x{size[1]} pixels)"
    tell(f"{told}: in a probe of {TRANSITIONS} steps {why}.")
