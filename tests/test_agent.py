"""The agent: shapes, limits, goals, refusals, and that episodes in a batch do not meet."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import MODEL, ONE_CONTROL, SPEC, generator, images, tiny_model
from torch import Tensor

from e2c.control.agent import DRIFT, Agent, PlannerConfig, goal_cost
from e2c.control.goals import as_observations
from e2c.control.latent import LatentDynamics
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.files.runs import TRAINED
from e2c.models.base import ProblemSpec
from e2c.models.gaussians import DiagonalGaussian
from e2c.models.sight import Sight
from planners import PLANNERS, Plan

OPTIONS = PlannerConfig(
    horizon=7, first_iterations=6, iterations=2, restarts=3, control_weight=1e-3
)


def make_agent(spec: ProblemSpec = SPEC, options: PlannerConfig = OPTIONS) -> Agent:
    model = tiny_model(spec=spec)
    with torch.no_grad():
        for parameter in model.transition.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator(3)))
    model.measure(images(20, spec))
    return Agent(model, spec, options)


@pytest.mark.parametrize("spec", [SPEC, ONE_CONTROL], ids=["m=2", "m=1"])
@pytest.mark.parametrize("batch", [None, 1, 5])
def test_actions_are_within_the_limits(spec: ProblemSpec, batch: int | None) -> None:
    agent, m = make_agent(spec), len(spec.control_low)
    for seed in range(3):
        x = images(batch or 1, spec, seed)
        action = agent.act(x[0] if batch is None else x)
        assert action.shape == ((m,) if batch is None else (batch, m))
        assert action.dtype == np.float32
        assert (action >= np.array(spec.control_low, np.float32)).all()
        assert (action <= np.array(spec.control_high, np.float32)).all()
    assert not any(count.any() for count in agent.faults.values())


def test_the_limits_are_used() -> None:
    """Cheap controls and far goals: else no limit would have been tested."""
    agent = make_agent(options=dataclasses.replace(OPTIONS, control_weight=1e-6))
    agent.cost.goal = 30 * agent.cost.goal
    actions = agent.act(images(30))
    low, high = np.array(SPEC.control_low), np.array(SPEC.control_high)
    assert (np.isclose(actions, low) | np.isclose(actions, high)).any(0).all()


@pytest.mark.parametrize(
    "observation",
    [
        images(1)[0].astype(np.float32),
        images(1)[0].astype(np.int64),
        images(1)[0].astype(bool),
        images(1)[0][:2],
        images(1)[0][:, :, :5],
        images(1)[0].transpose(2, 0, 1),
        images(1)[0].reshape(-1),
        images(1)[None],
        images(0),
        images(1)[0].tolist(),
        None,
        "image",
    ],
)
def test_anything_but_an_observation_is_refused(observation: Any) -> None:
    agent = make_agent()
    for what, ask in (("An observation", agent.act), ("A goal", agent.reset)):
        if ask == agent.reset and isinstance(observation, str | None):
            continue
        with pytest.raises(E2CError, match=rf"{what} is uint8 of shape \[3, 12, 6\], or a"):
            ask(observation)


def test_what_a_reset_returns_is_told_from_an_observation() -> None:
    with pytest.raises(E2CError, match=r"got no array; give what the world shows \(reset\(\) ret"):
        make_agent().act((images(1)[0], {}))  # type: ignore[arg-type]


def test_as_many_goals_as_observations() -> None:
    agent = make_agent()
    agent.reset(goal=images(3))
    with pytest.raises(E2CError, match="goals of 3 episodes and observations of 2"):
        agent.act(images(2))


def test_nothing_is_imagined_beyond_the_plan() -> None:
    agent = make_agent()
    agent.act(images(1)[0])
    assert agent.imagine([0, 7]).shape == (1, 2, 12, 6)
    for beyond in ([60], [-1], [0, 8]):
        with pytest.raises(E2CError, match="The plan reaches 7 steps ahead, and step"):
            agent.imagine(beyond)


def test_an_agent_and_its_plan_can_be_copied_and_pickled() -> None:
    agent, x = make_agent(), images(2)
    agent.act(x)
    others = [copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))]
    expected = agent.act(images(2, seed=5))
    for other in others:
        np.testing.assert_allclose(other.act(images(2, seed=5)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_serves_an_agent(name: str) -> None:
    agent = make_agent().with_planner(name)
    actions = agent.act(images(3))
    assert (actions >= np.array(SPEC.control_low, np.float32)).all()
    assert (actions <= np.array(SPEC.control_high, np.float32)).all()
    assert set(agent.faults) >= {"blind", "lost"}


def test_an_unknown_planner_is_named() -> None:
    with pytest.raises(
        E2CError, match=r"There is no planner 'ilgq' \(planner\); did you mean ilqg"
    ):
        make_agent().with_planner("ilgq")


class Broken:
    """A planner whose plan is ``change`` of one that ends as it should."""

    def __init__(self, change: Callable[[Plan], Any], *_: Any, horizon: int, **__: Any) -> None:
        self.change, self.T, self.lost = change, horizon, torch.zeros(3, dtype=torch.int64)

    def reset(self) -> None:
        """Do nothing."""

    def plan(self, x0: Tensor, cost: Any) -> Any:
        B, n, T, m = *x0.shape, self.T, 2
        ends = torch.zeros(B, dtype=torch.int64)
        X, U, K = x0.new_zeros(B, T + 1, n), x0.new_zeros(B, T, m), x0.new_zeros(B, T, m, n)
        return self.change(Plan(X, U, K, x0.new_zeros(B), ends, ends))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda plan: replace(plan, controls=plan.controls + torch.nan),
            "controls that are not finite",
        ),
        (
            lambda plan: replace(plan, controls=plan.controls[:, :3]),
            r"controls of shape \[3, 3, 2\]",
        ),
        (lambda plan: plan.controls, "Tensor"),
        (lambda plan: None, "NoneType"),
        (lambda plan: replace(plan, controls=plan.controls.numpy()), "controls of type ndarray"),
        (lambda plan: replace(plan, states=None), "states of type NoneType"),
        (lambda plan: replace(plan, states=plan.states[:, 1:]), r"states of shape \[3, 7, 4\]"),
        (lambda plan: replace(plan, states=plan.states + torch.nan), "states that are not finite"),
        (lambda plan: replace(plan, cost=0.0), "costs of type float"),
        (lambda plan: replace(plan, status=None), "statuses of type NoneType"),
        (lambda plan: replace(plan, status=plan.status[0]), r"statuses of shape \[\]"),
        (lambda plan: replace(plan, status=plan.status + 99), r"the statuses \[99, 99, 99\]"),
        (lambda plan: replace(plan, status=plan.status.float()), r"the statuses \[0.0, 0.0, 0.0"),
    ],
)
def test_a_plan_that_cannot_be_given_is_told_with_its_planner(
    change: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANNERS, "broken", partial(Broken, lambda plan: plan))
    np.testing.assert_array_equal(make_agent().with_planner("broken").act(images(3)), 0)
    monkeypatch.setitem(PLANNERS, "broken", partial(Broken, change))
    with pytest.raises(E2CError, match=f"planner 'broken' gave .*{told}.*; let its plan"):
        make_agent().with_planner("broken").act(images(3))


@pytest.mark.parametrize(
    ("name", "method", "told"),
    [
        ("reset", None, r"to reset \('NoneType'|to reset \(None is not a callable"),
        ("plan", lambda self, x0: None, r"plan \(too many positional arguments\); .* plan\(x0, c"),
        ("plan", lambda self, x0, cost, t: None, r"to plan \(missing a required argument: 't'\)"),
    ],
)
def test_a_planner_with_other_methods_is_told(
    name: str, method: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type("Mine", (Broken,), {name: method})
    monkeypatch.setitem(PLANNERS, "broken", partial(kind, lambda plan: plan))
    with pytest.raises(E2CError, match=f"The planner 'broken' cannot be asked .*{told}"):
        make_agent().with_planner("broken")


@pytest.mark.parametrize(
    ("lost", "told"),
    [(None, "counts of type NoneType"), (torch.zeros(0), r"counts of shape \[0\]")],
)
def test_a_planner_without_counts_is_told(
    lost: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*asked: Any, **named: Any) -> Broken:
        built = Broken(lambda plan: plan, *asked, **named)
        built.lost = lost
        return built

    monkeypatch.setitem(PLANNERS, "broken", build)
    with pytest.raises(E2CError, match=f"'broken' has {told} as its lost; let it hold a count"):
        make_agent().with_planner("broken").act(images(3))


def test_a_planner_that_is_built_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANNERS, "mine", type("Mine", (), {}))
    with pytest.raises(E2CError, match=r"^Mine cannot be built \(.*\); .* of planners.Builder"):
        make_agent().with_planner("mine")


def test_what_an_agent_cannot_be_asked_for_is_one_sentence() -> None:
    agent = make_agent()
    agent.act(images(3))
    for ask, told in (
        (lambda: agent.imagine(5), "steps is 5; it must be a list of whole numbers"),  # type: ignore
        (lambda: agent.imagine([1.5]), r"steps\[0\] is 1.5"),  # type: ignore[list-item]
        (lambda: agent.with_planner(5), "name is 5; it must be a text"),  # type: ignore[arg-type]
        (lambda: agent.with_planner(belief="yes"), "belief is 'yes'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(E2CError, match=told):
            ask()


def test_a_trained_agent_can_be_given_a_belief_and_relieved_of_it() -> None:
    agent = load_agent(TRAINED)
    believing = agent.with_planner(belief=True)
    assert believing.belief is not None
    assert believing.with_planner("cem").options == replace(agent.options, name="cem", belief=True)
    assert believing.with_planner(belief=False).belief is None
    agent.model.sight = None
    with pytest.raises(E2CError, match=r"no belief, since the model has learned no sight; train"):
        agent.with_planner(belief=True)


def test_arrays_that_are_not_contiguous_or_writeable_are_observations() -> None:
    x = images(6)
    expected = make_agent().act(x[::2].copy())
    np.testing.assert_array_equal(make_agent().act(x[::2]), expected)
    mirrored = x[..., ::-1]
    np.testing.assert_array_equal(make_agent().act(mirrored), make_agent().act(mirrored.copy()))
    x.flags.writeable = False
    make_agent().act(x)


def test_another_goal_is_another_plan() -> None:
    agent, x = make_agent(), images(1)[0]
    own = agent.act(x)
    agent.reset(goal=images(1, seed=77)[0])
    other = agent.act(x)
    assert np.abs(own - other).max() > 1e-3
    agent.reset()
    np.testing.assert_array_equal(agent.act(x), own)
    agent.reset(goal=agent.model.goal.numpy())
    np.testing.assert_array_equal(agent.act(x), own)


BLANK = np.stack([np.full((12, 6), grey, np.uint8) for grey in (0, 9, 255)])
"""An observation whose frames show nothing, each in its own grey."""
RED = np.full((30, 20, 3), (255, 0, 0), np.uint8)


@pytest.mark.parametrize("goal", [BLANK, torch.from_numpy(BLANK), BLANK[1], RED, RED[..., 1]])
def test_a_goal_in_one_colour_is_refused_and_the_one_before_stays(goal: Any) -> None:
    agent, x = make_agent(), images(1)[0]
    agent.reset(images(1, seed=77)[0])
    expected = agent.act(x)
    with pytest.raises(E2CError, match=r"^The goal shows nothing: each of its frames is of one co"):
        agent.reset(goal)
    agent.planner.reset()
    agent._begin(0)
    np.testing.assert_array_equal(agent.act(x), expected)


def test_a_goal_in_one_colour_is_told_from_one_with_even_planes() -> None:
    """Red on black shows something, though green and blue are even."""
    spec = dataclasses.replace(SPEC, observation_shape=(2, 12, 6, 3))
    goal = np.zeros(spec.observation_shape, np.uint8)
    goal[0, ..., 0], goal[1, ..., 2] = 9, 7
    with pytest.raises(E2CError, match="shows nothing"):
        as_observations(goal, spec)
    goal[1, 3, 2, 0] = 200
    assert as_observations(goal, spec) is goal


def test_a_world_may_tell_goals_in_one_colour() -> None:
    """It knows what it tells; they come as many as there are episodes."""
    agent = make_agent()
    agent.reset(BLANK[None])
    assert np.isfinite(agent.act(images(1))).all()


def test_every_episode_may_have_its_own_goal() -> None:
    x, goals, agent = images(5), images(5, seed=77), make_agent()
    agent.reset(goal=goals)
    together, cost = agent.act(x), agent.cost
    for i in range(5):
        agent.reset(goal=goals[i])
        assert torch.equal(agent.cost.goal, cost.goal[i]), "bit for bit"
        torch.testing.assert_close(agent.cost.reference, cost.reference[i])
        pair = [i, (i + 1) % 5]
        agent.reset(goal=goals[pair])
        np.testing.assert_allclose(agent.act(x[pair])[0], together[i], atol=1e-4)


def test_the_dynamics_stay_at_a_goal_under_its_holding_control() -> None:
    agent, goals = make_agent(), images(2, seed=77)
    agent.model.latent_variance.fill_(1e4)  # so that the drift of an untrained model is small
    learned, drifts = agent.model.transition, []
    with torch.inference_mode():
        for goal in (goals[0], np.repeat(goals[1:], 3, 0)):
            agent.reset(goal=goal)
            z, u = agent.cost.goal.reshape(-1, 4)[:1], agent.cost.reference.reshape(-1, 2)[:1]
            torch.testing.assert_close(agent.dynamics.step(z, u), z)
            drifts.append(z - learned.step(z, u))
            assert drifts[-1].norm() > 1e-2, "else nothing was tested"
        agent.reset(goal=goals)
        z, u = agent.cost.goal, agent.cost.reference
        torch.testing.assert_close(agent.dynamics.step(z, u), learned.step(z, u))
    assert not torch.allclose(drifts[0], drifts[1])


@torch.inference_mode()
def test_a_large_drift_at_the_goal_changes_no_step() -> None:
    agent = make_agent()
    goal, holding, image = agent.cost.goal, agent.cost.reference, agent.model.goal.numpy()
    drift = goal - agent.dynamics.learned.step(goal, holding)
    for share, stays in ((0.99, True), (1.01, False)):
        agent.model.latent_variance.fill_(float(drift.square().sum()) / (share * DRIFT))
        agent.reset(goal=image)
        assert torch.allclose(agent.dynamics.step(goal, holding), goal) is stays


def held(monkeypatch: pytest.MonkeyPatch, rate: float, batch: int, force: float) -> torch.Tensor:
    """Let agents hold a goal in a world that is their model but for a force; return the misses."""
    agent = make_agent(options=dataclasses.replace(OPTIONS, control_weight=1e-3, horizon=10))
    monkeypatch.setattr("e2c.control.agent.INTEGRAL_RATE", rate)
    monkeypatch.setattr("e2c.control.agent.DRIFT", np.inf)
    net: Any = agent.dynamics.learned.net
    with torch.no_grad():
        agent.model.latent_variance.fill_(1.0)
        net[-1].weight.zero_()  # A, B and o are the same everywhere
    agent.reset()
    z = agent.cost.goal.repeat(batch, 1)
    monkeypatch.setattr(
        agent.model, "encode", lambda images: DiagonalGaussian(z, torch.zeros_like(z))
    )
    x = images(batch)
    with torch.inference_mode():
        for _ in range(300):
            u = torch.from_numpy(agent.act(x))
            z = agent.dynamics.step(z, u + force)
    return (z - agent.cost.goal).norm(dim=1)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_unknown_force_is_learned_near_the_goal(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    beside = held(monkeypatch, 0.0, batch, 0.05)
    there = held(monkeypatch, 0.1, batch, 0.05)
    assert (there < 0.1 * beside).all()


def test_a_belief_expects_no_motion_of_what_the_integral_cancels() -> None:
    agent, x = make_agent(), images(3)
    agent.act(x)
    agent.belief = belief = Mock(mean=agent.cost.goal.double().numpy() + np.zeros((3, 1)))
    for _ in range(3):
        agent._integral += 0.01
        before = agent._integral.copy()
        action = agent.act(x)
        np.testing.assert_allclose(belief.predict.call_args[0][0], action - before, atol=1e-6)


def test_the_integral_stays_zero_far_from_the_goal() -> None:
    agent, x = make_agent(), images(3)
    agent.cost.goal = agent.cost.goal + 100
    for _ in range(3):
        action = agent.act(x)
        assert agent.plan is not None
        np.testing.assert_array_equal(agent.plan.controls[:, 0], action)


def test_episodes_in_a_batch_act_as_they_do_alone() -> None:
    together, sequence = make_agent(), [images(5, seed=seed) for seed in range(4)]
    batched = [together.act(x) for x in sequence]
    for i in range(5):
        alone = make_agent()
        for x, actions in zip(sequence, batched, strict=True):
            np.testing.assert_allclose(alone.act(x[i]), actions[i], atol=1e-3)


def test_a_reset_forgets() -> None:
    agent, x = make_agent(), images(2)
    first = agent.act(x[0])
    agent.act(x[1])
    assert not np.array_equal(agent.act(x[0]), first), "a warm start goes on from the last plan"
    agent.reset()
    assert agent.plan is None
    np.testing.assert_array_equal(agent.act(x[0]), first)


def test_a_reset_takes_the_weights_that_the_model_has_now() -> None:
    agent, x = make_agent(), images(1)[0]
    first = agent.act(x)
    with torch.no_grad():
        for weight in agent.model.transition.parameters():
            weight.mul_(0.5)
    agent.reset()
    changed = agent.act(x)
    assert not np.array_equal(changed, first)
    np.testing.assert_array_equal(changed, agent.with_planner().act(x))


def test_the_first_action_is_that_of_the_plan_from_the_encoding() -> None:
    agent, x = make_agent(), images(5)
    action = agent.act(x)
    assert agent.plan is not None
    np.testing.assert_array_equal(agent.plan.controls[:, 0], action)
    with torch.no_grad():
        torch.testing.assert_close(agent.plan.states[:, 0], agent.model.encode(x).mean)


def test_the_imagined_is_the_decoded_plan() -> None:
    agent = make_agent()
    with pytest.raises(E2CError, match=r"call act\(observation\) first"):
        agent.imagine([1])
    agent.act(images(5))
    imagined = agent.imagine([2, 0, 7])
    assert imagined.shape == (5, 3, 12, 6)
    assert imagined.dtype == np.uint8
    assert agent.plan is not None
    with torch.no_grad():
        drawn = agent.model.decode(agent.plan.states[:, 7])
    np.testing.assert_array_equal(imagined[:, 2], drawn[:, -1])
    agent.reset()
    agent.act(images(1)[0])
    assert agent.imagine([1]).shape == (1, 1, 12, 6)


def test_plans_that_fail_are_counted() -> None:
    model = tiny_model()
    with torch.no_grad():
        next(model.transition.parameters()).fill_(torch.nan)
    agent = Agent(model, SPEC, OPTIONS)
    actions = agent.act(images(5))
    assert np.isfinite(actions).all()
    assert agent.faults["not_finite"].tolist() == [1] * 5
    agent.reset()
    assert not any(count.any() for count in agent.faults.values())


def test_an_agent_with_a_sight_doubts_motion_that_its_plan_did_not_foresee() -> None:
    agent = make_agent()
    sight = agent.model.sight = Sight(agent.model.encoder, MODEL.latent_dim)
    sight.motion[:, 0, 0] = 1.0
    agent.act(images(5))
    assert agent.plan is not None
    predicted = agent.plan.states[:, 1]
    agent.act(images(5, seed=1))
    with torch.no_grad():
        told = agent.model.read(images(5, seed=1)).mean
    steadied = sight.steadied(told, predicted)
    assert not torch.equal(steadied, told)
    torch.testing.assert_close(agent.plan.states[:, 0], steadied)


def darkened(x: NDArray[np.uint8], episodes: list[int], frame: int, grey: int) -> NDArray[np.uint8]:
    """Observations of which one frame, in some episodes, is of one grey alone."""
    x = x.copy()
    x[episodes, frame] = grey
    return x


@pytest.mark.parametrize(("frame", "grey"), [(0, 0), (1, 255), (2, 0), (2, 31)])
def test_a_blank_frame_is_no_view_and_the_agent_trusts_its_prediction(
    frame: int, grey: int
) -> None:
    agent, seen = make_agent(), make_agent()
    first, second = images(5), images(5, seed=1)
    agent.act(first)
    seen.act(first)
    assert agent.plan is not None
    predicted = agent.plan.states[:, 1]
    agent.act(darkened(second, [1, 3], frame, grey))
    seen.act(second)
    assert agent.plan is not None
    assert seen.plan is not None
    torch.testing.assert_close(agent.plan.states[[1, 3], 0], predicted[[1, 3]])
    others = [0, 2, 4]
    assert torch.equal(agent.plan.controls[others], seen.plan.controls[others])
    assert not torch.equal(agent.plan.states, seen.plan.states)
    assert agent.faults["blind"].tolist() == [0, 1, 0, 1, 0]


def test_a_frame_is_blank_only_if_all_of_it_is_of_one_grey() -> None:
    agent, x = make_agent(), darkened(images(5), [0, 1, 2, 3, 4], 1, 7)
    x[0, 1, -1, -1] = 8
    x[1, 1, 0, 0] = 6
    agent.act(x)
    assert agent.faults["blind"].tolist() == [0, 0, 1, 1, 1]


def test_blank_at_the_first_step_is_encoded_and_blank_for_ever_goes_on() -> None:
    agent, x = make_agent(), np.zeros_like(images(5))
    actions = [agent.act(x) for _ in range(9)]
    assert agent.plan is not None
    assert np.isfinite(actions).all()
    assert agent.faults["blind"].tolist() == [9] * 5
    agent.reset()
    np.testing.assert_array_equal(agent.act(x), actions[0])
    with torch.no_grad():
        torch.testing.assert_close(agent.plan.states[:, 0], agent.model.encode(x).mean)


def test_an_encoding_that_is_not_finite_is_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, x = make_agent(), images(5)
    agent.act(x)
    assert agent.plan is not None
    predicted = agent.plan.states[:, 1]
    encode = agent.model.encode

    def spoilt(observations: Any) -> DiagonalGaussian:
        q: DiagonalGaussian = encode(observations)
        if q.mean.dim() == 2:  # not the goal
            q.mean[2, 0] = torch.nan
        return q

    monkeypatch.setattr(agent.model, "encode", spoilt)
    assert np.isfinite(agent.act(x)).all()
    torch.testing.assert_close(agent.plan.states[2, 0], predicted[2])
    assert agent.faults["blind"].tolist() == [0, 0, 1, 0, 0]
    agent.reset()
    for _ in range(3):
        assert np.isfinite(agent.act(x)).all()


def test_faults_are_counted_by_kind_and_episode() -> None:
    agent = make_agent()
    assert {kind: count.tolist() for kind, count in agent.faults.items()} == {
        kind: []
        for kind in ("blind", "lost", "no_improvement", "not_finite", "not_positive_definite")
    }
    agent.reset(goal=images(5))
    agent.act(images(5))
    assert all(count.tolist() == [0] * 5 for count in agent.faults.values())
    with torch.inference_mode():
        agent.cost.goal[3] = torch.nan
    for _ in range(3):
        agent.act(images(5))
    assert agent.faults["not_finite"].tolist() == [0, 0, 0, 3, 0]
    assert agent.faults["lost"].tolist() == [0, 0, 0, 3, 0]


def test_another_batch_is_another_beginning() -> None:
    agent, x = make_agent(), np.zeros_like(images(5))
    agent.act(x)
    np.testing.assert_array_equal(agent.act(x[:2]), make_agent().act(x[:2]))
    assert agent.faults["blind"].tolist() == [1, 1]


def test_acting_leaves_the_global_generator_and_makes_no_graph() -> None:
    before, agent = torch.get_rng_state(), make_agent()
    agent.act(images(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert agent.plan is not None
    assert not agent.plan.states.requires_grad


def test_the_cost_is_in_units_of_the_data() -> None:
    goal = torch.tensor([1.0, -2.0, 0.5])
    options = PlannerConfig(control_weight=0.3, terminal_weight=4.0)
    cost = goal_cost(goal, torch.tensor(9.0), SPEC, options, torch.zeros(2))
    rest = torch.zeros(1, 1, 2)
    far = (goal + torch.tensor([3.0, 0, 0])).expand(1, 2, 3)
    at_goal = goal.expand(1, 2, 3)
    torch.testing.assert_close(cost.total(far, rest), torch.tensor([1.0 + 4.0]))
    full = torch.tensor([[[2.0, 0.0]]])
    torch.testing.assert_close(cost.total(at_goal, full), torch.tensor([0.3]))
    full = torch.tensor([[[0.0, -0.5]]])
    torch.testing.assert_close(cost.total(at_goal, full), torch.tensor([0.3]))
    cost = goal_cost(goal, torch.tensor(9.0), SPEC, options, full[0, 0])
    torch.testing.assert_close(cost.total(at_goal, full), torch.zeros(1))


@pytest.mark.parametrize("lead", [(5,), (5, 2, 7), (1,)])
@pytest.mark.parametrize("spec", [SPEC, ONE_CONTROL], ids=["m=2", "m=1"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"transition_bound": 0.0}, {"activation": "relu"}, {"transition_hidden": ()}],
    ids=str,
)
def test_latent_dynamics_are_the_transitions(
    lead: tuple[int, ...], spec: ProblemSpec, changes: dict[str, Any]
) -> None:
    transition = tiny_model(dataclasses.replace(MODEL, **changes), spec).double().transition
    with torch.no_grad():
        for parameter in transition.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(3)))
    m = len(spec.control_low)
    z = torch.randn(*lead, 4, generator=generator(), dtype=torch.float64)
    u = torch.randn(*lead, m, generator=generator(1), dtype=torch.float64)
    true, frozen = LatentDynamics(transition), LatentDynamics(transition, "A")
    assert (true.state_dim, true.control_dim) == (4, m)
    torch.testing.assert_close(true.step(z, u), transition(z, u).step(z, u))
    torch.testing.assert_close(frozen.step(z, u), true.step(z, u))
    by_z, by_u = torch.func.vmap(torch.func.jacrev(transition.step, argnums=(0, 1)))(
        z.reshape(-1, 4), u.reshape(-1, m)
    )
    fx, fu = true.linearize(z, u)
    torch.testing.assert_close(fx, by_z.reshape(*lead, 4, 4))
    torch.testing.assert_close(fu, by_u.reshape(*lead, 4, m))
    A, B = frozen.linearize(z, u)
    torch.testing.assert_close(A, transition(z, u).A)
    torch.testing.assert_close(B, fu)
    assert (A - fx).abs().max() > 1e-2


@torch.inference_mode()
def test_dynamics_stay_by_the_least_change_of_their_last_weights() -> None:
    learned = make_agent().dynamics.learned.double()
    dynamics, W = LatentDynamics(learned), torch.cat(learned.last_weights(), -1)
    x, z = torch.randn(2, 50, 4, generator=generator(), dtype=torch.float64)
    u, v = torch.randn(2, 50, 2, generator=generator(1), dtype=torch.float64)
    before, drift = dynamics.step(z, v), x[0] - dynamics.step(x[0], u[0])
    dynamics.stay(x[0], u[0])
    torch.testing.assert_close(dynamics.step(x[0], u[0]), x[0])
    phi = learned.features(x[0], u[0])
    share = learned.features(z, v) @ phi / phi.square().sum()
    torch.testing.assert_close(dynamics.step(z, v), before + share.outer(drift))
    assert share.abs().min() < 0.5, "else it is a shift"
    dW = torch.cat(dynamics.transition.last_weights(), -1) - W
    least = torch.linalg.lstsq(phi[None], drift[None]).solution.mT
    torch.testing.assert_close(dW, least)
    torch.testing.assert_close(torch.cat(learned.last_weights(), -1), W)
    dynamics.forget()
    torch.testing.assert_close(dynamics.step(z, v), before)


def test_the_jacobian_asked_for_is_used() -> None:
    x = images(5)
    frozen = make_agent(options=dataclasses.replace(OPTIONS, jacobian="A", first_iterations=1))
    true = make_agent(options=dataclasses.replace(OPTIONS, first_iterations=1))
    assert np.abs(true.act(x) - frozen.act(x)).max() > 1e-3


def test_decoding_draws_the_mean() -> None:
    model, z = tiny_model(), torch.randn(5, 4, generator=generator())
    drawn = model.decode(z)
    assert drawn.shape == (5, 3, 12, 6)
    np.testing.assert_allclose(drawn, 255 * model.decoder(z).sigmoid().detach(), atol=0.5001)


def test_the_latent_unit_is_the_spread_of_the_encodings() -> None:
    model, x = tiny_model(MODEL), images(50)
    model.measure(x)
    with torch.no_grad():
        means = model.encoder(torch.from_numpy(x).float() / 255).mean
    torch.testing.assert_close(model.latent_variance, means.var(0).sum())
