"""The beliefs in a film: the map and the lens, and that nothing changes where there are none."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_video import a_film, differing, pictures_of

import e2c
from e2c.control.agent import Agent
from e2c.control.base import make_world_of
from e2c.evaluation.watch import watch
from e2c.report import film as video
from e2c.report import style
from e2c.report.film import Film
from e2c.report.film_map import BeliefMap, Beliefs, half_axes, principal_axes
from e2c.report.style import rgb

T, N = 7, 5


def covariances(steps: int = T, n: int = N) -> NDArray[np.float64]:
    factors = np.random.default_rng(1).standard_normal((steps, n, n))
    found: NDArray[np.float64] = factors @ factors.mT
    return found


def some_beliefs(steps: int = T, n: int = N, **changes: Any) -> Beliefs:
    rng = np.random.default_rng(0)
    means, goal = 40 * rng.standard_normal((steps, n)), 40 * rng.standard_normal(n)
    found = Beliefs(means, covariances(steps, n), np.arange(steps) == 4, goal)
    return replace(found, **changes)


def believing(beliefs: Beliefs | None = None) -> Film:
    return a_film(T=T, beliefs=beliefs or some_beliefs())


def test_the_axes_of_an_ellipse_are_two_standard_deviations_of_the_projected_gaussian() -> None:
    axes = principal_axes(some_beliefs().means)
    halves = half_axes(covariances(), axes)
    for half, covariance in zip(halves, covariances(), strict=True):
        projected = axes.T @ covariance @ axes
        expected = 2 * np.sqrt(np.linalg.eigvalsh(projected))
        np.testing.assert_allclose(np.linalg.norm(half, axis=0), expected, rtol=1e-12)
        np.testing.assert_allclose(half @ half.T, 4 * projected, rtol=1e-12)


def test_an_ellipse_is_known_in_closed_form() -> None:
    """Of variances 9 and 4 along directions turned by 30 degrees, and one across the plane."""
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    (half,) = half_axes((turned * [9, 4, 100] @ turned.T)[None], np.eye(3)[:, :2])
    np.testing.assert_allclose(np.abs(half), [[4 * s, 6 * c], [4 * c, 6 * s]], atol=1e-12)


def test_the_plane_is_that_of_the_two_largest_variances() -> None:
    rng = np.random.default_rng(2)
    points = 3 + rng.standard_normal((50, 4)) * [0.1, 5.0, 0.2, 2.0]
    axes = principal_axes(points)
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(np.abs(axes), np.eye(4)[:, [1, 3]], atol=0.1)


def test_the_lens_shows_the_ellipse_as_large_as_it_is() -> None:
    beliefs = some_beliefs(surprises=np.zeros(T, bool))
    drawn = BeliefMap(beliefs, video._BELIEFS)
    projected = principal_axes(beliefs.means)
    last = pictures_of(believing(beliefs))[-1]
    blue = np.argwhere((drawn.lens.of(last) == rgb(style.BLUE)).all(-1))[:, ::-1]
    variances = np.diag(projected.T @ beliefs.covariances[-1] @ projected)
    width, height = 2 * 2 * np.sqrt(variances) * drawn.lens.scale
    np.testing.assert_allclose(np.ptp(blue, axis=0), [width, height], atol=3)


def test_without_beliefs_a_film_is_what_it_was() -> None:
    """With them it is wider, and the same but for the new cards and the line above."""
    without, within = pictures_of(a_film(T=T)), pictures_of(believing())
    assert without.shape[1:] == (720, 1280, 3)
    assert within.shape[1:] == (720, 1696, 3)
    old = (slice(None), slice(video._TOP, None), slice(0, video._BELIEFS[0][0]))
    np.testing.assert_array_equal(without[old], within[old])


def test_a_surprise_is_marked_at_its_step_and_stays_on_the_map() -> None:
    pictures, drawn = pictures_of(believing()), BeliefMap(some_beliefs(), video._BELIEFS)
    for view, steps in ((drawn.lens, [4]), (drawn.map, [4, 5, 6])):
        seen = [(view.of(picture) == rgb(style.ROSE)).all(-1).any() for picture in pictures]
        assert np.flatnonzero(seen).tolist() == steps


def test_the_map_shows_the_past_only() -> None:
    means = some_beliefs().means.copy()
    one = believing(some_beliefs(surprises=np.zeros(T, bool)))
    means[3:6] = means[3:6][::-1]
    other = believing(some_beliefs(means=means, surprises=np.zeros(T, bool)))
    steps, _ = differing(one, other, video._BELIEFS[0])
    assert steps == [3, 4, 5, 6]


@pytest.mark.parametrize(("steps", "n"), [(1, 1), (1, 3), (7, 1), (7, 2)])
def test_any_latent_space_can_be_shown(steps: int, n: int) -> None:
    beliefs = some_beliefs(steps, n)
    film = a_film(T=steps, beliefs=beliefs)
    assert len(pictures_of(film)) == steps
    still = replace(beliefs, means=0 * beliefs.means, covariances=0 * beliefs.covariances)
    assert len(pictures_of(replace(film, beliefs=still))) == steps


def test_a_belief_that_is_not_finite_is_told() -> None:
    beliefs = some_beliefs()
    beliefs.means[5:] = np.nan
    beliefs.covariances[6:] = np.inf
    assert [len(part) for part in beliefs.finite()] == [5, 5]
    assert len(pictures_of(believing(beliefs))) == T


def test_a_film_of_mixed_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="needs beliefs of 7; got 6"):
        believing(some_beliefs(6))


def test_an_agent_is_filmed_with_what_it_believes() -> None:
    trained = e2c.load_agent(e2c.TRAINED)
    spec = replace(trained.spec, episode_steps=T)

    def filmed(belief: bool) -> Film:
        agent = Agent(trained.model, spec, replace(trained.options, belief=belief))
        film = watch(agent, make_world_of(spec), 3, "up", None).film
        if belief:
            assert agent.belief is not None
            assert agent.plan is not None
            assert film.beliefs is not None
            means, covariances = agent.belief.corrected
            np.testing.assert_array_equal(film.beliefs.means[-1], means[0])
            np.testing.assert_array_equal(film.beliefs.covariances[-1], covariances[0])
            np.testing.assert_allclose(agent.plan.states[0, 0].numpy(), means[0], rtol=1e-6)
            np.testing.assert_array_equal(film.beliefs.goal, agent.cost.goal[0].numpy())
            assert film.beliefs.surprises.sum() == agent.belief.surprises[0]
        return film

    assert filmed(belief=True).beliefs is not None
    assert filmed(belief=False).beliefs is None
