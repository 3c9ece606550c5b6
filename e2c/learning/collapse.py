"""Finding posterior collapse during training: encodings that carry no information on their images.

A collapsed posterior is the prior, ``q(z|x) = N(0, I)``, and the decoder draws the mean image for
every latent state (Bowman et al. 2016). The loss is finite and falls, so it does not show this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from e2c.learning.trainer import Trainer

AFTER_STEPS = 500
"""No collapse is reported before this step: until then training may still draw the mean image."""
FEW_NATS = 0.1
"""A prior KL below this is a sign of collapse [nats]; in a trained model it is 5 to 30."""
NO_BETTER = 0.98
"""Drawings are no better than the mean image if their loss exceeds this share of its loss."""

REMEDY = (
    "let more pixels show what moves (--camera.crop, --camera.size), blur at first "
    "(--optimiser.blur 8), or show the networks what stands out alone (--model.view silhouette)"
)


def collapse(row: Mapping[str, float], trainer: Trainer) -> dict[str, Any] | None:
    """Return the figures of a collapse, or None where there is none.

    Args:
        row: means over the last steps; without a ``prior_kl`` no collapse is found.
        trainer: as it is after these steps; while it blurs images, no collapse is found.
    """
    nats, drawn = row.get("prior_kl"), trainer.level / trainer.first if trainer.first else 0.0
    if nats is None or trainer.step < AFTER_STEPS or not trainer.lens.is_sharp:
        return None
    collapsed = nats < FEW_NATS and drawn > NO_BETTER
    return {"step": trainer.step, "prior_kl": nats, "drawn": drawn} if collapsed else None


def sentence(found: Mapping[str, Any]) -> str:
    """Describe a collapse and its remedies in a sentence."""
    return (
        f"the posterior has collapsed: after {found['step']} steps an encoding says "
        f"{found['prior_kl']:.2g} nats of its image, and what is drawn is no better than the mean "
        f"image ({found['drawn']:.0%} of its loss); {REMEDY}."
    )
