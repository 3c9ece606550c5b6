# %% [markdown]
# # 3. Amortised inference
#
# **An encoder answers for every image at once, $q_\phi(z \mid x)$, in one pass. It pays twice:
# it is not the best Gaussian for this image (amortisation gap), and no diagonal Gaussian is the
# posterior (approximation gap). On frames it was not trained on it pays more, if it was trained
# on few.**
#
# $$\log p(x) - \text{ELBO}(q_\phi)
#   = \underbrace{\log p(x) - \text{ELBO}(q^*)}_{\text{approximation gap}}
#   + \underbrace{\text{ELBO}(q^*) - \text{ELBO}(q_\phi)}_{\text{amortisation gap}}$$
#
# $q^*$ is the per-datapoint optimum of page 2, started from the encoder's answer. $\log p(x)$ is
# not known here; an importance-weighted bound with $q^*$ stands for it (page 1). The functions
# are in `e2c/lecture/inference.py`; the VAE is in `e2c/models/baselines.py`, and its fit in
# `e2c/lecture/fit.py`.

# %%
from typing import NamedTuple

import torch

import e2c
from e2c.learning.schedule import OptimiserConfig
from e2c.lecture.fit import fit
from e2c.lecture.inference import (
    fit_posteriors,
    importance_weighted_bound,
    log_joint_of,
    log_weights,
)
from e2c.lecture.notebook import show_lines
from e2c.models.base import LatentModel
from e2c.models.draws import Generators
from e2c.models.methods import build_model
from e2c.models.objectives import ObjectiveConfig
from e2c.models.options import ModelConfig


class Gaps(NamedTuple):
    bound: float
    approximation: float
    amortisation: float


def gaps(model: LatentModel, frames: torch.Tensor) -> Gaps:
    """Return the encoder's ELBO and both gaps, in nats, averaged over ``frames [N, C, H, W]``."""
    log_joint = log_joint_of(model.requires_grad_(False).decoder, frames)
    q = model.encoder(frames)
    best = fit_posteriors(q, log_joint, Generators(0), 100, samples=1, learning_rate=0.05).q
    amortised = log_weights(q, log_joint, Generators(1), 64).mean(0)
    weights = torch.cat([log_weights(best, log_joint, Generators(s), 64) for s in range(4)])
    optimal = weights.mean(0)
    approximation = (importance_weighted_bound(weights) - optimal).mean()
    return Gaps(float(amortised.mean()), float(approximation), float((optimal - amortised).mean()))


def pixels(episodes: e2c.Episodes, count: int = 8) -> torch.Tensor:
    """Return ``count`` observations, evenly spread, in [0, 1]."""
    planes = episodes.planes()
    return torch.from_numpy(planes[:: len(planes) // count][:count]).float() / 255


# %% [markdown]
# ## A VAE of few frames
#
# We train a VAE on 50 transitions, and look at both gaps on frames that it has seen and on others.

# %%
agent = e2c.load_agent(e2c.TRAINED)
few, others = e2c.collect(transitions=50, seed=3), e2c.collect(transitions=200, seed=4)
options = ModelConfig(
    method="vae", view="plain", encoder="mlp", encoder_hidden=(64,), decoder_hidden=(64,)
)
vae = build_model(options, agent.spec, agent.model.goal.numpy(), seed=0)
history = fit(
    vae, few, ObjectiveConfig(1, 1), OptimiserConfig(400, batch_size=16, learning_rate=3e-3)
)
show_lines(
    "Reconstruction [nats]",
    "steps",
    {"VAE": ([row["step"] for row in history], [row["reconstruction"] for row in history])},
)
seen, unseen = gaps(vae, pixels(few)), gaps(vae, pixels(others))

# %% [markdown]
# ## The shipped encoder
#
# It was trained on far more frames, many from its own episodes, and not by the ELBO alone: its
# latent states are to be predictable too (page 7). So its answer is not the best for drawing.

# %%
shipped = gaps(agent.model, pixels(others))
for name, found in (("VAE, seen", seen), ("VAE, unseen", unseen), ("shipped, unseen", shipped)):
    print(
        f"{name:16}: ELBO {found.bound:6.0f} nats, approximation gap {found.approximation:5.1f}, "
        f"amortisation gap {found.amortisation:6.1f}"
    )
for found in (seen, unseen, shipped):
    assert found.approximation > 0
    assert found.amortisation > 0
assert unseen.amortisation > 2 * seen.amortisation

# %% [markdown]
# ## What it means for the pendulum
#
# On the frames of its data the small VAE's encoder is nearly as good as the optimum. On others it
# gives nats away that a fit of that frame alone would get back. The shipped encoder was trained on
# many frames, and on those where it acts; both of its gaps are small beside its bound. So the agent
# uses it alone, one pass an image. It swings up from images that it has never seen:

# %%
world = e2c.make_world(agent.spec.env, 2)
success = e2c.evaluate(world, agent, seed=77).scores.summary()["success_rate"]
print(f"success of the shipped agent from 2 new starts: {success:.0%}")
assert success == 1
