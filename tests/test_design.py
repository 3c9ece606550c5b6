"""The rules of the house: who may know whom, what libraries must not do, how long is too long."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from processes import python
from tiny import ROOT

PACKAGES = ("e2c", "envs", "planners")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

SHARED = set(sys.stdlib_module_names) | {"numpy"}
MAY_IMPORT = {
    "planners": SHARED | {"torch", "planners", "numba", "llvmlite"},
    "envs": SHARED | {"gymnasium", "mujoco", "cv2", "envs"},
    "e2c": SHARED | {"torch", "e2c"},
}
"""What every module of a package may import."""
WORDS = {"envs.quantity", "envs.images", "planners.names"}
"""Modules that everybody may use: they say what things are, and do nothing."""
BESIDES = {
    "e2c/control/": {"envs", "planners", "gymnasium"},
    "e2c/learning/": {"envs"},
    "e2c/lecture/": {"planners"},
    "e2c/lecture/notebook.py": {"matplotlib"},
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
    "e2c/files/own_modules.py": {"tyro", "envs"},
    "e2c/files/tensors.py": {"safetensors"},
    "e2c/files/runs.py": {"yaml"},
    "e2c/files/wandb_process.py": {"wandb"},
    "e2c/report/": {"av", "cv2", "jinja2", "markupsafe", "matplotlib", "mpl_toolkits"},
}
"""What single modules, or all of a package, may import besides."""
DOORS = ("train.py", "evaluate.py", "e2c/report/__main__.py")
"""What a user runs: nothing but a call of the outermost layer."""
OUTERMOST = {*DOORS, "e2c/sweep/command.py"}
"""Who may import the command lines: a sweep reads the options of training as training does."""
ENTRANCES = {"e2c/__init__.py", "e2c/commands.py", "e2c/sweep/command.py", DOORS[-1]}
"""Where a user comes in, by Python or by a command."""
LECTURE = "e2c/lecture/"
"""What only the lecture's pages, and benchmarks, use."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> dict[str, ast.Module]:
    """Every file of the packages, parsed."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in FILES}


@cache
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
    for imported in imports(trees()[name]):
        for dotted in (imported, imported.rpartition(".")[0]):  # a module, or a name in one
            stem = dotted.replace(".", "/")
            there = [path for path in (f"{stem}.py", f"{stem}/__init__.py") if path in trees()]
            if there:
                found.add(there[0])
                break
    return found


def test_a_module_knows_only_whom_it_may() -> None:
    met = {
        (name, module)
        for name, tree in trees().items()
        for module in imports(tree)
        if module.rsplit(".", 1)[0] not in WORDS
        if module.split(".")[0] not in MAY_IMPORT[name.split("/")[0]] | besides(name)
    }
    assert met == set()


def test_there_is_no_circle_of_imports() -> None:
    known = {name: modules_of(name) for name in trees()}
    while free := {name for name, others in known.items() if not others & known.keys() - {name}}:
        known = {name: others for name, others in known.items() if name not in free}
    assert not known, f"these import one another: {sorted(known)}"


def named(tree: ast.AST) -> Iterator[str]:
    """The project's modules that a file names in a string, such as ``envs.native:TaskEnv``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            stem = node.value.partition(":")[0].replace(".", "/")
            yield from {f"{stem}.py", f"{stem}/__init__.py"} & trees().keys()


def test_all_but_the_lecture_is_reached_from_the_entrances() -> None:
    reached, new = set[str](), ENTRANCES
    while new := new - reached:
        reached |= new
        packages = {str(parent / "__init__.py") for name in new for parent in Path(name).parents}
        found = [modules_of(name) | set(named(trees()[name])) for name in new]
        new = packages & trees().keys() | set().union(*found)
    assert trees().keys() - reached == {name for name in trees() if name.startswith(LECTURE)}


def test_only_the_doors_import_the_command_lines() -> None:
    ours = {name for name in trees() if name.startswith("e2c/")}
    assert {name for name in ours if "e2c/commands.py" in modules_of(name)} <= OUTERMOST


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {name: len((ROOT / name).read_text("utf-8").splitlines()) for name in trees()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_the_hall_is_small() -> None:
    """What stands directly in ``e2c/`` is found at a glance."""
    assert len([path for path in (ROOT / "e2c").iterdir() if path.is_file()]) <= 8


@pytest.mark.parametrize("door", DOORS)
def test_the_doors_are_one_import_and_one_call(door: str) -> None:
    tree = ast.parse((ROOT / door).read_text())
    assert ast.get_docstring(tree)
    assert {module.rsplit(".", 1)[0] for module in imports(tree)} == {"e2c.commands"}
    assert sum(isinstance(node, ast.Call) for node in ast.walk(tree)) == 1


@cache
def calls() -> list[tuple[str, ast.Call, str]]:
    """The calls in all files: where, which, and what is called."""
    return [
        (name, node, ast.unparse(node.func))
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]


ENDS = ("print", "exit", "quit", "sys.exit", "os._exit")


def test_libraries_do_not_print_or_exit() -> None:
    met = [(name, node.lineno) for name, node, called in calls() if called in ENDS]
    assert [place for place in met if not place[0].startswith("e2c/")] == []


TELLERS = {"e2c/commands.py", "e2c/sweep/command.py", "e2c/errors.py", "e2c/files/tracking.py"}


def test_only_the_outermost_layer_prints_or_exits() -> None:
    met = [(name, called) for name, _, called in calls() if called in ENDS]
    assert {name for name, _ in met if name.startswith("e2c/")} <= TELLERS
    assert {name for name, called in met if called == "sys.exit"} == {"e2c/errors.py"}


def test_functions_are_short() -> None:
    lengths = {
        (name, f.name): (f.end_lineno or 0) - f.lineno + 1
        for name, tree in trees().items()
        for f in functions(tree)
    }
    assert {place: length for place, length in lengths.items() if length > 60} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 15


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


def test_everything_public_has_a_docstring() -> None:
    assert [name for name, tree in trees().items() if not ast.get_docstring(tree)] == []
    missing = {name: list(undocumented(tree.body, "")) for name, tree in trees().items()}
    assert {name: where for name, where in missing.items() if where} == {}


ARRAYS = {"Tensor", "NDArray", "ndarray"}
"""Annotations of what has no single truth value when it is compared."""


def named_in(annotation: ast.AST) -> set[str]:
    """Names in an annotation, but for those of what a function takes and returns."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Callable":
        return set()
    inner = (named_in(node) for node in ast.iter_child_nodes(annotation))
    name = getattr(annotation, "attr", getattr(annotation, "id", None))
    return set().union(*inner, {name} if name else set())


def fields_named(node: ast.ClassDef) -> set[str]:
    """Names in the annotations of a class, and of its bases."""
    fields = [item.annotation for item in node.body if isinstance(item, ast.AnnAssign)]
    return set().union(*map(named_in, (*fields, *node.bases)))


def dataclass_call(node: ast.ClassDef) -> str | None:
    """The decorator that makes a class a dataclass, as it is written."""
    written = (ast.unparse(decorator) for decorator in node.decorator_list)
    return next((text for text in written if re.match(r"(dataclasses\.)?dataclass\b", text)), None)


def tuple_or_alias(node: ast.stmt) -> tuple[str, set[str]]:
    """Name of a named tuple or of an alias of types, and the names of what is in it."""
    if isinstance(node, ast.ClassDef) and "NamedTuple" in map(ast.unparse, node.bases):
        return node.name, fields_named(node)
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
        return ast.unparse(node.targets[0]), named_in(node.value)
    return "", set()


def holders_of_arrays() -> set[str]:
    """What stands for an array, or for a tuple with one in it."""
    inside = [tuple_or_alias(node) for tree in trees().values() for node in tree.body]
    found = ARRAYS
    while more := {name for name, names in inside if names & found} - found:
        found |= more
    return found


def test_dataclasses_that_hold_arrays_are_compared_by_identity() -> None:
    """``==`` between two of them would ask an array for its truth value, and raise."""
    holders = holders_of_arrays()
    classes = [
        (f"{name}: {node.name}", node)
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and dataclass_call(node)
    ]
    holding = {node.name for _, node in classes if fields_named(node) & holders}
    met = {
        place: dataclass_call(node)
        for place, node in classes
        if fields_named(node) & holders or {ast.unparse(base) for base in node.bases} & holding
    }
    assert len(met) > 10
    assert {place: call for place, call in met.items() if "eq=False" not in str(call)} == {}


def test_no_squeeze_without_a_dimension() -> None:
    met = [
        (name, node.lineno)
        for name, node, called in calls()
        if called.endswith((".squeeze", "squeeze_"))
        and len(node.args) + len(node.keywords) - (called in ("np.squeeze", "torch.squeeze")) < 1
    ]
    assert met == []


def test_nothing_is_seeded_or_set_for_all() -> None:
    everywhere = {"torch.set_default_dtype", "torch.set_default_device"}
    everywhere |= {"np.random.seed", "random.seed", "matplotlib.use"}
    assert [(name, node.lineno) for name, node, called in calls() if called in everywhere] == []


def test_every_exception_in_the_tables_is_used() -> None:
    for place, more in BESIDES.items():
        inside = [tree for name, tree in trees().items() if name.startswith(place)]
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
