# %% [markdown]
# # 8. Conditional VAE: a policy with two answers
#
# **A hanging pendulum can be swung up on either side. Whoever imitates both by regression averages
# them, and the average of left and right is no swing at all. A conditional VAE has a latent
# variable for the side, keeps both, and succeeds.**
#
# $$\log p(y \mid x) \;\ge\; \mathbb{E}_{q(z \mid x, y)}\big[\log p(y \mid x, z)\big]
#   - \mathrm{KL}\big(q(z \mid x, y)\,\|\,\mathcal{N}(0, I)\big)$$
#
# Here $x$ is what the camera shows at the start, and $y$ the torques of the first 40 steps (2 s).
# The model is in `e2c/lecture/conditional.py`, the controller in `e2c/lecture/imitation.py`.

# %%
from dataclasses import replace

import numpy as np
import torch

import e2c
from e2c.control.agent import PlannerConfig
from e2c.control.oracle import Oracle
from e2c.lecture.conditional import ConditionalVAE
from e2c.lecture.imitation import PlanPolicy
from e2c.lecture.notebook import show_lines
from e2c.models.draws import Generators
from planners import ILQG, ILQGOptions, Plan

agent = e2c.load_agent(e2c.TRAINED)
STEPS, DEMONSTRATIONS, LIMIT = 40, 80, 2.0

# %% [markdown]
# ## Two demonstrators
#
# Both know the true state, and optimise a swing by iLQG (`planners/ilqg.py`) from the same 80
# starts. One begins its search from a swing to the right, the other from its mirror image.

# %%
world = e2c.make_world(agent.spec.env, DEMONSTRATIONS)
starts, _ = world.reset(seed=0)
oracle = Oracle(world, PlannerConfig())
oracle.reset()
x0 = oracle.dynamics.whiten(oracle.world.states)
limit = torch.tensor([LIMIT])
demonstrator = ILQG(ILQGOptions(max_iterations=60))


def optimise(rows: torch.Tensor, swing: torch.Tensor) -> Plan:
    """Optimise the torques ``swing [T, 1]`` for the starts ``rows [R]``."""
    begin = swing.expand(len(rows), 1, -1, -1)
    cost = oracle.cost.select(rows)
    return demonstrator.solve(oracle.dynamics, cost, x0[rows], begin, -limit, limit)


middle = torch.from_numpy(abs(oracle.world.states[:, 0] - np.pi)).argmin()[None]
torques = torch.tensor([-LIMIT, LIMIT, -LIMIT, 0.0], dtype=torch.float64)
rough = torques.repeat_interleave(torch.tensor([6, 17, 17, 25]))[:, None]
swing = optimise(middle, rough).controls[0]
plans = []
for side in (1, -1):
    found = optimise(torch.arange(DEMONSTRATIONS), side * swing)
    plans.append(found.controls[:, :STEPS, 0].float() / LIMIT)
    print(f"demonstrator {side:+d}: cost {found.cost.mean():.1f}")
show_lines(
    "torque [N m]",
    "step",
    {
        "one": (range(STEPS), LIMIT * plans[0][0]),
        "the other": (range(STEPS), LIMIT * plans[1][0]),
        "their mean": (range(STEPS), LIMIT * (plans[0][0] + plans[1][0]) / 2),
    },
)

# %% [markdown]
# ## Learn to imitate both
#
# The camera's frames are encoded by the shipped model. Regression is the same network without a
# latent variable.

# %%
seen = agent.model.encode(starts).mean.detach()
centre, spread = seen.mean(0), seen.std(0)


def features(frames: np.ndarray, goals: np.ndarray | None = None) -> torch.Tensor:
    """Return the codes of first observations, in units of their spread, ``[B, n]``."""
    return (agent.model.encode(frames).mean.detach() - centre) / spread


x, y = features(starts).repeat(2, 1), torch.cat(plans)
policies = {}
for name, n in (("Gaussian regression", 0), ("conditional VAE", 1)):
    policies[name] = ConditionalVAE(x.shape[1], STEPS, n, (64, 64), seed=0)
    bounds = policies[name].fit(x, y, 800, 1e-2)
    print(f"{name}: bound {bounds[0]:.0f} nats at first, {bounds[-1]:.0f} at last")

# %% [markdown]
# Where is $z$ to be drawn from? The prior $\mathcal{N}(0, I)$ has a hole: the codes of the two
# sides lie apart, and what is drawn between them is a mixture of both swings again. So `choose`
# draws from the codes of the demonstrations (the aggregated posterior).


# %%
def between(torques: torch.Tensor) -> float:
    """Return the share of plans ``[N, 40]`` that are near neither demonstrator's."""
    away = torch.stack([(torques - plan).square().mean(1).sqrt() for plan in plans])
    return float((away.min(0).values > 0.2).float().mean())


policy, z = policies["conditional VAE"], Generators(0).normal(torch.empty(DEMONSTRATIONS, 1))
own = x[:DEMONSTRATIONS]
with torch.no_grad():
    from_prior = between(policy.predict(own, z).mean)
from_codes = between(policy.choose(own, Generators(0)))
print(f"plans near neither demonstrator: {from_prior:.0%} from the prior, {from_codes:.0%} chosen")
assert from_codes < from_prior

# %% [markdown]
# ## What it means for the pendulum
#
# From 100 new starts the policy decides once, plays its 40 torques, and hands over to the agent
# with 80 steps left. Success: upright in each of the last 50. So the rod has to be up 30 steps
# after the policy has ended, and from hanging the agent takes longer than that: alone, with 80
# steps, it never succeeds. What succeeds was swung up by the policy.

# %%
holder = e2c.Agent(agent.model, agent.spec, replace(agent.options, horizon=25, restarts=1))
alone = e2c.evaluate(e2c.make_world(agent.spec.env, 20), holder, seed=1, steps=120 - STEPS)
print(f"the agent alone: success {alone.scores.summary()['success_rate']:.0%}")
assert alone.scores.summary()["success_rate"] == 0
success = {}
for name, policy in policies.items():
    controller = PlanPolicy(policy, features, agent.spec.control_scale, holder, seed=3)
    found = e2c.evaluate(e2c.make_world(agent.spec.env, 100), controller, seed=9, steps=120)
    states, inside = found.episodes.states, found.episodes.in_goal
    assert states is not None
    assert inside is not None
    stands = inside.reshape(100, -1)[:, -50:].all(1)
    right = states.reshape(100, 121, 2)[:, STEPS, 0] < np.pi
    success[name] = stands
    print(
        f"{name}: success {stands.mean():.0%}; to one side {stands[right].sum()} of {right.sum()}, "
        f"to the other {stands[~right].sum()} of {(~right).sum()}"
    )
assert success["Gaussian regression"].mean() < 0.1
assert success["conditional VAE"].mean() >= 0.95
assert 25 <= right.sum() <= 75

# %% [markdown]
# In row `cvae` of [the tables](../results.md) a conditional VAE imitates the agent on every task.
# It draws five controls at a time, plays them, and looks again.
