"""The conditional VAE, the policy made of it, and what they are compared with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SPEC, generator, images, noise_data, tiny_model
from torch import Tensor

from e2c.data.episodes import Episodes
from e2c.errors import E2CError
from e2c.lecture.conditional import ConditionalVAE
from e2c.lecture.imitation import ImitationOptions, PlanPolicy, imitate
from e2c.models.draws import Generators
from e2c.models.gaussians import DiagonalGaussian

N = 40


def two_sides(m: int = 3) -> tuple[Tensor, Tensor]:
    """For every x there is a y near +1 and one near -1."""
    x = torch.randn(N // 2, 2, generator=generator(1)).repeat_interleave(2, 0)
    side = torch.tensor([1.0, -1.0]).repeat(N // 2)[:, None]
    return x, side + 0.05 * torch.randn(N, m, generator=generator(2))


def test_the_conditional_vae_keeps_both_sides_and_regression_averages_them() -> None:
    x, y = two_sides()
    means = {}
    for n in (1, 0):
        model = ConditionalVAE(2, 3, n, (16,), seed=0)
        bounds = model.fit(x, y, 400, 0.02)
        assert len(bounds) == 400
        assert np.mean(bounds[-20:]) > np.mean(bounds[:20])
        means[n] = model.choose(x.repeat(25, 1), Generators(3)).mean(1)
    assert (means[0].abs() < 0.6).all()
    near = (means[1].abs() - 1).abs() < 0.3
    assert near.float().mean() > 0.9
    assert 0.3 < (means[1][near] > 0).float().mean() < 0.7


def test_a_batch_as_large_as_what_there_is_learns_too_and_one_pair_at_a_time_sees_all() -> None:
    x = torch.tensor([[0.0], [1.0]])
    model = ConditionalVAE(1, 1, 0, (), seed=0)
    bounds = model.fit(x, 3 * x - 1, 600, 0.1, batch=1)
    assert len(bounds) == 600
    torch.testing.assert_close(model.predict(x, x[:, :0]).mean, 3 * x - 1, atol=0.05, rtol=0)


@pytest.mark.parametrize("size", [5, 1])
def test_without_a_latent_the_bound_is_the_likelihood(size: int) -> None:
    model = ConditionalVAE(2, 3, 0, (7,), seed=0)
    x = torch.randn(size, 2, generator=generator(1))
    y = torch.randn(size, 3, generator=generator(2))
    expected = DiagonalGaussian(model.decoder(x), torch.zeros(size, 3)).log_density(y)
    torch.testing.assert_close(model.elbo(x, y, Generators(0)), expected)


def test_the_bound_of_a_conditional_vae_is_below_the_likelihood() -> None:
    model = ConditionalVAE(2, 3, 1, (7,), seed=0)
    x, y = torch.ones(1, 2), torch.zeros(1, 3)
    grid = torch.linspace(-8, 8, 4001)[:, None]
    prior = DiagonalGaussian(torch.zeros_like(grid), torch.zeros_like(grid)).log_density(grid)
    joint = model.predict(x.expand(4001, -1), grid).log_density(y) + prior
    exact = joint.logsumexp(0) + np.log(16 / 4000)
    draws = Generators(0)
    mean = torch.stack([model.elbo(x, y, draws) for _ in range(300)]).mean()
    assert mean < exact


def test_the_weights_are_drawn_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    models = [ConditionalVAE(2, 3, 1, (7,), seed) for seed in (1, 1, 2)]
    first, again, other = (model.decoder.get_parameter("0.weight") for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


class Counting:
    """Acts with a number of its own, and counts."""

    def __init__(self, m: int) -> None:
        self.m, self.resets, self.acts = m, 0, 0

    def reset(self, goals: object, /) -> None:
        self.resets += 1

    def act(self, frames: np.ndarray, /) -> np.ndarray:
        self.acts += 1
        return np.full((len(frames), self.m), 9.0)


@pytest.mark.parametrize(("B", "m"), [(5, 2), (1, 1)])
def test_a_plan_policy_plays_its_plan_and_hands_over(B: int, m: int) -> None:
    T, scale, then = 3, torch.tensor([2.0, 0.5])[:m], Counting(m)
    policy = ConditionalVAE(4, T * m, 1, (6,), seed=0)
    frames = np.arange(4 * B, dtype=np.uint8).reshape(B, 4)

    def features(seen: np.ndarray, goals: np.ndarray | None = None) -> Tensor:
        return torch.from_numpy(seen).float() / 10

    acting = PlanPolicy(policy, features, scale, then, seed=4)
    wanted = policy.choose(features(frames), Generators(4)).unflatten(-1, (T, m)) * scale
    for episode in (1, 2):
        acting.reset(None)
        for t in range(T):
            assert then.acts == episode - 1
            played = np.asarray(acting.act(frames if t == 0 else 0 * frames))
            np.testing.assert_allclose(played, wanted[:, t].numpy())
        np.testing.assert_array_equal(acting.act(frames), np.full((B, m), 9.0))
    assert then.resets == 2


def test_without_another_controller_it_looks_again_and_draws_the_next() -> None:
    B, T, m = 3, 2, 1
    policy, told = ConditionalVAE(2, T * m, 1, (6,), seed=0), []

    def features(seen: np.ndarray, goals: np.ndarray | None) -> Tensor:
        assert goals is not None
        told.append((int(seen[0, 0]), int(goals[0, 0])))
        return torch.from_numpy(np.concatenate((seen, goals), 1)).float() / 10

    acting = PlanPolicy(policy, features, torch.tensor([2.0]), None, seed=4)
    goals, draws = np.full((B, 1), 7, np.uint8), Generators(4)
    for _ in range(2):
        acting.reset(goals)
        played = [np.asarray(acting.act(np.full((B, 1), t, np.uint8))) for t in range(5)]
    assert told == 2 * [(0, 7), (2, 7), (4, 7)], "it looks at steps 0, 2 and 4"
    for t in (0, 2, 4):
        x = features(np.full((B, 1), t, np.uint8), goals)
        wanted = 2 * policy.choose(x, draws).unflatten(-1, (T, m))
        for ahead, found in enumerate(played[t : t + T]):
            np.testing.assert_allclose(found, wanted[:, ahead].numpy())


def obeying(lengths: tuple[int, ...]) -> Episodes:
    """Episodes whose control at each step says what step it is and how bright the goal is."""
    found, goals = noise_data(lengths), []
    step = np.concatenate([np.arange(T) for T in lengths])
    for e in range(len(lengths)):
        bright = e % 2 == 0
        goals.append(np.full_like(found.frames[: SPEC.observation_shape[0]], 250 if bright else 5))
        rows = found.action_rows(e)
        found.actions[rows, 0] = 1.5 if bright else -1.5
        found.actions[rows, 1] = 0.4 * (step[rows] % 2)
    return replace(found, goals=np.stack(goals))


def test_what_was_done_for_a_goal_is_imitated() -> None:
    model, k = tiny_model(), 3
    options = ImitationOptions(k, latent_dim=0, hidden=(16,), steps=300, batch=20)
    shown = obeying((9, 5, 2, 9, 9, 6))
    assert shown.goals is not None
    acting = imitate(model, SPEC, shown, options, seed=1)
    for e, wanted in ((0, 1.5), (3, -1.5)):
        goals = np.repeat(shown.goals[e][None], 4, 0)
        acting.reset(goals)
        for _ in range(2 * k):
            found = np.asarray(acting.act(images(4)))
            assert found.shape == (4, 2)
            assert (np.sign(found[:, 0]) == np.sign(wanted)).all()


def test_controls_are_imitated_in_their_order() -> None:
    """Every episode is one sequence of four."""
    model, shown = tiny_model(), obeying((4, 4, 4))
    options = ImitationOptions(4, latent_dim=0, hidden=(), steps=600, batch=3, learning_rate=0.02)
    acting = imitate(model, SPEC, shown, options)
    assert shown.goals is not None
    acting.reset(shown.goals[:1])
    first = shown.observations(slice(0, 1))
    played = [np.asarray(acting.act(first))[0, 1] for _ in range(4)]
    np.testing.assert_allclose(played, [0, 0.4, 0, 0.4], atol=0.15)


def test_episodes_that_are_too_short_to_imitate_are_refused() -> None:
    with pytest.raises(E2CError, match=r"5 controls at a time .* at most 4 steps; give longer"):
        imitate(tiny_model(), SPEC, noise_data((4, 3)), ImitationOptions(5))
