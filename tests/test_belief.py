"""The belief: the Kalman filter where the world is linear, and what it does with surprises."""

import numpy as np
import pytest
import torch
from simple_belief import SimpleBelief
from torch import Tensor

from e2c.control.belief import Belief, Figures
from e2c.control.belief_kernels import MEMORY
from e2c.control.latent import COMPILED, LatentDynamics
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.options import ModelConfig
from e2c.models.transitions import Transition
from planners.compiled import LANES

N, M, B, T = 3, 2, 5, 7
RNG = np.random.default_rng(0)
A = np.array([[1.1, 0.1, 0.0], [-0.2, 0.9, 0.3], [0.0, -0.1, 1.0]])
U = RNG.standard_normal((N, M))
PROCESS = np.diag([0.2, 0.1, 0.3]) + 0.05
ERRORS = np.array([[1.2, 0.3, 0.0], [0.3, 0.8, -0.1], [0.0, -0.1, 1.0]])
SHARED = np.array([[-0.5, 0.1, 0.0], [0.0, 0.3, 0.2], [0.1, 0.0, -0.6]])
SHARED_ERRORS = SHARED @ ERRORS @ SHARED.T
MEAN, VARIANCE = np.array([0.5, -1.0, 2.0]), np.array([9.0, 4.0, 16.0])


class Linear:
    """``z' = A z + U u``."""

    state_dim, control_dim = N, M

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        return x @ torch.from_numpy(A.T) + u @ torch.from_numpy(U.T)

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(torch.from_numpy(part).expand(len(x), -1, -1) for part in (A, U))  # type: ignore[return-value]


def belief(shared: np.ndarray = SHARED, speed: float = 0.0, batch: int = B) -> Belief:
    figures = Figures(PROCESS, speed, ERRORS, shared, MEAN, VARIANCE)
    return Belief(Linear(), figures, batch, torch.float64)


def told(
    y: np.ndarray, deviation: np.ndarray, center: np.ndarray = MEAN, spread: np.ndarray = VARIANCE
) -> DiagonalGaussian:
    """The posterior of a sight whose prior is the spread of the encodings, by Bayes' rule."""
    variance = 1 / (1 / deviation**2 + 1 / spread)
    mean = variance * (y / deviation**2 + center / spread)
    return DiagonalGaussian(torch.from_numpy(mean), torch.from_numpy(np.log(variance)))


def observations(batch: int = B) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Controls, observations and their standard deviations, in which nothing is a surprise."""
    rng = np.random.default_rng(1)
    u = rng.standard_normal((T, batch, M))
    z, y = np.tile(MEAN, (batch, 1)), []
    for control in u:
        y.append(z + 0.3 * rng.standard_normal((batch, N)))
        z = z @ A.T + control @ U.T
    return u, np.stack(y), rng.uniform(0.2, 0.8, (T, batch, N))


def kalman(
    u: np.ndarray, y: np.ndarray, deviation: np.ndarray, shared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The textbook's filter of one episode, on the state ``[z, w_t, w_{t-1}]``."""
    zero, one = np.zeros((N, N)), np.eye(N)
    F = np.block([[A, zero, zero], [zero, zero, zero], [zero, one, zero]])
    Q = np.block([[PROCESS, zero, zero], [zero, ERRORS, zero], [zero, zero, zero]])
    P = np.block([[np.diag(VARIANCE), zero, zero], [zero, ERRORS, zero], [zero, zero, ERRORS]])
    x = np.concatenate((MEAN, np.zeros(2 * N)))
    for t in range(len(y)):
        D = np.diag(deviation[t])
        H = np.hstack((one, D, D @ shared))
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T)
        x, P = x + K @ (y[t] - H @ x), P - K @ H @ P
        if t < len(y) - 1:
            x, P = F @ x + np.concatenate((U @ u[t], np.zeros(2 * N))), F @ P @ F.T + Q
    return x[:N], P[:N, :N]


@pytest.mark.parametrize("shared", [SHARED, np.zeros((N, N))])
@pytest.mark.parametrize("batch", [1, B])
def test_in_a_linear_world_it_is_the_kalman_filter(shared: np.ndarray, batch: int) -> None:
    u, y, deviation = observations(batch)
    found = belief(shared, batch=batch)
    for t in range(T):
        found.observe(told(y[t], deviation[t]), np.ones(batch, bool))
        if t < T - 1:
            found.predict(u[t])
    assert not found.surprises.any()
    for b in range(batch):
        mean, covariance = kalman(u[:, b], y[:, b], deviation[:, b], shared)
        np.testing.assert_allclose(found.mean[b], mean, atol=1e-6)
        np.testing.assert_allclose(found.covariance[b], covariance, atol=1e-6)


def test_what_is_known_without_an_observation_counts_once() -> None:
    """An observation that says nothing is told as the spread of the encodings: nothing changes."""
    found, nothing = belief(), np.full((B, N), 1e3)
    before = found.covariance.copy()
    found.observe(told(np.zeros((B, N)), nothing), np.ones(B, bool))
    np.testing.assert_allclose(found.mean, np.tile(MEAN, (B, 1)), atol=0.02)
    np.testing.assert_allclose(found.covariance, before, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("share", [0.8, 1.0, 2.0])
def test_who_says_nothing_is_not_believed_whatever_it_says(share: float) -> None:
    """A sight that was learned may know nothing of a component, and yet tell another mean."""
    found = belief()
    far = DiagonalGaussian(
        torch.from_numpy(MEAN + 0.5 * VARIANCE**0.5).expand(B, N),
        torch.from_numpy(np.log(share * VARIANCE)).expand(B, N),
    )
    before = found.mean.copy(), found.covariance.copy()
    found.observe(far, np.ones(B, bool))
    np.testing.assert_allclose(found.mean, before[0], rtol=1e-4)
    np.testing.assert_allclose(found.covariance, before[1], rtol=1e-4, atol=1e-4)


def test_a_blind_step_is_predicted_alone() -> None:
    u, y, deviation = observations()
    found, seen = belief(), np.arange(B) != 2
    found.observe(told(y[0], deviation[0]), np.ones(B, bool))
    mean, covariance = found.mean[2], found.covariance[2]
    found.predict(u[0])
    found.observe(told(y[1], deviation[1]), seen)
    np.testing.assert_allclose(found.mean[2], A @ mean + U @ u[0, 2])
    np.testing.assert_allclose(found.covariance[2], A @ covariance @ A.T + PROCESS)
    assert found.seen.tolist() == [1, 1, 0, 1, 1]


def test_what_was_corrected_outlasts_the_prediction() -> None:
    u, y, deviation = observations()
    found = belief()
    found.observe(told(y[0], deviation[0]), np.ones(B, bool))
    mean, covariance = found.mean.copy(), found.covariance * found.scale[:, None, None]
    found.predict(u[0])
    assert (found.mean != mean).any()
    for kept, wanted in zip(found.corrected, (mean, covariance), strict=True):
        np.testing.assert_array_equal(kept, wanted)


def test_what_says_nothing_does_not_count() -> None:
    """A frame that tells nothing leaves the scale; one that tells a component counts as one."""
    u, y, deviation = observations()
    found, alone = belief(), belief()
    for one in (found, alone):
        one.observe(told(y[0], deviation[0]), np.ones(B, bool))
        one.predict(u[0])
    found.observe(told(y[1], np.full((B, N), 1e3)), np.ones(B, bool))
    found.predict(u[1])
    alone.predict(u[1])
    assert found.summary() == {"nis": None, "scale": None, "gated": None}
    np.testing.assert_array_equal(found.scale, np.ones(B))
    np.testing.assert_allclose(found.mean, alone.mean, rtol=1e-4)
    only = np.where(np.arange(N) == 1, deviation[1], 1e3)
    variance = found.covariance[:, 1, 1] + (only[:, 1] ** 2) * (ERRORS[1, 1] + SHARED_ERRORS[1, 1])
    found.observe(told(found.mean + 1.0, only), np.ones(B, bool))
    assert found.seen.tolist() == [1] * B
    np.testing.assert_allclose(found.nis, 1 / variance, rtol=0.1)
    np.testing.assert_allclose(found.scale, MEMORY + (1 - MEMORY) * found.nis)


def test_a_surprise_lets_the_camera_be_believed() -> None:
    u, y, deviation = observations()
    found = belief()
    found.observe(told(y[0], deviation[0]), np.ones(B, bool))
    found.predict(u[0])
    elsewhere = found.mean + np.where(np.arange(B) == 3, 40.0, 0.1)[:, None]
    found.observe(told(elsewhere, deviation[1]), np.ones(B, bool))
    assert found.surprises.tolist() == [0, 0, 0, 1, 0]
    assert np.abs(found.mean[3] - elsewhere[3]).max() < 3
    assert found.summary()["gated"] == 1 / B


def test_a_faster_step_is_foreseen_less() -> None:
    u = np.array([[0.0, 0.0], [3.0, 1.0]])
    found, still = belief(speed=2.0, batch=2), belief(batch=2)
    for one in (found, still):
        one.predict(u)
    more = found.covariance - still.covariance
    far = np.square(found.mean - MEAN).sum(-1)
    np.testing.assert_allclose(more, 2 * far[:, None, None] * PROCESS)


@pytest.mark.parametrize("factor", [1.0, 0.2, 6.0])
def test_normalised_innovations_are_those_of_a_filter_that_knows_its_world(factor: float) -> None:
    """In a world as it is believed to be, the mean NIS over n is 1, and surprises are rare.

    A factor on all covariances is found, and then the covariance that is told is the error's.
    """
    rng, batch, steps = np.random.default_rng(2), 60, 200
    found, u = belief(batch=batch), np.zeros((batch, M))
    z = rng.multivariate_normal(MEAN, np.diag(VARIANCE), batch)
    before = rng.multivariate_normal(np.zeros(N), factor * ERRORS, batch)
    normalised = []
    for step in range(steps):
        deviation = rng.uniform(0.2, 0.8, (batch, N))
        new = rng.multivariate_normal(np.zeros(N), factor * ERRORS, batch)
        y = z + deviation * (new + before @ SHARED.T)
        found.observe(told(y, deviation), np.ones(batch, bool))
        if step == 100:
            found.nis[:] = found.seen[:] = found.surprises[:] = found.logarithms[:] = 0
        if step > 100:
            mean, covariance = found.corrected
            solved = np.linalg.solve(covariance, (z - mean)[..., None])[..., 0]
            normalised.append(((z - mean) * solved).sum(-1).mean() / N)
        found.predict(u)
        z, before = z @ A.T + rng.multivariate_normal(np.zeros(N), factor * PROCESS, batch), new
    summary = found.summary()
    assert summary["nis"] == pytest.approx(1, abs=0.1)
    assert summary["scale"] == pytest.approx(factor, rel=0.1)
    assert summary["gated"] == pytest.approx(0.001, abs=0.005)
    assert np.mean(normalised) == pytest.approx(1, abs=0.15)


class Curved:
    """``z' = 0.9 z + 0.3 tanh(W z + U u)``, which has no compiled code."""

    def __init__(self, n: int, m: int, rng: np.random.Generator) -> None:
        self.state_dim, self.control_dim = n, m
        self.W, self.U = (torch.from_numpy(rng.standard_normal((n, k))) for k in (n, m))

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        return 0.9 * x + 0.3 * torch.tanh(x @ self.W.T + u @ self.U.T)

    def linearize(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        slope = 0.3 * (1 - torch.tanh(x @ self.W.T + u @ self.U.T).square())[..., None]
        return 0.9 * torch.eye(self.state_dim, dtype=x.dtype) + slope * self.W, slope * self.U


def some_figures(n: int, rng: np.random.Generator) -> Figures:
    def covariance(scale: float) -> np.ndarray:
        root = rng.standard_normal((n, n))
        return scale * (root @ root.T / n + 0.3 * np.eye(n))

    shared = 0.4 * rng.standard_normal((n, n)) / n**0.5
    mean, variance = rng.standard_normal(n), rng.uniform(1, 9, n)
    return Figures(covariance(0.05), 2.0, covariance(1.0), shared, mean, variance)


def assert_as_the_simple_one(found: Belief, rng: np.random.Generator) -> None:
    """Compare over 40 steps with blind frames, and with surprises at every ninth."""
    (B, n), m = found.mean.shape, found.dynamics.control_dim
    simple = SimpleBelief(found.dynamics, found.figures, B)
    for t in range(40):
        y = simple.mean + rng.standard_normal((B, n)) * (5.0 if t % 9 == 5 else 0.2)
        deviation = np.exp(rng.uniform(-2, 5, (B, n)))
        q = told(y, deviation, found.figures.mean, found.figures.variance)
        seen, u = np.less(rng.random(B), 0.8), rng.standard_normal((B, m))
        for one in (found, simple):
            one.observe(q, seen)
        assert np.array_equal(found.covariance, found.covariance.mT)
        for one in (found, simple):
            one.predict(u)
        for name in ("mean", "covariance", "nis", "seen", "surprises", "logarithms", "scale"):
            value, expected = getattr(found, name), getattr(simple, name)
            np.testing.assert_allclose(value, expected, 1e-9, 1e-9 * np.abs(expected).max())
    assert 0 < found.surprises.sum() < found.seen.sum()


@pytest.mark.parametrize("n", [1, 3, 16])
@pytest.mark.parametrize("batch", [1, B])
def test_it_computes_what_the_simple_one_does(n: int, batch: int) -> None:
    rng = np.random.default_rng(n)
    found = Belief(Curved(n, M, rng), some_figures(n, rng), batch, torch.float64)
    assert_as_the_simple_one(found, rng)


def latent(kind: type[Transition], jacobian: str) -> LatentDynamics:
    torch.manual_seed(0)
    config = ModelConfig(latent_dim=N, transition_hidden=(11, 17))
    transition = kind(config, torch.linspace(2.0, 0.5, M)).double().requires_grad_(False)
    return LatentDynamics(transition, jacobian)


@pytest.mark.parametrize("kind", COMPILED)
@pytest.mark.parametrize("jacobian", ["true", "A"])
def test_compiled_dynamics_are_those_in_torch(kind: type[Transition], jacobian: str) -> None:
    rng = np.random.default_rng(3)
    dynamics = latent(kind, jacobian)
    found = Belief(dynamics, some_figures(N, rng), LANES + 3, torch.float64)
    found._foresee = None  # type: ignore[method-assign, assignment]
    assert_as_the_simple_one(found, rng)


def test_what_the_dynamics_take_on_is_foreseen() -> None:
    """A change of an agent's dynamics is one of its belief's."""
    dynamics, rng = latent(next(iter(COMPILED)), "true"), np.random.default_rng(4)
    found = [Belief(dynamics, some_figures(N, rng), 1, torch.float64) for _ in range(2)]
    before = found[0].mean.copy()
    found[0].predict(np.zeros((1, M)))
    dynamics.stay(torch.from_numpy(before[0]), torch.zeros(M, dtype=torch.float64))
    found[1]._mean[:, :N] = before
    found[1].predict(np.zeros((1, M)))
    assert np.abs(found[0].mean - before).min() > 1e-2, "else nothing was tested"
    np.testing.assert_allclose(found[1].mean, before, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("mean", np.nan),
        ("mean", np.inf),
        ("mean", 1e200),
        ("log_variance", np.nan),
        ("log_variance", -np.inf),
    ],
)
@pytest.mark.parametrize("blind", [True, False])
def test_what_is_not_finite_is_not_observed(field: str, number: float, blind: bool) -> None:
    u, y, deviation = observations()
    found, simple = belief(), belief()
    for one in (found, simple):
        one.observe(told(y[0], deviation[0]), np.ones(B, bool))
        one.predict(u[0])
    q, elsewhere = told(y[1], deviation[1]), np.arange(B) != 2
    simple.observe(q, elsewhere)
    getattr(q, field)[2, 1] = number
    found.observe(q, elsewhere | (not blind))
    for one in (found, simple):
        one.predict(u[1])
    assert found.seen.tolist() == simple.seen.tolist()
    np.testing.assert_array_equal(found.mean, simple.mean)
    np.testing.assert_array_equal(found.covariance, simple.covariance)
