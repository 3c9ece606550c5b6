# %% [markdown]
# # 5. The variational autoencoder
#
# **An autoencoder (AE) may put the images anywhere in latent space. The VAE pays for every nat by
# which $q(z \mid x)$ leaves the prior, so its codes lie close together around zero, and a draw from
# the prior looks more like an image. That makes a space to sample from. It does not make one to
# plan in.**
#
# $$\max_{\theta, \phi}\; \mathbb{E}_{q_\phi(z \mid x)}\big[\log p_\theta(x \mid z)\big]
#   - \mathrm{KL}\big(q_\phi(z \mid x)\,\|\,\mathcal{N}(0, I)\big)$$
#
# The AE is the same without the KL and without noise in $z$. Both are in `e2c/models/baselines.py`:
# locally linear dynamics are fitted to the codes, which they do not shape. We train both for a few
# seconds on the same frames, by `e2c/lecture/fit.py`.

# %%
import numpy as np
import torch

import e2c
from e2c.learning.schedule import OptimiserConfig
from e2c.lecture.fit import fit
from e2c.lecture.notebook import show_frames, show_lines
from e2c.models.draws import Generators
from e2c.models.methods import build_model
from e2c.models.objectives import ObjectiveConfig
from e2c.models.options import ModelConfig

shipped = e2c.load_agent(e2c.TRAINED)
data, others = e2c.collect(transitions=1000, seed=0), e2c.collect(transitions=400, seed=1)
models, curves = {}, {}
for method in ("ae", "vae"):
    options = ModelConfig(
        method=method, view="plain", latent_dim=3, encoder="mlp", encoder_hidden=(128, 128)
    )
    model = build_model(options, shipped.spec, shipped.model.goal.numpy(), seed=0)
    rows = fit(
        model, data, ObjectiveConfig(1, 1), OptimiserConfig(500, batch_size=24, learning_rate=3e-3)
    )
    models[method.upper()] = model.requires_grad_(False)
    found = np.array([row["reconstruction"] for row in rows]).reshape(-1, 20).mean(1)
    curves[method.upper()] = (range(10, 500, 20), found)
    print(f"{method.upper():3}: reconstruction {found[-1]:.0f} nats")
show_lines("Reconstruction [nats]", "steps", curves)

# %% [markdown]
# ## What the KL buys
#
# * *Samples*: draw $z$ from $\mathcal{N}(0, I)$ and decode it.
# * *Interpolation*: decode the midpoint between the codes of two frames.
#
# Is the result a picture of a rod? We look for the nearest frame of the data, by the root mean
# square difference of a pixel.

# %%
frames = torch.from_numpy(data.planes()[::2, -1]).float().flatten(1) / 255


def strangeness(images: np.ndarray) -> float:
    """Return how far newest frames ``[N, C, H, W]`` are from the nearest in the data, a pixel."""
    shown = torch.from_numpy(images[:, -1]).float().flatten(1) / 255
    return float(torch.cdist(shown, frames).min(1).values.mean() / frames.shape[1] ** 0.5)


drawn, sampled, between = {}, {}, {}
prior = Generators(0).normal(torch.empty(64, 3))
for name, model in models.items():
    codes = model.encode(others.planes()).mean
    far = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))[:128]
    middle = (codes[far[:64]] + codes[far[64:]]) / 2
    drawn[name] = strangeness(model.decode(codes[far]))
    sampled[name] = strangeness(model.decode(prior))
    between[name] = strangeness(model.decode(middle))
    print(
        f"{name:3}: spread of the codes {codes.std(0).mean():5.2f}; distance to the nearest frame: "
        f"reconstructions {drawn[name]:.3f}, midpoints {between[name]:.3f}, "
        f"samples {sampled[name]:.3f}"
    )
    show_frames(
        f"{name}: samples from N(0, I); midpoints",
        [model.decode(prior[:12])[:, -1], model.decode(middle[:12])[:, -1]],
    )
assert sampled["VAE"] < 0.95 * sampled["AE"]
spread = {name: model.latent_variance.item() / 3 for name, model in models.items()}
assert abs(spread["VAE"] - 1) < abs(spread["AE"] - 1)

# %% [markdown]
# Samples gain by the KL. Midpoints gain nothing: the states of a pendulum lie on a tube, since the
# angle comes round again, and the midpoint of two codes lies inside the tube, where no image is.

# %% [markdown]
# ## What it means for the pendulum
#
# An agent plans in the latent space, so what counts there is prediction. We roll 10 steps out
# without looking, and compare with the codes of what was seen. The error is a share of the
# spread of the codes; 1 is as bad as guessing their mean. Then the agent acts, from two
# hanging starts.

# %%
first = np.flatnonzero(np.arange(len(others.first_frames)) % 26 == 0)
controls = torch.from_numpy(others.actions).unflatten(0, (-1, 25))[:, :10]
errors = {}
for name, model in {**models, "E2C (shipped)": shipped.model}.items():
    codes = model.encode(others.planes()).mean
    predicted = model.roll_out(codes[first], controls)[:, -1]
    away = (predicted - codes[first + 10]).square().sum(-1).mean() / model.latent_variance
    errors[name] = away.item()
    agent = e2c.Agent(model, shipped.spec, shipped.options)
    world = e2c.make_world(shipped.spec.env, 2)
    success = e2c.evaluate(world, agent, seed=0, steps=130).scores.summary()["success_rate"]
    print(f"{name:13}: error after 10 steps {errors[name]:.3f}, success {success:.0%}")
    if name.startswith("E2C"):
        assert success == 1
assert errors["E2C (shipped)"] < min(errors["AE"], errors["VAE"])
print("Neither AE nor VAE is asked to make its codes predictable. E2C is (page 7).")
