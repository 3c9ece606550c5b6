# %% [markdown]
# # 1. Latent variable models
#
# **A latent variable $z$ is a cause that nobody recorded: which side the pendulum swings to, or how
# the rod lies. A model says how probable causes and observations are together, and**
#
# $$p(x) = \int p(x \mid z)\, p(z)\, dz .$$
#
# For any distribution $q(z)$ over the causes,
#
# $$\log p(x) \;=\; \underbrace{\mathbb{E}_{q}\big[\log p(x, z) - \log q(z)\big]}_{\text{ELBO}}
#   \;+\; \mathrm{KL}\big(q(z)\,\|\,p(z \mid x)\big).$$
#
# The KL is never negative, so the ELBO (evidence lower bound) is never above $\log p(x)$, and it is
# $\log p(x)$ where $q$ is the posterior. This page checks that equation on two models in which
# everything is known: a mixture, and a linear-Gaussian model. Both describe the pendulum.
#
# The models are in `e2c/lecture/closed_form.py`, the bounds in `e2c/lecture/inference.py`.

# %%
import itertools

import torch
from torch.distributions import kl_divergence

import e2c
from e2c.control.agent import PlannerConfig
from e2c.control.oracle import Oracle
from e2c.lecture.closed_form import LinearGaussian, Mixture
from e2c.lecture.inference import importance_weighted_bound, log_weights
from e2c.lecture.notebook import show_frames, show_lines
from e2c.models.draws import Generators
from e2c.models.gaussians import DiagonalGaussian

ENV = "E2C/PendulumSwingUp-v0"
draws = Generators(0)

# %% [markdown]
# ## A mixture: which way does the pendulum swing?
#
# The oracle is the planner on the true state. It swings 24 hanging pendulums up: a short push, then
# a long pull to the other side. We mirror each recording, since the pendulum is symmetric, and look
# at the mean torque of steps 8 to 14. It is positive or negative, never near zero. The side is the
# latent variable, $z \in \{1, 2\}$:
#
# $$p(x) = \sum_k \pi_k\, \mathcal{N}(x; \mu_k, \sigma_k^2).$$

# %%
world = e2c.make_world(ENV, 24)
oracle = e2c.evaluate(world, Oracle(world, PlannerConfig(restarts=2)), seed=0, steps=14)
pulls = torch.from_numpy(oracle.episodes.actions.reshape(24, 14)[:, 7:].mean(1)).double()
torques = torch.cat((pulls, -pulls))[:, None]

mixture = Mixture(
    torch.tensor([0.5, 0.5]).double().log(),
    DiagonalGaussian(torch.tensor([[-0.1], [0.2]]).double(), torch.zeros(2, 1).double()),
)
history = []
for _ in range(30):
    history.append(mixture.log_density(torques).mean().item())
    mixture = mixture.improved(torques)

single = DiagonalGaussian(torques.mean(0)[None], torques.var(0).log()[None])
one = Mixture(torch.zeros(1).double(), single)
for name, model in (("one Gaussian", one), ("mixture of two", mixture)):
    print(f"{name}: mean log p(x) = {model.log_density(torques).mean():.2f} nats")
print(
    "means of the two:", [round(mean, 2) for mean in mixture.components.mean[:, 0].tolist()], "N m"
)
show_lines(
    "log p(x) [nats]", "steps of expectation maximisation", {"mixture": (range(30), history)}
)

# %% [markdown]
# Each step of expectation maximisation first makes the bound exact, by $q = p(z \mid x)$, and then
# raises it by the parameters. So $\log p(x)$ never falls. Now the equation itself, for a $q$ that
# is *not* the posterior:

# %%
log_q = torch.tensor([[0.7, 0.3]]).double().log().expand(48, -1)
posterior = mixture.log_posterior(torques)
kl = (log_q.exp() * (log_q - posterior)).sum(-1)
gap = mixture.log_density(torques) - mixture.elbo(torques, log_q) - kl
print(f"mixture: |log p(x) - ELBO - KL| <= {gap.abs().max():.1e}")
assert gap.abs().max() < 1e-6
assert all(after >= before - 1e-9 for before, after in itertools.pairwise(history))

# %% [markdown]
# ## A linear-Gaussian model: how does the rod lie?
#
# Now $x$ is an image, and $z$ has $n$ numbers:
#
# $$p(z) = \mathcal{N}(0, I), \qquad p(x \mid z) = \mathcal{N}(W z + b, \sigma^2 I).$$
#
# Its marginal $p(x) = \mathcal{N}(b, W W^\top + \sigma^2 I)$ and its posterior are known, and so
# are the best parameters (probabilistic PCA). We fit it to pendulum frames, averaged to
# $16 \times 16$ pixels.

# %%
frames = e2c.collect(ENV, transitions=500, seed=0).planes()[:, -1]
small = torch.from_numpy(frames).double().unflatten(1, (16, 3)).unflatten(3, (16, 3)).mean((2, 4))
x = small.flatten(1) / 255
linear = LinearGaussian.fit(x, n=5)
shown = x[:3]
q = DiagonalGaussian(torch.zeros(3, 5).double(), torch.full((3, 5), -2.0).double())
diagonal = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
kl = kl_divergence(diagonal, linear.posterior(shown))
gap = linear.log_density(shown) - linear.elbo(shown, q) - kl
print(f"linear-Gaussian: |log p(x) - ELBO - KL| <= {gap.abs().max():.1e}")
assert gap.abs().max() < 1e-6

# %% [markdown]
# ## More samples, a tighter bound
#
# Where the integral is not known, a bound can be bought by samples from $q$ (importance weighting):
#
# $$\mathbb{E}\Big[\log \tfrac{1}{S}\sum_{s=1}^S \frac{p(x, z_s)}{q(z_s)}\Big] \;\le\; \log p(x),
#   \qquad z_s \sim q .$$
#
# With $S = 1$ it is the ELBO. With more samples it approaches $\log p(x)$. Here $q$ has the right
# mean and the wrong shape.

# %%
exact = linear.posterior(shown)
wide = DiagonalGaussian(exact.mean, exact.variance.log() + 0.7)
counts = [1, 4, 16, 64, 256]
weights = log_weights(wide, lambda z: linear.log_joint(shown, z), draws, 256 * 64)
missing = []
for S in counts:
    groups = weights.unflatten(0, (S, -1))
    bound = importance_weighted_bound(groups).mean(0)
    missing.append((linear.log_density(shown) - bound).mean().item())
    print(f"S = {S:3d}: {missing[-1]:.4f} nats below log p(x)")
show_lines("nats below log p(x)", "samples S", {"bound": (counts, missing)}, log=True)
assert missing[0] > missing[1] > missing[2] > missing[3] > 0
assert abs(missing[-1]) < 0.02

# %% [markdown]
# ## What it means for the pendulum
#
# * The mixture explains the torques far better than one Gaussian, whose mean is **no torque at
#   all**. A policy that imitates the mean does not begin to swing (page 8).
# * A straight line through image space cannot follow a turning rod. With five numbers the linear
#   model draws blurs. The shipped decoder also has five numbers, and draws the rod. Its curve has
#   to be learned, and then the posterior is no longer known: the next pages are about that.

# %%
agent = e2c.load_agent(e2c.TRAINED)
observations = e2c.collect(ENV, transitions=200, seed=1, restarts=False).planes()
latent = agent.model.encode(observations).mean
drawn = torch.from_numpy(agent.model.decode(latent.detach()))[:, -1].double()


def shrink(images: torch.Tensor) -> torch.Tensor:
    """Average blocks of 3 x 3 pixels: ``[N, 48, 48]`` to ``[N, 256]``, in [0, 1]."""
    return images.unflatten(1, (16, 3)).unflatten(3, (16, 3)).mean((2, 4)).flatten(1) / 255


truth = shrink(torch.from_numpy(observations[:, -1]).double())
by_line = linear.posterior(truth).mean @ linear.W.mT + linear.b
errors = {
    "linear, 5 numbers": (by_line - truth).square().mean().sqrt().item(),
    "shipped decoder, 5 numbers": (shrink(drawn) - truth).square().mean().sqrt().item(),
}
for name, error in errors.items():
    print(f"{name}: error of a pixel {error:.3f}")
rows = [truth, by_line, shrink(drawn)]
pictures = [(255 * row[::12].clamp(0, 1)).byte().numpy().reshape(-1, 16, 16) for row in rows]
show_frames("Frames; drawn by the linear model; by the shipped decoder", pictures)
assert mixture.log_density(torques).mean() > one.log_density(torques).mean() + 1
assert errors["shipped decoder, 5 numbers"] < 0.5 * errors["linear, 5 numbers"]
