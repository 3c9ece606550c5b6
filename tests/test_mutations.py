"""Broken inputs end in a sentence; and what looks for those that do not, finds them."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import leave_undrawn

from benchmarks import mutants, mutations
from benchmarks.mutations import Case, run_here
from e2c import commands
from e2c.config import Recipe, check_recipe
from e2c.errors import E2CError
from e2c.options import from_dict, leaves, to_dict

COUNT = 150


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "material"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        mutations.make_material(folder)
    return folder


@pytest.fixture(scope="module")
def cases(material: Path) -> list[Case]:
    """One in every kind after the other, as the benchmark runs ten thousand."""
    return list(mutations.cases(material, 7, range(COUNT), apart=1))


@pytest.fixture
def nothing_long() -> Iterator[None]:
    with mutations.nothing_long():
        yield


def test_no_broken_input_ends_as_none_may(cases: list[Case]) -> None:
    assert len(cases) == COUNT + 1
    assert {case.kind for case in cases} >= mutants.MUTATIONS.keys()
    assert [case for case in cases if not case.outcome.sound] == []


def test_most_mutations_are_seen_and_for_many_reasons(cases: list[Case]) -> None:
    """A mutation that changes nothing, or always fails at the first check, proves nothing.

    Paths are no reasons, and a long one would leave no place for the reason behind it.
    """
    for kind in mutants.MUTATIONS:
        told = [case.outcome.told for case in cases if case.kind == kind]
        refused = [text for text in told if text.startswith("e2c: ")]
        assert len(refused) > 0.15 * len(told), kind
        reasons = {re.sub(r"/\S+", "", text)[5:80] for text in refused}
        assert len(reasons) > 4, kind


def test_the_same_number_is_the_same_mutation(material: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = material.with_name(name)
        kinds = [mutations.mutate(3, number, material, folder)[1] for number in range(30)]
        made.append((kinds, (folder / "recipe.yaml").read_bytes()))
    assert made[0] == made[1]


WHOLE = {
    "collect --out new.npz --transitions 9 --episode-length 3": "done",
    "collect --out new.npz --transitions 4 --agent run": "done",
    "train --config recipe.yaml --out new --data data.npz": "accepted",
    "train --config recipe.yaml --out begun": "accepted",
    "evaluate run --episodes 1 --oracle False --json new.json": "done",
    "report run --out new.html": "done",
    "collect --out new.npz --transitions 99999": "accepted",
    "train --config recipe.yaml --out new --optimiser.steps 99999": "accepted",
    "train --config recipe.yaml --out new --data.transitions 99999": "accepted",
}
"""Right command lines; where long work would begin, they are stopped."""


@pytest.mark.parametrize("line", WHOLE)
@pytest.mark.usefixtures("nothing_long")
def test_whole_inputs_are_accepted(material: Path, line: str) -> None:
    folder = material.with_name("case")
    mutations.mutate(0, 0, material, folder)
    assert run_here(line.split(), folder).verdict == WHOLE[line]


class UnforeseenError(Exception):
    """What no command expects."""


def fail(*_: Any) -> NoReturn:
    raise UnforeseenError


def wait(*_: Any) -> None:
    time.sleep(9)


def make_canary(*_: Any) -> None:
    os.mkdir(f"../{mutants.CANARY}")


def write_beside(*_: Any) -> None:
    Path("../stray").touch()


def exit_with(status: int) -> Callable[..., NoReturn]:
    return lambda *_: sys.exit(status)


def refuse_after(line: str) -> Callable[..., NoReturn]:
    """Tell one more line than the refusal."""

    def tell(*_: Any) -> NoReturn:
        print(line, file=sys.stderr)
        raise E2CError("No.")

    return tell


FAULTS = {
    "traceback: UnforeseenError": fail,
    "hang": wait,
    "code was run": make_canary,
    "a file beside the folder": write_beside,
    "status 3": exit_with(3),
    "an unexplained refusal": exit_with(2),
    "a refusal of several lines": refuse_after("e2c: No, no."),
    "a refusal that shows its insides": refuse_after("RuntimeWarning: overflow"),
}


@pytest.mark.parametrize("verdict", FAULTS)
def test_every_fault_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str
) -> None:
    (tmp_path / "case").mkdir()
    monkeypatch.setattr(mutations, "SECONDS", 0.3)
    monkeypatch.setattr(commands, "collect", FAULTS[verdict])
    outcome = run_here(["collect", "--out", "new.npz"], tmp_path / "case")
    assert outcome.verdict == verdict
    assert not outcome.sound


def test_processes_of_their_own_say_the_same(cases: list[Case]) -> None:
    apart = [case for case in cases if case.kind.endswith(", apart")]
    assert len(apart) == 1
    assert apart[0].outcome.verdict in ("sentence", "usage")


def test_the_table_counts() -> None:
    outcomes = {"recording: done": 3, "report: sentence": 14}
    rows = [row.split() for row in mutations.table(outcomes).splitlines()]
    assert rows == [["done", "sentence"], ["recording", "3", "0"], ["report", "0", "14"]]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(PLAIN, inner))
NAMES = [name for name, _ in leaves(Recipe())]


def with_leaf(name: str, value: Any) -> Any:
    """A recipe's plain values, one of them another."""
    values = inner = to_dict(Recipe())
    *sections, last = name.split(".")
    for section in sections:
        inner = inner[section]
    inner[last] = value
    return values


@given(NESTED | st.builds(with_leaf, st.sampled_from(NAMES), NESTED))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_values_are_a_recipe_or_are_refused_in_a_line(values: Any) -> None:
    try:
        recipe = check_recipe(from_dict(values, Recipe))
    except E2CError as error:
        told = str(error)
    else:
        told = str(from_dict(to_dict(recipe), Recipe) == recipe)
    assert "\n" not in told
    assert told != "False"
    assert len(told) < 1000
