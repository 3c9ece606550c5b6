"""From the looks of the first data to how they are learned from: the rules, and their reasons.

The networks and the weights of the objective were tuned on frames in which what moves is large,
bright and on black. Other frames are made like those, by `Silhouette`; what is small is blurred at
first. The likelihood is a Bernoulli in any case. Whatever the user says is left as it is.
"""

from __future__ import annotations

from dataclasses import replace

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
