"""The whole path on a small run: train, what it leaves behind, evaluate, film."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny import CONFIG, ENV, ROOT, TYPED, python, shorten_episodes

import envs
from e2c.config import Config, EvaluationConfig, Recipe
from e2c.control.agent import Agent, load_agent
from e2c.data import episodes as dataset
from e2c.errors import E2CError
from e2c.files import runs
from e2c.learning import experiment
from e2c.learning.experiment import Disturbance
from e2c.models import checkpoint
from e2c.models.e2c import E2C
from e2c.options import from_dict
from e2c.report.film import film_frames
from envs.collect import BatchEnv, record, restart

STEPS = 12
STILL = dataclasses.replace(
    CONFIG,
    data=dataclasses.replace(CONFIG.data, rounds=0),
    evaluation=EvaluationConfig(episodes=0),
)
"""Without own rounds and evaluation."""
OPTIONS = [*TYPED, "--data.rounds", "0"]
"""`STILL`, as it is typed, with seed 3."""
PICTURES = {"losses", "open_loop_error", "latent_space", "reconstructions", "rollouts"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose task has short episodes; trained in this process, one own round."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envs, "ENVIRONMENTS", shorten_episodes(STEPS))
        experiment.train(Recipe(CONFIG, 3), folder)
    return folder


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures of a run, which take longer than such a run itself."""
    monkeypatch.setattr(experiment, "_draw_pictures", lambda run: np.zeros(3))


# --------------------------------------------------------------------------------------- train


def test_the_run_folder_holds_all_that_made_it(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    assert about["seed"] == 3
    assert about["transitions"] == 50 + 2 * STEPS
    assert about["steps"] == 6 + 4
    assert about["skipped_steps"] == 0
    assert {"versions", "commit", "machine", "seconds"} <= about.keys()
    assert from_dict(about["config"], Config) == CONFIG
    assert runs.read_recipe(run / "config.yaml") == Recipe(CONFIG, 3)
    files = [run / "data" / "first.npz", run / "data" / "round_1.npz"]
    kept = [dataset.load(path) for path in files]
    assert [d["sha256"] for d in about["data"]] == [d.content_hash for d in kept]
    assert sorted(path.name for path in (run / "data").iterdir()) == [p.name for p in files]
    assert {path.stem for path in (run / "pictures").glob("*.png")} >= PICTURES
    assert not list(run.rglob("*.tmp*"))


def test_metrics_tell_of_every_phase(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    own = [row for row in rows if "round" in row]
    assert [row["step"] for row in losses] == [3.5, 8.5], "means over the steps of a row"
    assert [(row["round"], row["transitions"]) for row in own] == [(1, 50 + 2 * STEPS)]
    assert all(np.isfinite(list(row.values())).all() for row in rows)


@pytest.mark.usefixtures("no_pictures")
def test_a_last_step_that_is_skipped_loses_no_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count(1)

    honest = E2C.terms

    def terms(*arguments: Any) -> dict[str, torch.Tensor]:
        found = honest(*arguments)
        fault = torch.nan if next(calls) == 6 else 1.0
        return found | {"prediction": fault * found["prediction"]}

    monkeypatch.setattr(E2C, "terms", terms)
    experiment.train(Recipe(STILL, 3), tmp_path / "run")
    (row,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(row)["step"] == 3, "the mean of 1 to 5"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["skipped_steps"] == 1


@pytest.mark.usefixtures("no_pictures")
def test_very_little_data_still_has_a_spread(tmp_path: Path) -> None:
    """Two observations; of one there would be no variance, and no plan."""
    few = dataclasses.replace(STILL.data, transitions=1, episode_length=1)
    objective = dataclasses.replace(STILL.objective, horizon=1, targets=1)
    config = dataclasses.replace(STILL, data=few, objective=objective)
    run = experiment.train(Recipe(config, 3), tmp_path / "run")
    assert 0 < run.model.latent_variance < np.inf


def test_pictures_are_pictures(run: Path) -> None:
    for path in (run / "pictures").glob("*.png"):
        image = cv2.imread(str(path))
        assert image is not None
        assert image.std() > 1, f"{path.name} shows something"


def test_own_episodes_are_the_agents_and_start_hanging(run: Path) -> None:
    own = dataset.load(run / "data" / "round_1.npz")
    assert own.provenance["controller"] == "agent"
    assert own.lengths.tolist() == [STEPS, STEPS]
    first = own.states[[0, STEPS + 1]]
    assert (np.abs(first[:, 0] - np.pi) <= 0.1).all()
    assert (first[:, 1] == 0).all()


def test_the_goal_and_the_task_travel_with_the_weights(run: Path) -> None:
    model, config, spec = checkpoint.load(run)
    np.testing.assert_array_equal(model.goal.numpy(), envs.make(ENV).goal_observation())
    assert config == CONFIG
    assert spec.observation_shape == (2, 48, 48)
    assert (spec.control_low, spec.control_high) == ((-2.0,), (2.0,))
    assert (spec.dt, spec.episode_steps) == (0.05, STEPS)
    assert model.latent_variance != 1, "it was measured"


@pytest.mark.usefixtures("no_pictures")
def test_another_process_trains_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    """One run by the command line, in a process of its own, and one here."""
    commanded = tmp_path / "commanded"
    done = python("train.py", "--out", str(commanded), *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr, "control codes in a log"
    assert f"next: python evaluate.py {commanded}" in done.stdout
    assert checkpoint.load(commanded)[1] == STILL
    experiment.train(Recipe(STILL, 3), tmp_path / "here")
    experiment.train(Recipe(STILL, 4), tmp_path / "other")
    for name in (checkpoint.NAME, "data/first.npz"):
        same = (commanded / name).read_bytes()
        assert (tmp_path / "here" / name).read_bytes() == same
        assert (tmp_path / "other" / name).read_bytes() != same


@pytest.mark.usefixtures("no_pictures")
def test_a_dataset_stands_in_for_random_transitions(run: Path, tmp_path: Path) -> None:
    """One file and two files; what was given is what the run keeps."""
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for seed, path in enumerate(files):
        experiment.collect(ENV, 20 + 5 * seed, 5, seed, None, 0.0).save(path)
    names = tuple(str(path) for path in files)
    one = experiment.train(Recipe(STILL, 3, names[:1]), tmp_path / "one")
    two = experiment.train(Recipe(STILL, 3, names), tmp_path / "two")
    assert (one.transitions, two.transitions) == (20, 45)
    kept = dataset.load(tmp_path / "one" / "data" / "first.npz")
    assert kept.content_hash == dataset.load(files[0]).content_hash
    sources = dataset.load(tmp_path / "two" / "data" / "first.npz").provenance["from"]
    assert [source["sha256"] for source in sources] == [
        dataset.load(path).content_hash for path in files
    ]


# ------------------------------------------------------------------------------------ evaluate


KEYS = {
    "success_rate",
    "time_in_goal",
    "oracle_success_rate",
    "oracle_time_in_goal",
    "steps_to_goal_median",
    "return_mean",
    "cost_mean",
    "oracle_cost_mean",
    "plan_ms_median",
    "plan_ms_p99",
    "episodes",
}


def test_evaluating_by_command_writes_results_and_film(run: Path, tmp_path: Path) -> None:
    results, film = tmp_path / "deep" / "results.json", tmp_path / "film" / "up.mp4"
    options = ["--episodes", "3", "--seed", "7", "--json", str(results), "--video", str(film)]
    done = python("evaluate.py", str(run), *options)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
    found = json.loads(results.read_text())
    assert found.keys() >= KEYS
    assert len(found["episodes"]) == 3
    for row in found["episodes"]:
        assert row.keys() >= {"start", "success", "time_in_goal"}
    assert found["plan_ms_p99"] >= found["plan_ms_median"] > 0
    for key in ("success_rate", "oracle_success_rate", "plan_ms_median"):
        assert f"{key:<22} {found[key]}" in done.stdout
    starts = envs.make(ENV).sample_starts(np.random.default_rng(7), 3)
    assert [row["start"] for row in found["episodes"]] == starts.tolist()
    reader = cv2.VideoCapture(str(film))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) >= STEPS
    assert sorted(path.name for path in film.parent.iterdir()) == ["up.mp4"]


def test_evaluating_again_gives_the_same_results(run: Path) -> None:
    timed = {"seconds"}
    one, again, other = (
        experiment.evaluate(load_agent(run), 3, seed, oracle=False) for seed in (7, 7, 8)
    )
    assert {k: one[0][k] for k in one[0].keys() - timed} == {
        k: again[0][k] for k in again[0].keys() - timed
    }
    np.testing.assert_array_equal(one[1].actions, again[1].actions)
    assert (one[1].actions != other[1].actions).any()
    assert not any(key.startswith("oracle") for key in one[0])


def test_results_are_those_of_the_loop_written_by_hand(run: Path) -> None:
    """The agent sees frames alone, and the world is the task's own."""
    env, agent = envs.make(ENV), load_agent(run)
    _, rollouts, _ = experiment.evaluate(agent, 2, 7, oracle=False)
    agent.reset()
    batch = BatchEnv(env, env.sample_starts(np.random.default_rng(7), 2))
    by_hand = record(batch, agent.act, STEPS)
    np.testing.assert_array_equal(rollouts.states, by_hand.states)
    np.testing.assert_array_equal(rollouts.frames, by_hand.frames)


def test_disturbances_change_the_world_and_not_the_agent(run: Path) -> None:
    agent = load_agent(run)
    _, calm, _ = experiment.evaluate(agent, 2, 7, oracle=False)
    for disturbance in (
        Disturbance(mass=1.3),
        Disturbance(length=1.1),
        Disturbance(frame_noise=20.0),
        Disturbance(black_frames=0.5),
        Disturbance(state_noise=1.0),
    ):
        results, disturbed, _ = experiment.evaluate(agent, 2, 7, disturbance, oracle=False)
        assert (disturbed.states[:, -1] != calm.states[:, -1]).any(), disturbance
        np.testing.assert_array_equal(disturbed.states[:, 0], calm.states[:, 0])
        json.dumps(results, allow_nan=False)


def test_perturbed_starts_are_those_of_the_task_that_has_them(run: Path) -> None:
    spec = dataclasses.replace(checkpoint.load(run)[2], env="E2C/PendulumBalance-v0")
    starts = [
        Disturbance(perturbed=perturbed).world(spec).sample_starts(np.random.default_rng(5), 3)
        for perturbed in (False, True)
    ]
    assert not starts[0].any()
    assert starts[1].all()
    with pytest.raises(E2CError, match="PendulumSwingUp-v0 takes no parameter perturbed; leave it"):
        experiment.evaluate(load_agent(run), 2, 7, Disturbance(perturbed=True), oracle=False)


def test_a_kick_lasts_a_quarter_of_a_second_after_six() -> None:
    push = Disturbance(kick=2.5).push(0.05, (3, 1))
    pushed = {t: push(t) for t in range(200) if push(t) is not None}
    assert list(pushed) == [120, 121, 122, 123, 124]
    np.testing.assert_array_equal(pushed[120], np.full((3, 1), 2.5))
    calm = Disturbance().push(0.05, (3, 1))
    assert all(calm(t) is None for t in range(200))


def test_a_kick_is_felt(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config, spec = checkpoint.load(run)
    longer = dataclasses.replace(spec, episode_steps=124)
    options = dataclasses.replace(config.planner, first_iterations=1, horizon=2)
    agent = Agent(model, longer, options)
    worlds = [Disturbance(), Disturbance(kick=2.0)]
    calm, kicked = (experiment.evaluate(agent, 1, 7, d, oracle=False)[1].states for d in worlds)
    np.testing.assert_array_equal(calm[:, :121], kicked[:, :121])
    assert kicked[0, 121, 1] - calm[0, 121, 1] == pytest.approx(0.05 * 3 * 2.0)


def test_noise_on_frames_has_the_deviation_asked_for() -> None:
    frames = np.full((5, 2, 48, 48), 128, np.uint8)
    noisy = Disturbance(frame_noise=10.0).look(frames, np.random.default_rng(0))
    assert noisy.dtype == np.uint8
    assert noisy.std() == pytest.approx(10, rel=0.03)
    assert Disturbance().look(frames, np.random.default_rng(0)) is frames
    black = Disturbance(frame_noise=10.0).look(0 * frames, np.random.default_rng(0))
    assert black.max() < 80, "it does not wrap around"


def test_black_frames_are_as_many_as_asked_for_and_counted(run: Path) -> None:
    frames = np.full((500, 2, 4, 4), 7, np.uint8)
    seen = Disturbance(black_frames=0.25).look(frames, np.random.default_rng(0))
    assert set(np.unique(seen)) == {0, 7}
    black = (seen == 0).all((-2, -1))
    np.testing.assert_array_equal(black, (seen == 0).any((-2, -1)))
    assert black.mean() == pytest.approx(0.25, abs=0.03)
    results, *_ = experiment.evaluate(
        load_agent(run), 3, 7, Disturbance(black_frames=1.0), oracle=False
    )
    assert results["faults"]["blind"] == 3 * STEPS
    assert [row["faults"]["blind"] for row in results["episodes"]] == [STEPS] * 3


def test_exploration_is_a_share_of_the_limits(run: Path) -> None:
    class Still:
        spec = checkpoint.load(run)[2]

        def reset(self, goal: Any) -> None:
            np.testing.assert_array_equal(goal, np.stack([envs.make(ENV).goal_observation()] * 3))

        def act(self, observations: Any) -> Any:
            return np.zeros((len(observations), 1), np.float32)

    batch = restart(envs.make(ENV), 3, np.random.default_rng(1))
    act = experiment.noisy(Still(), batch, 0.25, np.random.default_rng(0))  # type: ignore[arg-type]
    drawn = np.asarray(act(np.zeros((4000, 2, 48, 48), np.uint8)))
    assert drawn.std() == pytest.approx(0.5, rel=0.05)


# ------------------------------------------------------------------------------------- collect


def test_collecting_rounds_up_to_whole_episodes() -> None:
    data = experiment.collect(ENV, 41, 20, 3, None, 0.0)
    assert data.lengths.tolist() == [20, 20, 20]
    again, other = (experiment.collect(ENV, 41, 20, s, None, 0.0) for s in (3, 4))
    assert data.content_hash == again.content_hash != other.content_hash
    assert data.provenance["seed"] == 3
    assert data.provenance["controller"] == "random"


def test_an_agent_may_collect(run: Path) -> None:
    agent = load_agent(run)
    data = experiment.collect(ENV, 10, 5, 3, agent, 0.1)
    assert data.provenance["controller"] == "agent"
    agent.reset()
    again = experiment.collect(ENV, 10, 5, 3, agent, 0.1)
    assert data.content_hash == again.content_hash


@pytest.mark.parametrize(
    ("name", "value"), [("dt", 0.1), ("control_high", (7.0,)), ("observation_shape", (2, 48, 46))]
)
def test_an_agent_of_another_task_is_refused(run: Path, name: str, value: Any) -> None:
    agent = load_agent(run)
    agent.spec = dataclasses.replace(agent.spec, **{name: value})
    with pytest.raises(E2CError, match=rf"The agent was trained where {name} was .*, and here it"):
        experiment.collect(ENV, 9, 3, 0, agent, 0.0)
    with pytest.raises(E2CError, match=rf"The agent was trained where {name} was .*, and here it"):
        experiment.evaluate(agent, 2, 0)


def test_an_agent_that_has_acted_before_collects_the_same(run: Path) -> None:
    """Collecting begins new episodes: a plan from before must not be carried into them."""
    agent = load_agent(run)
    fresh = experiment.collect(ENV, 10, 5, 3, agent, 0.1)
    assert experiment.collect(ENV, 10, 5, 3, agent, 0.1).content_hash == fresh.content_hash


def test_the_project_folder_stays_clean(run: Path) -> None:
    assert not (ROOT / "runs" / "tiny").exists()
    assert not (ROOT / "wandb").exists()


def test_the_shortest_plan_can_be_filmed(run: Path) -> None:
    """A horizon of one step: there is less to imagine than a film usually shows."""
    model, config, spec = checkpoint.load(run)
    agent = Agent(model, spec, dataclasses.replace(config.planner, horizon=1))
    start = envs.make(ENV).sample_starts(np.random.default_rng(0), 1)[0]
    film, milliseconds = experiment.film_episode(agent, start, "up")
    assert len(milliseconds) == STEPS
    assert len(list(film.imagined)) == STEPS
    for frame in itertools.islice(film_frames(film), 2):
        assert frame.dtype == np.uint8
