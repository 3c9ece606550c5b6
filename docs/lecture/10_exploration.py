# %% [markdown]
# # 10. Exploration by variational inference
#
# **Random torques rarely swing a pendulum up, so a model learned from them knows the hanging rod
# only. With a posterior over the weights of its dynamics the model can tell what it does not know.
# A controller that plans for this information swings the rod up, though nobody told it to.**
#
# VIME (Houthooft et al. 2016) rewards a transition by what it tells about the weights $w$, after
# the history $h$:
#
# $$\mathbb{E}_{x'}\big[\mathrm{KL}\big(q(w \mid h, u, x')\,\|\,q(w \mid h)\big)\big]
#   = H(w \mid h) - \mathbb{E}_{x'}\big[H(w \mid h, u, x')\big]$$
#
# There $q$ is a factored Gaussian over all weights of a network, found by variational inference.
# Here the weights of the last layer alone are uncertain. The prediction is linear in these, so the
# posterior is Gaussian, and nothing has to be approximated. It is in `e2c/lecture/last_layer.py`,
# the controller in `e2c/lecture/exploration.py`.

# %%
from dataclasses import replace

import numpy as np
import torch
from torch.distributions import MultivariateNormal, kl_divergence

import e2c
from e2c.control.base import problem_spec
from e2c.control.simple import random_controls
from e2c.data.episodes import join
from e2c.data.looks import look_at
from e2c.learning.looks import choose
from e2c.lecture.exploration import Explorer, ExplorerOptions, know
from e2c.lecture.fit import fit
from e2c.lecture.last_layer import LastLayer
from e2c.lecture.notebook import show_lines
from e2c.models.methods import build_model
from e2c.presets import HEADLINE, preset

# %% [markdown]
# ## What a transition tells, in closed form
#
# $$y = w^\top \phi + e, \quad e \sim \mathcal{N}(0, \sigma^2), \quad
#   w \sim \mathcal{N}(m, \Lambda^{-1}), \quad \Lambda = \lambda I + \Phi^\top \Phi / \sigma^2$$
#
# $$H(w) - H(w \mid y) = \tfrac12 \log\big(1 + \phi^\top \Lambda^{-1} \phi / \sigma^2\big)$$
#
# It does not depend on $y$: what will be learned is known before it is seen. Below, $y$ is drawn
# many times from what the posterior predicts, and the divergence is averaged.

# %%
rng = torch.Generator().manual_seed(0)
sigma2, features = torch.tensor([0.5], dtype=torch.float64), 3
phi = torch.randn(6, features, generator=rng, dtype=torch.float64)
new = torch.randn(1, features, generator=rng, dtype=torch.float64)


def posterior(*drawn: torch.Tensor) -> tuple[LastLayer, MultivariateNormal]:
    """Return what is known after ``phi`` and, where y was drawn, ``new``."""
    layer = LastLayer(2.0, sigma2, features)
    layer.observe(phi, torch.zeros(6, 1))
    for y in drawn:
        layer.observe(new, y[None, None])
    return layer, MultivariateNormal(layer.mean[0], precision_matrix=layer.precision[0])


layer, before = posterior()
spread = (sigma2 + new[0] @ before.covariance_matrix @ new[0]).sqrt()
drawn = new[0] @ before.mean + spread * torch.randn(4000, generator=rng, dtype=torch.float64)
divergences = torch.stack([kl_divergence(posterior(y)[1], before) for y in drawn])
fall = before.entropy() - posterior(drawn[0])[1].entropy()
told = layer.gain(new)[0, 0]
error = divergences.std() / len(drawn) ** 0.5
print(f"information gain {told:.4f} nats, fall of the entropy {fall:.4f}")
print(f"divergence, mean of {len(drawn)}: {divergences.mean():.4f}, standard error {error:.4f}")
assert abs(told - fall) < 1e-9
assert abs(divergences.mean() - told) < 4 * error

# %% [markdown]
# Seen again and again, the same transition tells less and less.

# %%
again = [layer.gain(new)[0, 0].item()]
for _ in range(19):
    layer.observe(new, torch.zeros(1, 1))
    again.append(layer.gain(new)[0, 0].item())
show_lines("information gain [nats]", "times seen before", {"gain": (range(20), again)})
print(f"the first time {again[0]:.3f} nats, the 20th time {again[-1]:.3f}")
assert np.all(np.diff(again) < 0)

# %% [markdown]
# ## A model that knows the hanging rod only
#
# The first data are 400 transitions of white noise in ordinary episodes. The model is trained on
# these for a short while. The prediction $\hat z' = A(z)\, z + B(z)\, u + o(z)$ is linear in the
# weights of the last layer that make $o$ and $B$. So the features $\phi(z, u)$ are the last hidden
# layer, alone and times the control.

# %%
chance = np.random.default_rng(0)
world = e2c.make_world(HEADLINE, 2)
first = e2c.rollout(world, random_controls(world, chance, 200, "white"), 200, chance)
goals = first.goal_planes()
assert goals is not None
config, _ = choose(preset("default"), look_at(first))
spec = problem_spec(world)
model = build_model(config.model, spec, goals[0], seed=0)
fit(model, first, config.objective, replace(config.optimiser, steps=1500))
known = know(model, [first])

# %% [markdown]
# How much would a transition tell from any angle and velocity? The camera shows what that looks
# like. The gain is small where the data are, and large where they are not.


# %%
def seen(states: np.ndarray) -> np.ndarray:
    """Say which bins of angle and velocity, ``[24, 16]`` up to 8 rad/s, have a state in them."""
    limits = [(0, 2 * np.pi), (-8, 8)]
    angle, velocity = states[:, 0] % (2 * np.pi), states[:, 1]
    return np.histogram2d(angle, velocity, (24, 16), limits)[0] > 0


angle = (np.arange(24) + 0.5) / 24 * 2 * np.pi
velocity = (np.arange(16) + 0.5) - 8
grid = np.stack(np.meshgrid(angle, velocity, indexing="ij"), -1).reshape(-1, 2)
world = e2c.make_world(HEADLINE, len(grid))
pictures, _ = world.reset(options={"states": grid})
with torch.no_grad():
    z = model.encode(pictures).mean
    gain = known.gain(model.transition.features(z, torch.zeros(len(z), 1))).sum(-1)
    gain = gain.reshape(24, 16).numpy()
assert first.states is not None
there = seen(first.states)
print(f"white noise has seen {there.mean():.0%} of the states")
print(f"mean gain there {gain[there].mean():.3f} nats, elsewhere {gain[~there].mean():.3f}")
show_lines(
    "information gain [nats]",
    "angle from upright [rad]",
    {f"at {velocity[k]:+.1f} rad/s": (angle, gain[:, k]) for k in (8, 11, 14)},
)
assert gain[~there].mean() > 2 * gain[there].mean()

# %% [markdown]
# ## What it means for the pendulum
#
# The explorer plans 40 steps ahead by CEM (`planners/sampling.py`). It maximises the sum of the
# gains along the plan, and knows of no goal. After each step the posterior takes in what happened,
# and the next plan is predicted with its mean. Three episodes of 100 steps are played so, and by
# noise.

# %%
alone = e2c.make_world(HEADLINE, 1)
controllers = {
    "information gain": Explorer(model, spec, known, ExplorerOptions()),
    "white noise": random_controls(alone, chance, 100, "white"),
    "telegraph": random_controls(alone, chance, 100, "telegraph"),
}
share, up, heights = {}, {}, {}
for name, controller in controllers.items():
    played = join([e2c.rollout(alone, controller, 100, chance) for _ in range(3)])
    assert played.states is not None
    height = np.cos(played.states[:, 0])
    share[name], up[name] = (there | seen(played.states)).mean(), (height > 0).mean()
    heights[name] = np.arange(len(height)), height
    print(f"{name}: {share[name]:.0%} of the states seen; above horizontal in {up[name]:.0%}")
show_lines("height of the tip [m]", "step", heights)
assert share["information gain"] > 1.2 * share["white noise"]
assert up["information gain"] > up["white noise"]

# %% [markdown]
# The explorer swings the rod up, and white noise does not. How often differs from seed to seed.
#
# A telegraph signal is full force that changes its sign now and then. It knows nothing, needs no
# training, and is a strong rival: after these 300 transitions it has seen more than the explorer.
# `python -m benchmarks.exploration` lets both go on to 1,600 transitions,
# on nine seeds; see the [results](../results.md#exploration).
