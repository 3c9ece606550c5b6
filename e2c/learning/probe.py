"""A probe of an unknown world before its first data: it decides what the camera looks at."""

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

TRANSITIONS = 200
"""Steps of the probe; nothing is learned from them."""
LONGEST = 100
"""Most steps of an episode of the probe."""
SIZE = (128, 128)
"""Height and width of its frames [px]: enough to see where something moves."""


def aimed(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe with the crop of its camera chosen, if it was left open.

    A run that ``folder`` holds keeps its crop. For a new run, a few episodes of whole pictures are
    recorded under random controls, and `e2c.learning.looks.aim` chooses. The crop must show the
    goal too, so the goal must be a picture as large as the world's. Other goals, also those that
    the world tells, have been through a camera; then this camera stays as it is.

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
    """Choose the crop from where something moves, and tell it; None for the whole picture."""
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
    """Return the picture of the goal, which the crop must show; None where no crop is chosen."""
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
