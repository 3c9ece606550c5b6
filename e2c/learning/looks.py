"""Rules that choose crop, view and blur from the looks of the first data.

The networks and the weights of the objective were tuned on frames that show large, bright, moving
things on black. `Silhouette` makes other frames similar. Frames of small things are blurred at
first. Before that, `aim` turns the camera to what moves. An option that the user has set is left as
it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from e2c.config import Config
from e2c.data.looks import Looks
from e2c.models.options import View

BLACK = 0.02
"""A background that is at most this bright is black."""
BRIGHT = 0.9
"""What stands out at least this much from black is white."""
FAINT = 0.02
"""What stands out less than this may be the noise of a camera."""
CROWDED = 0.4
"""If more than this share of the pixels stands out, the background is not still."""
SMALL = 0.02
"""What covers less than this share of a frame is small: the rods of our own tasks cover more."""
BLUR = 1 / 6
"""Blur at the start of training on small things, as a share of the frame's height."""
MARGIN = 0.06
"""Margin of a crop at each edge, as a share of the extent of what moves."""
WORTH = 0.8
"""A crop that shows more than this share of the picture gains too little."""

Crop = tuple[int, int, int, int]
"""Rows and columns of a picture: top, bottom, left, right [px]."""


def aim(
    looks: Looks, box: Crop | None, picture: tuple[int, int], frame: tuple[int, int]
) -> tuple[Crop | None, str]:
    """Return the crop of a picture for the camera, None for the whole picture; and the reason.

    The crop shows what moves, with a margin. It has the aspect ratio of a frame, so that nothing is
    squeezed, except where the edge of the picture cuts it off.

    Args:
        looks: of frames that show the whole picture, of any size.
        box: around all that stands out in them; see `e2c.data.looks.box_of`.
        picture: height and width of the picture [px].
        frame: height and width of the camera's frames [px].
    """
    if box is None or looks.peak < FAINT:
        return None, "nothing stood out from the background"
    if looks.moving > CROWDED:
        return None, f"the background moved ({looks.moving:.0%} of the pixels)"
    box_size = np.array([box[1] - box[0], box[3] - box[2]])
    centre = np.array([box[0] + box[1], box[2] + box[3]]) / 2
    scale = np.array(picture) / looks.background.shape[-2:]
    pixel = ((1 + 2 * MARGIN) * box_size * scale / frame).max()  # of a frame, in picture pixels
    half = pixel * np.array(frame) / 2
    start = np.clip(np.floor(centre * scale - half), 0, None).astype(int)
    end = np.minimum(np.ceil(centre * scale + half), picture).astype(int)
    if np.prod(end - start) > WORTH * np.prod(picture):
        return None, "something moved nearly everywhere"
    (top, left), (bottom, right) = start.tolist(), end.tolist()
    return (top, bottom, left, right), "nothing moved outside"


def choose(config: Config, looks: Looks) -> tuple[Config, str]:
    """Return a configuration with its open options chosen, and the reasons in a sentence.

    Args:
        config: as it was asked for.
        looks: of the first data.
    """
    model, optimiser, reasons = config.model, config.optimiser, list[str]()
    if model.view == "auto":
        view, reason = _view(looks)
        model = replace(model, view=view)
        reasons.append(f"{view} view, since {reason}")
    if optimiser.blur is None:
        blur, reason = _blur(looks)
        optimiser = replace(optimiser, blur=blur)
        reasons.append(f"blur of {blur:g} px at first, since {reason}")
    return replace(config, model=model, optimiser=optimiser), "; ".join(reasons)


def _view(looks: Looks) -> tuple[View, str]:
    """Return the view of the networks, and why."""
    if looks.level <= BLACK and looks.peak >= BRIGHT:
        return "plain", "frames are white on black"
    if looks.peak < FAINT:
        return "plain", "nothing stands out from the background"
    if looks.moving > CROWDED:
        return "plain", f"the background moves ({looks.moving:.0%} of the pixels)"
    return "silhouette", (
        f"what stands out differs by {looks.contrast:.2f} from a background of {looks.level:.2f}"
    )


def _blur(looks: Looks) -> tuple[float, str]:
    """Return the blur at the start of training [px], and why."""
    blur = round(BLUR * looks.background.shape[-2], 1) if looks.moving < SMALL else 0.0
    return blur, f"{looks.moving:.1%} of the pixels stand out"
