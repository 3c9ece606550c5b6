"""The rules of the house: who may know whom, what libraries must not do, how long is too long."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import python
from tiny import ROOT

PACKAGES = ("e2c", "envs", "planners")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in FILES}

SHARED = set(sys.stdlib_module_names) | {"numpy"}
MAY_IMPORT = {
    "planners": SHARED | {"torch", "planners", "numba", "llvmlite"},
    "envs": SHARED | {"gymnasium", "mujoco", "cv2", "envs"},
    "e2c": SHARED | {"torch", "e2c"},
}
"""What every module of a package may import."""
WORDS = {"envs.quantity", "envs.images"}
"""Modules that everybody may use: they say what things are, and do nothing."""
BESIDES = {
    "e2c/control/": {"envs", "planners", "gymnasium"},
    "e2c/learning/": {"envs"},
    "e2c/evaluation/": {"envs", "gymnasium"},
    "e2c/data/formats.py": {"envs"},
    "e2c/data/minari.py": {"gymnasium", "minari"},
    "e2c/data/takes.py": {"av"},
    "e2c/config.py": {"envs"},
    "e2c/commands.py": {"envs", "tyro"},
    "e2c/sweep/command.py": {"tyro"},
    "e2c/control/agent.py": {"tyro"},
    "e2c/control/goals.py": {"cv2"},
    "e2c/control/belief_kernels.py": {"numba"},
    "e2c/models/kernels.py": {"numba", "llvmlite", "planners"},
    "e2c/models/carry_kernels.py": {"numba", "planners"},
    "e2c/models/pixel_kernels.py": {"numba", "planners"},
    "e2c/models/read_kernels.py": {"numba", "planners"},
    "e2c/data/camera_kernels.py": {"numba", "planners"},
    "e2c/learning/drawings.py": {"matplotlib"},
    "e2c/files/tensors.py": {"safetensors"},
    "e2c/files/runs.py": {"yaml"},
    "e2c/files/wandb_process.py": {"wandb"},
    "e2c/report/": {"av", "cv2", "jinja2", "markupsafe", "matplotlib", "mpl_toolkits"},
}
"""What single modules, or all of a package, may import besides."""
DOORS = ("train.py", "evaluate.py", "e2c/report/__main__.py")
"""What a user runs: nothing but a call of the outermost layer."""
OUTERMOST = (*DOORS, "e2c/sweep/command.py")
"""Who may import the command lines: a sweep reads the options of training as training does."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def imports(tree: ast.AST) -> set[str]:
    """Full names of the modules that a file imports, wherever in it; ``from a import b`` as a.b."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def besides(name: str) -> set[str]:
    """What a module may import beside what its package may."""
    return set().union(*(more for place, more in BESIDES.items() if name.startswith(place)))


def modules_of(name: str) -> set[str]:
    """The project's modules that a file imports, as paths."""
    found: set[str] = set()
    for imported in imports(TREES[name]):
        for dotted in (imported, imported.rpartition(".")[0]):  # a module, or a name in one
            stem = dotted.replace(".", "/")
            there = [path for path in (f"{stem}.py", f"{stem}/__init__.py") if path in TREES]
            if there:
                found.add(there[0])
                break
    return found


@pytest.mark.parametrize("name", TREES)
def test_a_module_knows_only_whom_it_may(name: str) -> None:
    allowed = MAY_IMPORT[name.split("/")[0]] | besides(name)
    met = {
        module.split(".")[0]
        for module in imports(TREES[name])
        if module.rsplit(".", 1)[0] not in WORDS
    }
    assert not met - allowed, f"{name} imports {sorted(met - allowed)}"


def test_there_is_no_circle_of_imports() -> None:
    known = {name: modules_of(name) for name in TREES}
    while free := {name for name, others in known.items() if not others & known.keys() - {name}}:
        known = {name: others for name, others in known.items() if name not in free}
    assert not known, f"these import one another: {sorted(known)}"


@pytest.mark.parametrize("name", [name for name in TREES if name.startswith("e2c/")])
def test_only_the_doors_import_the_command_lines(name: str) -> None:
    if "e2c/commands.py" in modules_of(name):
        assert name in OUTERMOST, f"{name} imports the outermost layer"


@pytest.mark.parametrize("name", TREES)
def test_no_file_is_longer_than_400_lines(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= 400


def test_the_hall_is_small() -> None:
    """What stands directly in ``e2c/`` is found at a glance."""
    assert len([path for path in (ROOT / "e2c").iterdir() if path.is_file()]) <= 8


@pytest.mark.parametrize("door", DOORS)
def test_the_doors_are_one_import_and_one_call(door: str) -> None:
    tree = ast.parse((ROOT / door).read_text())
    assert ast.get_docstring(tree)
    assert {module.rsplit(".", 1)[0] for module in imports(tree)} == {"e2c.commands"}
    assert sum(isinstance(node, ast.Call) for node in ast.walk(tree)) == 1


@pytest.mark.parametrize("name", [name for name in TREES if not name.startswith("e2c/")])
def test_libraries_do_not_print_or_exit(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "exit", "quit", "sys.exit", "os._exit"), node.lineno


TELLERS = {"e2c/commands.py", "e2c/sweep/command.py", "e2c/errors.py", "e2c/files/tracking.py"}


@pytest.mark.parametrize("name", [name for name in TREES if name.startswith("e2c/")])
def test_only_the_outermost_layer_prints_or_exits(name: str) -> None:
    calls = [ast.unparse(n.func) for n in ast.walk(TREES[name]) if isinstance(n, ast.Call)]
    if name not in TELLERS:
        assert not {"print", "sys.exit", "exit", "os._exit"} & set(calls)
    if name != "e2c/errors.py":
        assert "sys.exit" not in calls


@pytest.mark.parametrize("name", TREES)
def test_no_function_is_longer_than_60_lines(name: str) -> None:
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(TREES[name])}
    assert {function: n for function, n in lengths.items() if n > 60} == {}


def test_the_median_function_is_short() -> None:
    lengths = [
        (f.end_lineno or 0) - f.lineno + 1 for tree in TREES.values() for f in functions(tree)
    ]
    assert sorted(lengths)[len(lengths) // 2] <= 15


def undocumented(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    """Public functions, classes and methods without a docstring."""
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        overload = any(ast.unparse(d).endswith(".setter") for d in node.decorator_list)
        if ast.get_docstring(node) is None and not overload:
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{prefix}{node.name}.")


@pytest.mark.parametrize("name", TREES)
def test_everything_public_has_a_docstring(name: str) -> None:
    assert ast.get_docstring(TREES[name]), "the module itself"
    assert list(undocumented(TREES[name].body, "")) == []


@pytest.mark.parametrize("name", TREES)
def test_no_squeeze_without_a_dimension(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".squeeze", "squeeze_")):
            on_module = ast.unparse(node.func) in ("np.squeeze", "torch.squeeze")
            given = len(node.args) + len(node.keywords) - on_module
            assert given >= 1, f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", TREES)
def test_nothing_is_seeded_or_set_at_import(name: str) -> None:
    """Seeding, default dtypes and threads are called in functions alone, and rarely there."""
    forbidden = re.compile(r"set_default_dtype|np\.random\.seed|random\.seed|seed_all|use\(")
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call):
            assert not forbidden.fullmatch(ast.unparse(node.func)), f"{name}:{node.lineno}"


def test_every_exception_in_the_tables_is_used() -> None:
    for place, more in BESIDES.items():
        inside = [tree for name, tree in TREES.items() if name.startswith(place)]
        met = {module.split(".")[0] for tree in inside for module in imports(tree)}
        assert more <= met, place


def test_importing_changes_nothing_global() -> None:
    program = """
import random, sys
import numpy as np, torch, gymnasium
random.seed(1); np.random.seed(1); torch.manual_seed(1)
def state():
    numpy_state = np.random.get_state()
    return (torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2:],
            random.getstate(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
            np.get_printoptions(), np.geterr(), torch.get_default_device())
before = state()
import e2c, e2c.commands, envs, planners
assert state() == before
slow = {"wandb", "matplotlib", "av", "numba"} & set(sys.modules)
assert not slow, f"{slow}: they are imported where something is told, drawn or planned"
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_tests_are_called_by_what_they_prove() -> None:
    """No two tests of one file share a name: the first would never run."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        names = [
            node.name
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, Function)
        ]
        assert len(names) == len(set(names)), path.name
