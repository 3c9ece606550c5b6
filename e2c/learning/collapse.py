"""Posterior collapse: encodings that say nothing of their images, found while training goes on.

A collapsed posterior is the prior, ``q(z|x) = N(0, I)``, and the decoder draws the mean image
whatever the latent state (Bowman et al. 2016). The loss is finite and falls, so nothing else tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from e2c.learning.trainer import Trainer

AFTER_STEPS = 500
"""Training gets past the mean image within these steps, if it does."""
FEW_NATS = 0.1
"""Encodings that say less than this of their images say nothing; a learned model's say 5 to 30."""
NO_BETTER = 0.98
"""Drawings are no better than the mean image that lose more than this share of what it loses."""

REMEDY = (
    "let more pixels show what moves (--camera.crop, --camera.size), blur at first "
    "(--optimiser.blur 8), or show the networks what stands out alone (--model.view silhouette)"
)


def collapse(row: Mapping[str, float], trainer: Trainer) -> dict[str, Any] | None:
    """Return the figures of a collapse, or None where there is none.

    Args:
        row: means over the last steps; a method without a prior KL has no such sign.
        trainer: as it is after them.
    """
    nats, drawn = row.get("prior_kl"), trainer.level / trainer.first if trainer.first else 0.0
    if nats is None or trainer.step < AFTER_STEPS or not trainer.lens.is_sharp:
        return None
    collapsed = nats < FEW_NATS and drawn > NO_BETTER
    return {"step": trainer.step, "prior_kl": nats, "drawn": drawn} if collapsed else None


def sentence(found: Mapping[str, Any]) -> str:
    """Tell of a collapse, and the remedy."""
    return (
        f"the posterior has collapsed: after {found['step']} steps an encoding says "
        f"{found['prior_kl']:.2g} nats of its image, and what is drawn is no better than the mean "
        f"image ({found['drawn']:.0%} of its loss); {REMEDY}."
    )
