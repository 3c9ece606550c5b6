# %% [markdown]
# # 7. Embed to Control
#
# **A VAE whose latent states move by locally linear dynamics can be planned in by iLQG. On this
# page the shipped model swings the pendulum up, and each part of it is looked at.**
#
# The loss of Watter et al. 2015, section 2.4, over one step:
#
# $$\mathcal{L} = -\log p(x_t \mid z_t) - \log p(x_{t+1} \mid \hat z_{t+1})
#   + \mathrm{KL}\big(q(z_t \mid x_t) \,\|\, \mathcal{N}(0, I)\big)
#   + \lambda\, \mathrm{KL}\big(\hat q(z_{t+1}) \,\|\, q(z_{t+1} \mid x_{t+1})\big)$$
#
# The model is in `e2c/models/e2c.py`, the dynamics in `e2c/models/transitions.py`, the Gaussians in
# `e2c/models/gaussians.py`, and iLQG in `planners/ilqg.py`.

# %%
import itertools

import torch
from torch.distributions import MultivariateNormal, kl_divergence

import e2c
from e2c.lecture.notebook import show_frames, show_lines
from e2c.models.gaussians import FactoredGaussian, kl_to_diagonal
from planners import ILQG, ILQGOptions

agent = e2c.load_agent(e2c.TRAINED)
model = agent.model.requires_grad_(False)
episodes = e2c.collect(transitions=200, seed=1)
observations = episodes.planes()

# %% [markdown]
# ## Locally linear dynamics
#
# $$\hat z' = A(z)\, z + B(z)\, u + o(z), \qquad A(z) = I + v(z)\, r(z)^\top,
#   \qquad \det A = 1 + v^\top r$$
#
# The planner uses the derivative of the whole step, $F = \partial \hat z' / \partial z$, which also
# knows how $A$, $B$ and $o$ change with $z$. The error of a linear prediction then falls with the
# square of the distance.

# %%
z = model.encode(observations).mean[:32].double()
transition = model.transition.double()
u = torch.full((32, 1), 0.5, dtype=torch.float64)
A = transition(z, u).A
difference = (transition.log_det(A) - torch.linalg.slogdet(A).logabsdet).abs().max()
print(f"log |det A| by the determinant lemma: off by at most {difference:.0e}")
F, B = transition.jacobian(z, u)
direction = torch.nn.functional.normalize(torch.ones_like(z), dim=-1)
errors = []
for distance in (0.2, 0.1, 0.05):
    dz = distance * direction
    line = transition.step(z, u) + (F @ dz[..., None])[..., 0]
    errors.append((transition.step(z + dz, u) - line).norm(dim=-1).mean().item())
    print(f"{distance:.2f} away: error of the linearisation {errors[-1]:.1e}")
assert difference < 1e-9
assert errors[0] > 3 * errors[1] > 9 * errors[2]

# %% [markdown]
# ## The latent KL
#
# A Gaussian stays one: $\mathcal{N}(\mu, \Sigma)$ becomes $\hat q = \mathcal{N}(A\mu + Bu + o,
# A \Sigma A^\top)$. Its KL to the encoding of the next image ties prediction and embedding
# together. In closed form, with $A \Sigma A^\top = L L^\top$ and an encoding $\mathcal{N}(m,
# \mathrm{diag}\, s^2)$:
#
# $$\tfrac12 \Big(\sum_i \tfrac{(L L^\top)_{ii}}{s_i^2}
#   + \sum_i \tfrac{(m_i - \hat\mu_i)^2}{s_i^2} - n + \sum_i \log s_i^2 - 2 \log |\det L|\Big)$$

# %%
transition.float()
encoded = model.encode(observations[:26])
controls = torch.from_numpy(episodes.actions[:25])
path, beliefs = transition.carry(
    encoded.mean[:-1], FactoredGaussian.from_diagonal(encoded[:-1]), controls[:, None]
)
belief, following = beliefs.index_select(1, torch.tensor([1])), encoded[1:]
latent_kl = kl_to_diagonal(belief, following[:, None])[:, 0]
torch_kl = kl_divergence(
    MultivariateNormal(belief.mean[:, 0], belief.covariance[:, 0]),
    MultivariateNormal(following.mean, torch.diag_embed(following.variance)),
)
print(f"latent KL of a step: {latent_kl.mean():.2f} nats, by torch {torch_kl.mean():.2f}")
torch.testing.assert_close(latent_kl, torch_kl, rtol=1e-3, atol=1e-3)

# %% [markdown]
# ## iLQG, step by step
#
# The goal image is encoded, and so is the picture of the hanging pendulum. A plan is 50 torques.
# Its cost is
#
# $$\sum_t (z_t - z^*)^\top Q (z_t - z^*) + (u_t - u^*)^\top R\, (u_t - u^*) .$$
#
# $u^*$ holds the goal in the model; here it is nearly 0.
#
# Each iteration linearises along the present plan, solves the linear-quadratic problem backward in
# time, and rolls the new control law out forward. It finds the next local minimum, so it starts
# from eight random plans; here is the best of them.

# %%
world = e2c.make_world(agent.spec.env, 3)
start, infos = world.reset(seed=0)
agent.reset(infos["goal"][0])
z0 = model.encode(start).mean[:1]
tries = torch.randn(1, 8, 50, 1, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
tries = tries.cumsum(2).clamp(-2, 2)
rest = torch.zeros(1, 50, 1)
idle = agent.cost.total(model.roll_out(z0, rest), rest).item()
print(f"without torque: cost {idle:.2f}")
costs, plans = [], {}
for iterations in (1, 4, 16):
    planner = ILQG(ILQGOptions(max_iterations=iterations))
    limit = torch.tensor([2.0])
    plan = planner.solve(agent.dynamics, agent.cost, z0, tries, -limit, limit)
    costs.append(plan.cost.item())
    plans[iterations] = plan
    print(f"after {iterations:2d} iterations: cost {costs[-1]:.2f}")
show_lines("cost of the plan", "iterations of iLQG", {"best of 8": ((1, 4, 16), costs)})
imagined = [model.decode(plans[k].states[0, ::5])[:, -1] for k in (1, 4, 16)]
show_frames("What the model expects to see, after 1, 4 and 16 iterations", imagined)
assert all(later <= earlier for earlier, later in itertools.pairwise(costs))
assert costs[-1] < costs[0] < idle

# %% [markdown]
# ## What it means for the pendulum
#
# The agent plans anew at every step, from what it sees, starting from its last plan. Three hanging
# pendulums, 200 steps; success is to be upright in each of the last 50.

# %%
found = e2c.evaluate(world, agent, seed=0)
summary = found.scores.summary()
print(f"success {summary['success_rate']:.0%}, upright after {summary['steps_to_goal_median']:.0f}")
first = found.episodes.planes()[:100:8, -1]
show_frames("The first episode, every 8th step", [first])
assert summary["success_rate"] == 1
