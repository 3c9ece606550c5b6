"""Exploration: what its cost is, what recordings tell, and that it goes where it has not been."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import MODEL, SPEC, generator, images, noise_data, tiny_model
from torch import Tensor

from e2c.errors import E2CError
from e2c.lecture.exploration import Explorer, ExplorerOptions, InformationGain, know
from e2c.lecture.last_layer import LastLayer
from planners import PLANNERS

LINEAR = replace(MODEL, method="global")
NOISE = torch.full((4,), 0.01)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def test_the_cost_of_a_trajectory_is_that_of_its_controls_less_what_its_transitions_tell() -> None:
    model, B, S, T = tiny_model(), 5, 3, 7
    f, R = model.transition, torch.tensor([0.5, 2.0])
    X, U = draw(B, S, T + 1, 4), draw(B, S, T, 2, seed=1)
    layer = LastLayer(2.0, NOISE, f.features(X[0, 0, 0], U[0, 0, 0]).shape[-1])
    cost = InformationGain(f, layer, R)
    found = cost.total(X, U)
    assert found.shape == (B, S)
    for b in range(B):
        for s in range(S):
            steps = zip(X[b, s, :-1], U[b, s], strict=True)
            by_hand = [(R * u**2).sum() - layer.gain(f.features(x, u)).sum() for x, u in steps]
            torch.testing.assert_close(found[b, s], torch.stack(by_hand).sum())
    torch.testing.assert_close(
        cost.select(torch.tensor([2, 0])).total(X[[2, 0]], U[[2, 0]]), found[[2, 0]]
    )


def test_a_planner_that_needs_derivatives_is_refused() -> None:
    model = tiny_model()
    layer = LastLayer(2.0, NOISE, model.transition.features(draw(4), draw(2)).shape[-1])
    explorer = Explorer(model, SPEC, layer)
    low, high = torch.tensor(SPEC.control_low), torch.tensor(SPEC.control_high)
    planner = PLANNERS["ilqg"](explorer.dynamics, low, high, horizon=3)
    with pytest.raises(E2CError, match=r"only be planned by sampling; choose cem or mppi[.]$"):
        planner.plan(draw(1, 4), explorer.cost)
    with pytest.raises(E2CError, match=r"samples is 0"):
        Explorer(model, SPEC, layer, ExplorerOptions(samples=0))


@torch.no_grad()
def test_recordings_tell_of_every_transition_and_of_none_between_episodes() -> None:
    model, parts = tiny_model(), [noise_data((4, 7)), noise_data((5,), seed=1)]
    f, phi, errors = model.transition, list[Tensor](), list[Tensor]()
    for part in parts:
        for e, T in enumerate(part.lengths):
            z = model.encode(part.planes()[part.moment_rows(e)]).mean
            for t in range(T):
                u = torch.from_numpy(part.actions[part.action_rows(e)][t])
                phi.append(f.features(z[t], u))
                errors.append(z[t + 1] - f.step(z[t], u))
    layer = know(model, parts)
    torch.testing.assert_close(layer.noise, torch.stack(errors).square().mean(0).double())
    by_hand = LastLayer(layer.prior, layer.noise, len(phi[0]))
    by_hand.observe(torch.stack(phi), torch.stack(errors))
    torch.testing.assert_close(layer.precision, by_hand.precision, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(layer.mean, by_hand.mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("known", [0, 1])
def test_it_pushes_what_it_has_not_pushed(known: int) -> None:
    """Two controls; of one of them many transitions are known, of the other none."""
    model = tiny_model(LINEAR)
    u = torch.zeros(200, 2)
    u[:, known] = SPEC.control_scale[known] * draw(200)
    phi = model.transition.features(draw(200, 4, seed=1), u)
    layer = LastLayer(1.0, NOISE, phi.shape[-1])
    layer.observe(phi, torch.zeros(200, 4))
    explorer = Explorer(model, SPEC, layer, ExplorerOptions(horizon=1, control_weight=0.1))
    explorer.reset(None)
    push = np.abs(explorer.act(images(1))[0]) / SPEC.control_scale.numpy()
    assert push[1 - known] > 2 * push[known]


def test_it_learns_from_what_its_actions_led_to_within_an_episode() -> None:
    model = tiny_model()
    f = model.transition
    layer = LastLayer(2.0, NOISE, f.features(draw(4), draw(2)).shape[-1])
    by_hand = LastLayer(2.0, NOISE, len(layer.precision[0]))
    explorer = Explorer(model, SPEC, layer, ExplorerOptions(horizon=2, samples=5))
    for episode in range(2):
        frames = [images(3, seed=10 * episode + t) for t in range(3)]
        explorer.reset(None)
        actions = [torch.from_numpy(explorer.act(each)) for each in frames]
        with torch.no_grad():
            z = [model.encode(each).mean for each in frames]
            for t in range(2):
                error = z[t + 1] - f.step(z[t], actions[t])
                by_hand.observe(f.features(z[t], actions[t]), error)
        torch.testing.assert_close(layer.precision, by_hand.precision, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(layer.mean, by_hand.mean, rtol=1e-3, atol=1e-4)
        expected = f.moved(layer.mean.float()).step(z[2], actions[2])
        torch.testing.assert_close(explorer.dynamics.step(z[2], actions[2]), expected)
