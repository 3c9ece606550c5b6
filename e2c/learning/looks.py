"""From the looks of the first data to how they are learned from: the rules, and their reasons.

The networks and the weights of the objective were tuned on frames in which what moves is large,
bright and on black. Other frames are made like those, by `Silhouette`; what is small is blurred at
first. The likelihood is a Bernoulli in any case. Before that, the camera is aimed at what moves, by
`aim`. Whatever the user says is left as it is.
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
"""What stands out less than this is not told from the noise of a camera."""
CROWDED = 0.4
"""Where more than this share of the pixels stands out, no background is still."""
SMALL = 0.02
"""What covers less than this share of a frame is small: the rods of our own tasks cover more."""
BLUR = 1 / 6
"""Blur at the start of training on what is small, as a share of the frame's height."""
MARGIN = 0.06
"""A crop shows so much more at each edge than what was seen to move, as a share of its extent."""
WORTH = 0.8
"""A crop that shows more than this share of the picture gains too little."""

Crop = tuple[int, int, int, int]
"""Rows and columns of a picture: top, bottom, left, right [px]."""


def aim(
    looks: Looks, box: Crop | None, picture: tuple[int, int], frame: tuple[int, int]
) -> tuple[Crop | None, str]:
    """Return what the camera is to see of a picture, None for all of it; and why.

    It sees what moves, with a margin, as wide for its height as a frame is, so that nothing is
    squeezed; less where that goes beyond the picture.

    Args:
        looks: of frames that show the whole picture, of any size.
        box: what stands out in them; see `e2c.data.looks.box_of`.
        picture: height and width of the picture [px].
        frame: height and width of the frames that are to be made of it [px].
    """
    if box is None or looks.peak < FAINT:
        return None, "nothing stood out from the background"
    if looks.moving > CROWDED:
        return None, f"the background moved ({looks.moving:.0%} of the pixels)"
    box_size = np.array([box[1] - box[0], box[3] - box[2]])
    centre = np.array([box[0] + box[1], box[2] + box[3]]) / 2
    scale = np.array(picture) / looks.background.shape[-2:]
    pixel = ((1 + 2 * MARGIN) * box_size * scale / frame).max()  # of a frame, in the picture's
    half = pixel * np.array(frame) / 2
    start = np.clip(np.floor(centre * scale - half), 0, None).astype(int)
    end = np.minimum(np.ceil(centre * scale + half), picture).astype(int)
    if np.prod(end - start) > WORTH * np.prod(picture):
        return None, "something moved nearly everywhere"
    (top, left), (bottom, right) = start.tolist(), end.tolist()
    return (top, bottom, left, right), "nothing moved outside"


def choose(config: Config, looks: Looks) -> tuple[Config, str]:
    """Return a configuration in which what was left open is chosen, and a sentence that says why.

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
    """Return how frames are seen, and why."""
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
