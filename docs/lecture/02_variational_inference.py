# %% [markdown]
# # 2. Variational inference, one datapoint at a time
#
# **Give every image $x_i$ a distribution of its own, $q_i(z) = \mathcal{N}(\mu_i, \sigma_i^2)$, and
# climb its ELBO by gradient. This works, and it is too slow to act by: each new image needs
# hundreds of passes through the decoder before the torque is right.**
#
# $$\max_{\mu_i, \sigma_i}\; \mathbb{E}_{z \sim q_i}\big[\log p(x_i \mid z)\big]
#   - \mathrm{KL}\big(q_i(z)\,\|\,\mathcal{N}(0, I)\big)$$
#
# The decoder $p(x \mid z)$ is the shipped one: a few numbers become two frames of 48 x 48 pixels.
# The gradient is the reparameterised one of page 4. The functions are in
# `e2c/lecture/inference.py`.

# %%
import torch

import e2c
from e2c.lecture.inference import PerDatapoint, fit_posteriors, log_joint_of, log_weights
from e2c.lecture.notebook import show_frames, show_lines
from e2c.models.draws import Generators
from e2c.models.gaussians import DiagonalGaussian

agent = e2c.load_agent(e2c.TRAINED)
model, n = agent.model.requires_grad_(False), agent.model.transition.n
observations = e2c.collect(transitions=100, seed=5).planes()[::13]
x = torch.from_numpy(observations).float() / 255
N = len(x)
log_joint = log_joint_of(model.decoder, x)

# %% [markdown]
# ## The bound after k steps
#
# All $q_i$ begin at the prior, $\mathcal{N}(0, I)$. To know how far they can get, another fit
# begins where the encoder (page 3) says.

# %%
STEPS = 600
prior = DiagonalGaussian(torch.zeros(N, n), torch.zeros(N, n))
fit = fit_posteriors(prior, log_joint, Generators(0), STEPS, samples=1, learning_rate=0.2)
best = fit_posteriors(model.encoder(x), log_joint, Generators(1), 80, samples=1)


def bound(q: DiagonalGaussian) -> torch.Tensor:
    """The ELBO of every frame, from 32 samples."""
    return log_weights(q, log_joint, Generators(2), 32).mean(0)


smooth = fit.bounds.unflatten(0, (-1, 10)).mean(1)
for k in (0, 10, 50, 100, STEPS - 10):
    print(f"about step {k:3d}: median ELBO {smooth[k // 10].median():8.0f} nats")
print(f"from the encoder's start:       {bound(best.q).median():8.0f} nats")
show_lines(
    "median -ELBO [nats]",
    "steps of Adam",
    {"from the prior": (range(5, STEPS, 10), -smooth.median(1).values)},
    log=True,
)
assert smooth[-1].median() > smooth[10].median() > smooth[0].median()

# %% [markdown]
# Each frame is drawn at its own angle in the end: no fit is caught at a wrong one.

# %%
found = bound(fit.q) > bound(best.q) - 20
print(f"{int(found.sum())} of {N} frames came within 20 nats of the best known bound")
assert found.all()
rows = [observations[:, -1], model.decode(fit.q.mean)[:, -1], model.decode(best.q.mean)[:, -1]]
show_frames("Frames; drawn from q fitted from the prior; from the encoder's start", rows)

# %% [markdown]
# ## Parameters against N
#
# Each frame has $2n$ parameters of its own. An encoder has the same number for any $N$.

# %%
weights = sum(parameter.numel() for parameter in model.encoder.parameters())
for count in (1_000, 10_000, 100_000):
    print(f"N = {count:7,d}: {2 * n * count:9,d} of the q_i, {weights:,d} of the encoder")
print(f"They are equal at N = {weights // (2 * n):,d} frames.")
assert fit.q.mean.numel() + fit.q.log_variance.numel() == 2 * n * N

# %% [markdown]
# ## What it means for the pendulum
#
# The agent plans from the latent state. Let it look by per-datapoint inference instead of the
# encoder (and without its sight, a copy of the encoder for faulty cameras), and compare the
# torques that it plans for the same frames. The limit is 2 N m. Even a small difference of the
# latent state may lead to a swing to the other side, so part of the difference stays.

# %%
goal, model.sight = model.goal.numpy(), None
encoder, encoded = model.encoder, agent.act(observations)
errors = {}
for k in (10, STEPS):
    model.encoder = PerDatapoint(model.decoder, n, k)
    agent.reset(goal)
    errors[k] = float(abs(agent.act(observations) - encoded).mean())
    print(f"{k:3d} steps a frame: torque off by {errors[k]:.2f} N m on average")
model.encoder = encoder
assert errors[STEPS] < errors[10]
print(f"A control step lasts {agent.spec.dt:.2f} s; the encoder answers in one pass.")
