"""The whole path on a small run: train, what it leaves behind, evaluate, film."""

import copy
import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from processes import STEPS, Script
from tiny import CONFIG, ENV, ROOT, leave_undrawn, shorten_runs, still_open, worlds_made

from e2c.commands import evaluate_command
from e2c.config import Config, EvaluationConfig, Recipe
from e2c.control.agent import Agent
from e2c.control.base import make_world
from e2c.data import episodes as dataset
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.evaluation import assessment, scores
from e2c.evaluation.assessment import Outputs, assess, assess_and_film
from e2c.evaluation.disturbances import Disturbance
from e2c.evaluation.watch import Sighting, watch
from e2c.files import meanwhile, runs
from e2c.learning import drawings, own
from e2c.learning import run as training_run
from e2c.learning.collect import collect_transitions, noisy
from e2c.learning.run import train
from e2c.learning.schedule import Phase
from e2c.learning.state import load_state
from e2c.learning.together import optimise
from e2c.models import checkpoint
from e2c.models.base import LatentModel
from e2c.models.e2c import E2C
from e2c.models.encoders import ENCODERS, MLPEncoder
from e2c.models.transitions import Transition
from e2c.options import from_dict
from e2c.report.film import Film, film_frames
from envs.pendulum import PendulumSwingUp

STILL = dataclasses.replace(
    CONFIG,
    data=dataclasses.replace(CONFIG.data, rounds=0),
    evaluation=EvaluationConfig(episodes=0),
)
"""Without own rounds and evaluation."""
PICTURES = {"losses", "open_loop_error", "latent_space", "reconstructions", "rollouts"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose task has short episodes; trained in this process, one own round."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        shorten_runs(patch, STEPS)
        train(Recipe(CONFIG, seed=3), folder)
    return folder


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures of a run, which take longer than such a run itself."""
    shorten_runs(monkeypatch, STEPS)
    monkeypatch.setattr(drawings, "draw", lambda *_: np.zeros(3))


# --------------------------------------------------------------------------------------- train


def test_the_run_folder_holds_all_that_made_it(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    assert about["seed"] == 3
    assert about["transitions"] == 50 + 2 * STEPS
    assert about["steps"] == 6 + 4
    assert about["skipped_steps"] == 0
    assert {"versions", "commit", "machine", "seconds"} <= about.keys()
    assert from_dict(about["config"], Config) == CONFIG
    assert runs.read_recipe(run / "config.yaml") == Recipe(CONFIG, seed=3)
    files = [run / "data" / "first.npz", run / "data" / "round_1.npz"]
    kept = [dataset.load(path) for path in files]
    assert [d["sha256"] for d in about["data"]] == [d.content_hash for d in kept]
    assert sorted(path.name for path in (run / "data").iterdir()) == [p.name for p in files]
    assert {path.stem for path in (run / "pictures").glob("*.png")} >= PICTURES
    assert not list(run.rglob("*.tmp*"))


@pytest.mark.parametrize("goal_state", [(), (0.3, 0.0)])
def test_every_world_is_closed_where_its_use_ends(
    goal_state: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_runs(monkeypatch, STEPS)
    leave_undrawn(monkeypatch)
    made = worlds_made(monkeypatch)
    train(Recipe(CONFIG, seed=3, goal_state=goal_state), tmp_path / "run")
    assert len(made) > 8
    assert still_open(made) == 0


def test_metrics_tell_of_every_phase(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    own = [row for row in rows if "round" in row]
    assert [row["step"] for row in losses] == [3.5, 8.5], "means over the steps of a row"
    assert [(row["round"], row["transitions"]) for row in own] == [(1, 50 + 2 * STEPS)]
    assert all(np.isfinite(list(row.values())).all() for row in rows)


@pytest.mark.usefixtures("no_pictures")
def test_own_rounds_go_on_at_their_own_rate_with_their_share_of_own_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a ramp of lambda and of the step size: these belong to the first phase."""
    begun = list[tuple[Phase, float, bool]]()

    def noted(trainers: Any, windows: Any, phase: Phase) -> Any:
        begun.append((phase, windows[0].starts.own_share, len(windows[0].starts.own) > 0))
        return optimise(trainers, windows, phase)

    monkeypatch.setattr(training_run, "optimise", noted)
    data = dataclasses.replace(CONFIG.data, own_share=0.4)
    train(Recipe(dataclasses.replace(STILL, data=data)), tmp_path)
    options = CONFIG.optimiser
    assert begun == [
        (Phase(options.steps, options.learning_rate, ramp=True), 0.4, False),
        (Phase(options.steps_per_round, options.learning_rate_own, ramp=False), 0.4, True),
    ]


@pytest.mark.usefixtures("no_pictures")
def test_a_last_step_that_is_skipped_loses_no_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()  # the first is the trial of the model

    honest = E2C.terms

    def terms(*arguments: Any) -> dict[str, torch.Tensor]:
        found = honest(*arguments)
        fault = torch.nan if next(calls) == 6 else 1.0
        return found | {"prediction": fault * found["prediction"]}

    monkeypatch.setattr(E2C, "terms", terms)
    train(Recipe(STILL, seed=3), tmp_path / "run")
    (row,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(row)["step"] == 3, "the mean of 1 to 5"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["skipped_steps"] == 1


@pytest.mark.usefixtures("no_pictures")
def test_very_little_data_still_has_a_spread(tmp_path: Path) -> None:
    """Two observations; of one there would be no variance, and no plan."""
    few = dataclasses.replace(STILL.data, transitions=1, episode_length=1)
    objective = dataclasses.replace(STILL.objective, horizon=1, targets=1)
    config = dataclasses.replace(STILL, data=few, objective=objective)
    run = train(Recipe(config, seed=3), tmp_path / "run")
    assert 0 < run.model.latent_variance < np.inf


class Dead(MLPEncoder):
    """An encoder that lets nothing of its images through."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return super().features(0 * images)


@pytest.mark.usefixtures("no_pictures")
def test_an_encoder_that_tells_nothing_apart_is_named_after_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every try; the files are those of a run that can go on."""
    monkeypatch.setitem(ENCODERS, "dead", Dead)
    blind = dataclasses.replace(STILL, model=dataclasses.replace(STILL.model, encoder="dead"))
    for _ in range(2):
        with pytest.raises(E2CError, match=r"^Dead encodes all 9 observations alike, so nothing"):
            train(Recipe(blind, seed=3), tmp_path / "run")
    assert load_state(tmp_path / "run") is not None
    assert (tmp_path / "run" / runs.CONFIG).exists()


def test_pictures_are_pictures(run: Path) -> None:
    for path in (run / "pictures").glob("*.png"):
        image = cv2.imread(str(path))
        assert image is not None
        assert image.std() > 1, f"{path.name} shows something"


def test_own_episodes_are_the_agents_and_start_hanging(run: Path) -> None:
    own = dataset.load(run / "data" / "round_1.npz")
    assert own.provenance["controller"] == "agent"
    assert own.lengths.tolist() == [STEPS, STEPS]
    assert own.states is not None
    first = own.states[[0, STEPS + 1]]
    assert (np.abs(first[:, 0] - np.pi) <= 0.1).all()
    assert (first[:, 1] == 0).all()


@pytest.mark.usefixtures("no_pictures")
def test_a_copy_whose_dynamics_have_learned_on_plays_own_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[Transition, int]] = []
    players: list[LatentModel] = []
    play = own.play

    def played(agent: Agent, *told: Any) -> dataset.Episodes:
        players.append(agent.model)
        return play(agent, *told)

    monkeypatch.setattr(own, "play", played)

    def learn(transition: Transition, _: object, steps: int, __: int) -> Transition:
        learned.append((copy.deepcopy(transition), steps))
        return learned[-1][0]

    monkeypatch.setattr(training_run, "learn_dynamics", learn)
    config = dataclasses.replace(STILL, data=dataclasses.replace(CONFIG.data, rounds=2))
    trained = train(Recipe(config, seed=3), tmp_path / "run")
    transitions, steps = zip(*learned, strict=True)
    assert steps == (2, 2, 3)
    assert [model.transition for model in (*players, trained.model)] == list(transitions)
    assert trained.trainer.model not in (*players, trained.model)


@pytest.mark.usefixtures("no_pictures")
def test_a_second_process_teaches_the_dynamics_what_this_one_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the sight is learned, which is then told how far these dynamics err."""
    here = train(Recipe(STILL, seed=3), tmp_path / "here").model
    monkeypatch.setattr(training_run, "WORTHWHILE", 1)
    monkeypatch.setattr(meanwhile, "cores", lambda: 2)
    there = train(Recipe(STILL, seed=3), tmp_path / "there").model
    for name, value in here.state_dict().items():
        assert there.state_dict()[name].equal(value), name


def test_the_goal_and_the_task_travel_with_the_weights(run: Path) -> None:
    model, config, spec = checkpoint.load(run)
    np.testing.assert_array_equal(model.goal.numpy(), PendulumSwingUp().goal_observation())
    assert config == CONFIG
    assert spec.observation_shape == (2, 48, 48)
    assert (spec.control_low, spec.control_high) == ((-2.0,), (2.0,))
    assert (spec.dt, spec.episode_steps) == (0.05, STEPS)
    assert model.latent_variance != 1, "it was measured"


WATCHED = """
import sys
from e2c.commands import train_command
try:
    train_command()
finally:
    assert "torch._dynamo" not in sys.modules, "torch's compiler takes a second to import"
"""


@pytest.mark.usefixtures("no_pictures")
def test_another_process_repeats_a_configuration_bit_for_bit(tmp_path: Path) -> None:
    here, repeated = tmp_path / "here", tmp_path / "repeated"
    train(Recipe(STILL, seed=3), here)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with torch.inference_mode():
            train(Recipe(STILL, seed=4), tmp_path / "other")
        assert torch.get_num_threads() == threads + 1, "whoever calls it goes on as before"
    finally:
        torch.set_num_threads(threads)
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    done = Script(str(script), "--config", str(here / runs.CONFIG), "--out", str(repeated)).wait()
    assert done.returncode == 0, done.stderr
    for name in (checkpoint.NAME, "data/first.npz"):
        same = (here / name).read_bytes()
        assert (repeated / name).read_bytes() == same
        assert (tmp_path / "other" / name).read_bytes() != same


def test_another_default_type_is_refused_before_anything_is_done(run: Path, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        for use in (lambda: load_agent(run), lambda: train(Recipe(STILL), tmp_path / "run")):
            with pytest.raises(
                E2CError, match=r"default type is torch.float64; .* call torch.set_d"
            ):
                use()
    finally:
        torch.set_default_dtype(torch.float32)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_dataset_stands_in_for_random_transitions(run: Path, tmp_path: Path) -> None:
    """One file and two files; what was given is what the run keeps."""
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for seed, path in enumerate(files):
        collect_transitions(ENV, 20 + 5 * seed, 5, seed).save(path)
    names = tuple(str(path) for path in files)
    one = train(Recipe(STILL, seed=3, data=names[:1]), tmp_path / "one")
    two = train(Recipe(STILL, seed=3, data=names), tmp_path / "two")
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


def test_evaluating_by_command_writes_results_and_film(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, film = tmp_path / "deep" / "results.json", tmp_path / "film" / "up.mp4"
    options = ["--episodes", "3", "--seed", "7", "--json", str(results), "--video", str(film)]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(run), *options])
    with pytest.raises(SystemExit) as ended:
        evaluate_command()
    told = capsys.readouterr()
    assert ended.value.code == 0, told.err
    assert "\x1b" not in told.err
    found = json.loads(results.read_text())
    assert found.keys() >= KEYS
    assert len(found["episodes"]) == 3
    for row in found["episodes"]:
        assert row.keys() >= {"start", "success", "time_in_goal"}
    assert found["plan_ms_p99"] >= found["plan_ms_median"] > 0
    for line in scores.told(found):
        assert f"{line}\n" in told.out
    starts = PendulumSwingUp().sample_starts(np.random.default_rng(7), 3)
    assert [row["start"] for row in found["episodes"]] == starts.tolist()
    reader = cv2.VideoCapture(str(film))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) >= STEPS
    assert sorted(path.name for path in film.parent.iterdir()) == ["up.mp4"]


@pytest.mark.parametrize("disturbance", [Disturbance(), Disturbance(frame_noise=25.0)])
def test_the_film_shows_the_world_as_it_was_disturbed(
    run: Path, monkeypatch: pytest.MonkeyPatch, disturbance: Disturbance
) -> None:
    filmed: list[Film] = []

    def kept(*asked: Any) -> Sighting:
        filmed.append((sighting := watch(*asked)).film)
        return sighting

    monkeypatch.setattr(assessment, "watch", kept)
    assess_and_film(load_agent(run), 1, 7, disturbance, False, Outputs())
    (film,) = filmed
    grey = (film.observations > 0) & (film.observations < 25)
    assert bool(grey.mean() > 0.2) == bool(disturbance.frame_noise)


def test_evaluating_again_gives_the_same_results(run: Path) -> None:
    one, again, other = (assess(load_agent(run), 3, seed, oracle=False) for seed in (7, 7, 8))
    assert one.results | {"seconds": 0} == again.results | {"seconds": 0}
    np.testing.assert_array_equal(one.agent.episodes.actions, again.agent.episodes.actions)
    assert (one.agent.episodes.actions != other.agent.episodes.actions).any()
    assert not any(key.startswith("oracle") for key in one.results)
    assert one.oracle is None


def test_results_are_those_of_the_loop_written_by_hand(run: Path) -> None:
    """The agent sees frames alone, and the world is the task's own."""
    agent = load_agent(run)
    played = assess(agent, 2, 7, oracle=False).agent.episodes
    world = make_world(ENV, 2)
    observations, infos = world.reset(seed=7)
    agent.reset(infos["goal"])
    states, newest = [infos["state"]], [observations[:, 0], observations[:, 1]]
    for _ in range(STEPS):
        observations, _, _, _, infos = world.step(agent.act(observations))
        states.append(infos["state"])
        newest.append(observations[:, 1])
    assert played.states is not None
    np.testing.assert_array_equal(played.states, np.stack(states, 1).reshape(-1, 2))
    np.testing.assert_array_equal(played.frames, np.stack(newest, 1).reshape(-1, 48, 48))


def test_exploration_is_a_share_of_the_limits(run: Path) -> None:
    class Still:
        spec = checkpoint.load(run)[2]

        def reset(self, goals: Any) -> None:
            np.testing.assert_array_equal(goals, "the goals")

        def act(self, observations: Any) -> Any:
            return np.zeros((len(observations), 1), np.float32)

    explorer = noisy(Still(), 0.25, np.random.default_rng(0))  # type: ignore[arg-type]
    explorer.reset("the goals")  # type: ignore[arg-type]
    drawn = np.asarray(explorer.act(np.zeros((4000, 2, 48, 48), np.uint8)))
    assert drawn.std() == pytest.approx(0.5, rel=0.05)


# ------------------------------------------------------------------------------------- collect


def test_collecting_rounds_up_to_whole_episodes() -> None:
    data = collect_transitions(ENV, 41, 20, 3)
    assert data.lengths.tolist() == [20, 20, 20]
    again, other = (collect_transitions(ENV, 41, 20, s) for s in (3, 4))
    assert data.content_hash == again.content_hash != other.content_hash
    assert data.provenance["seed"] == 3
    assert data.provenance["controller"] == "random"


def test_an_agent_may_collect(run: Path) -> None:
    agent = load_agent(run)
    data = collect_transitions(ENV, 10, 5, 3, agent, 0.1)
    assert data.provenance["controller"] == "agent"
    agent.reset()
    again = collect_transitions(ENV, 10, 5, 3, agent, 0.1)
    assert data.content_hash == again.content_hash


@pytest.mark.parametrize(
    ("name", "value"), [("dt", 0.1), ("control_high", (7.0,)), ("observation_shape", (2, 48, 46))]
)
def test_an_agent_of_another_task_is_refused(run: Path, name: str, value: Any) -> None:
    agent = load_agent(run)
    agent.spec = dataclasses.replace(agent.spec, **{name: value})
    with pytest.raises(E2CError, match=rf"The agent was trained where {name} was .*, and here it"):
        collect_transitions(ENV, 9, 3, 0, agent, 0.0)
    with pytest.raises(E2CError, match=rf"The agent was trained where {name} was .*, and here it"):
        assess(agent, 2, 0)


def test_an_agent_that_has_acted_before_collects_the_same(run: Path) -> None:
    """Collecting begins new episodes: a plan from before must not be carried into them."""
    agent = load_agent(run)
    fresh = collect_transitions(ENV, 10, 5, 3, agent, 0.1)
    assert collect_transitions(ENV, 10, 5, 3, agent, 0.1).content_hash == fresh.content_hash


def test_the_project_folder_stays_clean(run: Path) -> None:
    assert not (ROOT / "runs" / "tiny").exists()
    assert not (ROOT / "wandb").exists()


def test_the_shortest_plan_can_be_filmed(run: Path) -> None:
    """A horizon of one step: there is less to imagine than a film usually shows."""
    model, config, spec = checkpoint.load(run)
    agent = Agent(model, spec, dataclasses.replace(config.planner, horizon=1))
    sighting = watch(agent, make_world(ENV, 1), 0, "up", None)
    assert len(sighting.milliseconds) == STEPS
    assert len(sighting.film.imagined) == STEPS
    film = sighting.film
    for frame in itertools.islice(film_frames(film), 2):
        assert frame.dtype == np.uint8
