# %% [markdown]
# # 4. Two gradients
#
# **The ELBO is an expectation over $q$, and its gradient by $q$ has to be estimated from samples.
# The score function needs no derivative of the decoder. The reparameterised gradient does, and its
# variance is smaller by orders of magnitude. Both are unbiased. Without a baseline the score
# function hardly trains a VAE; with one it comes near the reparameterised gradient.**
#
# Score function (REINFORCE), with $f(z) = \log p(x, z) - \log q(z)$ and a baseline $b$:
#
# $$\nabla\, \mathbb{E}_q[f(z)] = \mathbb{E}_q\big[(f(z) - b)\, \nabla \log q(z)\big]$$
#
# Reparameterised (pathwise), with $z = \mu + \sigma \varepsilon$:
#
# $$\nabla\, \mathbb{E}_q[f(z)] = \mathbb{E}_{\varepsilon}\big[\nabla f(\mu + \sigma
# \varepsilon)\big]$$
#
# Both are in `e2c/lecture/inference.py`. The baseline is the mean of $f$ over the *other* samples.

# %%
import math

import torch
from torch import Tensor

import e2c
from e2c.lecture.closed_form import LinearGaussian
from e2c.lecture.inference import LogJoint, log_joint_of, log_weights, score_function_elbo
from e2c.lecture.notebook import show_lines
from e2c.models.draws import Generators
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.methods import build_model
from e2c.models.options import ModelConfig

REPEATS = 2000
ESTIMATORS = ("score function", "with baseline", "reparameterised")


def elbo(name: str, q: DiagonalGaussian, log_joint: LogJoint, draws: Generators, S: int) -> Tensor:
    """Return the estimate of the ELBO whose gradient is the estimator called ``name``."""
    if name == "reparameterised":
        return log_weights(q, log_joint, draws, S).mean(0)
    return score_function_elbo(q, log_joint, draws, S, name == "with baseline")


# %% [markdown]
# ## Unbiased, against the exact gradient
#
# In a linear-Gaussian model (page 1) the ELBO and its gradient are known. We estimate the gradient
# 2,000 times, by the means and log variances of $q$, and count by how many standard errors the mean
# of the estimates is off.


# %%
def gradients(n: int, S: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the exact gradient ``[2n]``, and ``[REPEATS, 2n]`` estimates of each kind."""
    seeded = torch.Generator().manual_seed(n)
    W = torch.randn(2 * n, n, generator=seeded, dtype=torch.float64) / math.sqrt(n)
    model = LinearGaussian(W, W.new_zeros(2 * n), W.new_zeros(()))
    x = torch.randn(2 * n, generator=seeded, dtype=torch.float64)
    start = torch.zeros(2, n, dtype=torch.float64)
    leaves = start.clone().requires_grad_()
    exact = torch.autograd.grad(model.elbo(x, DiagonalGaussian(*leaves)), leaves)[0]
    estimates = {}
    for name in ESTIMATORS:
        many = start[:, None].repeat(1, REPEATS, 1).requires_grad_()
        q = DiagonalGaussian(many[0], many[1])
        found = elbo(name, q, lambda z: model.log_joint(x, z), Generators(n), S).sum()
        estimates[name] = torch.autograd.grad(found, many)[0].transpose(0, 1).flatten(1)
    return exact.flatten(), estimates


exact, estimates = gradients(n=5, S=4)
for name, found in estimates.items():
    errors = (found.mean(0) - exact) / (found.std(0) / math.sqrt(REPEATS))
    print(f"{name:16}: at most {errors.abs().max():.1f} standard errors from the exact gradient")
    assert errors.abs().max() < 3

# %% [markdown]
# ## Variance, over dimensions and samples
#
# The variance of the score function grows with the dimension, since the whole $f$ weighs every
# entry. More samples divide every variance by their number.

# %%
dimensions, variances = [1, 4, 16, 32], {name: [] for name in ESTIMATORS}
for n in dimensions:
    for name, found in gradients(n, S=4)[1].items():
        variances[name].append(found.var(0).mean().item())
    told = ", ".join(f"{name} {values[-1]:.3g}" for name, values in variances.items())
    print(f"n = {n:2d}, 4 samples: {told}")
show_lines(
    "variance of an entry", "dimension n", {k: (dimensions, v) for k, v in variances.items()}, True
)
few, many = (gradients(5, S)[1] for S in (4, 16))
for name in ESTIMATORS:
    fall = (few[name].var(0).mean() / many[name].var(0).mean()).item()
    print(f"{name:16}: 4 times the samples, {fall:.1f} times less variance")
    assert fall > 3
plain, baseline, pathwise = (variances[name] for name in ESTIMATORS)
print(f"at n = 32 the score function has {plain[-1] / pathwise[-1]:.0f} times the variance")
print(f"its baseline leaves {baseline[-1] / pathwise[-1]:.0f} times")
assert plain[-1] > 2 * baseline[-1] > 4 * pathwise[-1]
assert plain[-1] / pathwise[-1] > plain[0] / pathwise[0]

# %% [markdown]
# ## What it means for the pendulum
#
# The same VAE learns the same frames of the pendulum, from the same weights and the same
# batches. Only the gradient of the encoder differs.

# %%
agent = e2c.load_agent(e2c.TRAINED)
x = torch.from_numpy(e2c.collect(transitions=200, seed=3).planes()).float() / 255
STEPS, S, BATCH = 120, 2, 12
options = ModelConfig(
    method="vae", view="plain", encoder="mlp", encoder_hidden=(64,), decoder_hidden=(64,)
)
curves = {}
for name in ESTIMATORS:
    vae = build_model(options, agent.spec, agent.model.goal.numpy(), seed=0)
    vae.decoder.start_at(x.mean(0))
    networks = [*vae.encoder.parameters(), *vae.decoder.parameters()]
    adam, draws, bounds = torch.optim.Adam(networks, lr=2e-3), Generators(0), []
    for _ in range(STEPS):
        batch = x[torch.randint(len(x), (BATCH,), generator=draws.batches)]
        bound = elbo(name, vae.encoder(batch), log_joint_of(vae.decoder, batch), draws, S).mean()
        adam.zero_grad()
        (-bound).backward()
        adam.step()
        bounds.append(bound.item())
    curves[name] = torch.tensor(bounds).unflatten(0, (-1, 10)).mean(1)
    print(f"{name:16}: ELBO {curves[name][0]:7.0f} nats at first, {curves[name][-1]:7.0f} at last")
show_lines(
    "-ELBO [nats]", "steps", {k: (range(5, STEPS, 10), -v) for k, v in curves.items()}, log=True
)
assert curves["reparameterised"][-1] > max(
    curves["with baseline"][-1], curves["score function"][-1]
)
assert curves["with baseline"][-1] > curves["score function"][-1]
print("An encoder that learns nothing shows the agent one picture, whatever the rod does.")
