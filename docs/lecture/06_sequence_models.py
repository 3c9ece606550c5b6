# %% [markdown]
# # 6. Sequence models
#
# **A video is one observation with many latent states, and it has an ELBO like any other. In
# Embed to Control the latent state moves without noise, so the whole video has one cause, its first
# latent state. The published loss bounds two frames at a time. The bound of the whole window is the
# one that planning needs: a model trained by it predicts far ahead.**
#
# $$\log p(x_{0:T} \mid u_{0:T-1}) \;\ge\; \mathbb{E}_{q(z_0 \mid x_0)}\Big[\sum_{k=0}^{T}
#   \log p(x_k \mid \hat z_k)\Big] - \mathrm{KL}\big(q(z_0 \mid x_0)\,\|\,p(z_0)\big),
#   \qquad \hat z_{k+1} = f(\hat z_k, u_k)$$
#
# It is exact where $q$ is $p(z_0 \mid x_{0:T}, u)$. First we check that on a system in which
# everything is known (`e2c/lecture/closed_form.py`), then we train on images with windows of 1
# and of 8 steps (`e2c/models/e2c.py`, `e2c/lecture/fit.py`).

# %%
import torch
from torch.distributions import kl_divergence

import e2c
from e2c.learning.schedule import OptimiserConfig
from e2c.lecture.closed_form import LinearGaussian
from e2c.lecture.fit import fit
from e2c.lecture.inference import log_joint_of
from e2c.lecture.notebook import show_frames, show_lines
from e2c.models.draws import Generators
from e2c.models.gaussians import DiagonalGaussian, kl_to_standard_normal
from e2c.models.methods import build_model
from e2c.models.objectives import ObjectiveConfig
from e2c.models.options import ModelConfig

# %% [markdown]
# ## A state-space model as a latent variable model
#
# A small swing about the bottom is linear: $z_{k+1} = A z_k$ with angle and velocity. We see the
# angle alone, with noise: $x_k = C z_k + \varepsilon$. All angles together are linear in $z_0$,
# with the matrix $W = (C;\, C A;\, C A^2; \dots)$. So the video is a linear-Gaussian model of
# page 1.

# %%
dt, gravity = 0.05, 15.0
A = torch.tensor([[1 - dt**2 * gravity, dt], [-dt * gravity, 1.0]], dtype=torch.float64)
C = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
rows = [C]
for _ in range(12):
    rows.append(rows[-1] @ A)


def window(T: int) -> LinearGaussian:
    """Return the model of the first ``T + 1`` angles."""
    W = torch.cat(rows[: T + 1])
    return LinearGaussian(W, W.new_zeros(T + 1), W.new_tensor(0.05).log())


video = window(12)
x = torch.cat(rows) @ torch.tensor([0.5, -1.0], dtype=torch.float64)
for seen in (0, 1, 4, 12):
    p = window(seen).posterior(x[: seen + 1])
    q = DiagonalGaussian(p.mean, p.variance.log())
    normal = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    missing = kl_divergence(normal, video.posterior(x))
    gap = video.log_density(x) - video.elbo(x, q) - missing
    print(f"q from {seen + 1:2d} frames: {missing:8.3f} nats below log p, to {abs(gap):.0e}")
    assert abs(gap) < 1e-6
    if seen == 0:
        alone = missing
assert missing < 0.1 * alone

# %% [markdown]
# One frame does not show the velocity, so a $q$ of one frame misses much. That is why an
# observation of the pendulum holds two frames.
#
# ## Two windows on images
#
# The published loss takes windows of one step. The second model here takes eight, as the default
# does, and compares at three times. (The default compares at one, drawn anew for each batch, which
# is cheaper.) Both models have the same networks, the same data and the same number of steps; a
# step of the second compares four frames a window, one of the first two.

# %%
agent = e2c.load_agent(e2c.TRAINED)
data, others = e2c.collect(transitions=1000, seed=0), e2c.collect(transitions=200, seed=1)
models = {}
for T, targets in ((1, 1), (8, 3)):
    options = ModelConfig(view="plain", encoder="mlp", encoder_hidden=(128, 128))
    model = build_model(options, agent.spec, agent.model.goal.numpy(), seed=0)
    steps = OptimiserConfig(400, batch_size=16, learning_rate=3e-3)
    fit(model, data, ObjectiveConfig(T, targets), steps)
    models[T] = model.requires_grad_(False)

# %% [markdown]
# Now the bound of the window above, on recordings that neither has seen, divided by the number of
# frames; and the open-loop error, as a share of the spread of the codes.

# %%
seen = torch.from_numpy(others.planes()).unflatten(0, (-1, 26))
controls = torch.from_numpy(others.actions).unflatten(0, (-1, 25))
draws = Generators(0)
bounds, errors = {}, {}
for trained, model in models.items():
    q = model.encode(seen[:, 0])
    path = model.roll_out(q.sample(draws), controls)
    likelihood = log_joint_of(model.decoder, seen.float() / 255)(path)
    prior = DiagonalGaussian(torch.zeros_like(path), torch.zeros_like(path)).log_density(path)
    drawn = (likelihood - prior).cumsum(1)
    lengths = torch.arange(1, 27)
    bounds[trained] = ((drawn - kl_to_standard_normal(q)[:, None]).mean(0) / lengths).tolist()
    mean_path, codes = model.roll_out(q.mean, controls), model.encode(seen).mean
    away = (mean_path - codes).square().sum(-1).mean(0) / model.latent_variance
    errors[trained] = away.tolist()
    for T in (1, 8, 20):
        print(
            f"trained on {trained} steps: window of {T:2d}: bound {bounds[trained][T]:7.0f} nats a "
            f"frame, error {errors[trained][T]:.3f}"
        )
    show_frames(
        f"Seen, and predicted by the model of {trained} steps, every 3rd step",
        [seen[0, ::3, -1].numpy(), model.decode(mean_path[0, ::3])[:, -1]],
    )
told = {f"trained on {T} steps": (range(1, 26), errors[T][1:]) for T in models}
show_lines("open-loop error", "steps ahead", told)
assert bounds[1][1] > bounds[8][1]
assert bounds[8][8] > bounds[1][8]
assert bounds[8][20] > bounds[1][20]
assert errors[8][20] < errors[1][20]

# %% [markdown]
# On its own window of one step the first model has the better bound. Further ahead it falls apart,
# since nothing asked its predictions to fit when they are predicted from.
#
# ## What it means for the pendulum
#
# The agent plans 60 steps ahead, and trusts its plans no further than its predictions hold. The
# shipped model was trained on windows of 8 steps, and on its own episodes:

# %%
q = agent.model.encode(seen[:, 0])
path, codes = agent.model.roll_out(q.mean, controls), agent.model.encode(seen).mean
error = ((path - codes).square().sum(-1).mean(0) / agent.model.latent_variance)[20].item()
world = e2c.make_world(agent.spec.env, 2)
success = e2c.evaluate(world, agent, seed=0, steps=130).scores.summary()["success_rate"]
print(f"shipped: error after 20 steps {error:.3f}, success {success:.0%}")
assert error < errors[8][20]
assert success == 1
