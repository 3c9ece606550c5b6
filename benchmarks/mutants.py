"""Broken inputs by the thousand: recipes, command lines, recordings, checkpoints, run folders.

A mutation takes a generator and a working folder with whole material in it (see `Material`), breaks
something, and returns the command line that meets it. What is signed by a hash is often signed
again, so that the checks behind the hash are reached too.
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from e2c.config import Config
from e2c.data import episodes as recorded
from e2c.data.episodes import Episodes
from e2c.evaluation.assessment import Outputs
from e2c.evaluation.disturbances import Disturbance
from e2c.files.tensors import digest
from e2c.models import checkpoint
from e2c.options import leaves

Rng = np.random.Generator
Mutation = Callable[[Rng, Path], list[str]]
CANARY = "canary"
"""What a payload would make beside the working folder, were it ever run."""
PAYLOAD = f"import os; os.mkdir('../{CANARY}')"

NUMBERS: list[Any] = [0, -1, 1, 0.0, -0.5, 1e-300, 1e300, 10**9, 2**63, 10**400, -(2**31)]
NUMBERS += [float("nan"), float("inf"), -float("inf")]
JUNK: list[Any] = [*NUMBERS, None, True, "", "many", "1e5", "\x00", "\ud800", "a\nb", "x" * 5000]
JUNK += [[], [[]], {}, [None], [1, "2"], [-1], [10**9] * 3, [1] * 3000, {"a": {"b": []}}, "../up"]


@dataclass(frozen=True)
class Material:
    """Names of the whole inputs in a working folder."""

    recipe: str = "recipe.yaml"
    """Recipe of a tiny run."""
    data: str = "data.npz"
    """Recorded episodes of its task."""
    run: str = "run"
    """Run folder that has ended."""
    begun: str = "begun"
    """Run folder of the same recipe, interrupted in its last phase."""


WHOLE = Material()


def pick(rng: Rng, things: list[Any]) -> Any:
    """Draw one of ``things``; unlike `Generator.choice`, whatever they are."""
    return things[int(rng.integers(len(things)))]


def junk(rng: Rng) -> Any:
    """Draw a value that hardly anything should be."""
    return copy.deepcopy(pick(rng, JUNK))


# ---------------------------------------------------------------------------------- plain values


def damage(rng: Rng, value: Any) -> Any:
    """Replace, remove, add or scale something in nested plain values; returns a changed copy."""
    changed = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        changed = _damage_once(rng, changed)
    return changed


def _damage_once(rng: Rng, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = pick(rng, list(value))
        change = rng.random()
        if change < 0.1:
            del value[key]
        elif change < 0.2:
            value[pick(rng, [f"{key}s", key.upper(), "", "a\nb", "x" * 999])] = junk(rng)
        else:
            value[key] = _damage_once(rng, value[key])
        return value
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = int(rng.integers(len(value)))
        value[place] = _damage_once(rng, value[place])
        return value
    if type(value) in (int, float) and abs(value) < 1e200 and rng.random() < 0.4:
        return value * pick(rng, [-1, 0.5, 3, 10, 10**6, 10**30])
    return junk(rng)


def damage_bytes(rng: Rng, content: bytes) -> bytes:
    """Flip bits, cut off, leave out, repeat or overwrite."""
    broken = bytearray(content or b"\0")
    change, place = rng.random(), int(rng.integers(len(broken)))
    span = slice(place, place + int(rng.integers(1, 64)))
    if change < 0.5:
        for at in rng.integers(len(broken), size=rng.integers(1, 5)):
            broken[at] ^= 1 << int(rng.integers(8))
    elif change < 0.7:
        del broken[place:]
    elif change < 0.8:
        del broken[span]
    elif change < 0.9:
        broken[place:place] = broken[span]
    else:
        broken[span] = rng.bytes(8)
    return bytes(broken)


def strange_file(rng: Rng, path: Path) -> None:
    """Put something at ``path`` that is none of the project's files."""
    kind = pick(
        rng, ["nothing", "empty", "folder", "pipe", "loop", "pickle", "text", "zip", "zeros"]
    )
    if path.exists():
        path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "zip":
        _zip(path, {"word/document.xml": b"<w/>", f"../{CANARY}": b"", "a.npz": b"PK\x03\x04"})
    elif kind != "nothing":
        path.write_bytes(
            {"pickle": trap(), "text": b"Dear reader,\n", "zeros": bytes(5000)}.get(kind, b"")
        )


def trap() -> bytes:
    """A pickle that makes the canary when it is read."""
    return pickle.dumps(_Trap())


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (PAYLOAD,)


def _zip(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


# --------------------------------------------------------------------------------- configurations

YAML_TRICKS = [
    f'seed: !!python/object/apply:exec ["{PAYLOAD}"]\n',
    f"seed: !!python/object/new:os.system [mkdir ../{CANARY}]\n",
    "seed: !!python/name:os.system\n",
    "seed: !unknown 3\n",
    "seed: !!binary aGVsbG8=\n",
    "seed: 2020-01-01\n",
    "seed: 0x10\nthreads: 1_0\n",
    "seed: 1\nseed: 2\n",
    "? [1, 2]\n: 3\n",
    "? {a: b}\n: 3\n",
    "1: 2\nnull: 3\n",
    "<<: 7\n",
    "config: &a {<<: *a}\n",
    "config: &a [*a]\n",
    "data: &a [*a]\n",
    "--- 1\n--- 2\n",
    "%YAML 9.9\n---\nseed: 1\n",
    "\tseed: 1\n",
    "'",
    "[" * 3000,
    "{a: " * 3000,
    "seed: " + "9" * 5000 + "\n",
    "seed: 1:2:3:4\n",
    "seed: .nan\n",
    "seed: !!bool maybe\n",
    "seed: !!int ''\n",
    "seed: !!timestamp x\n",
    "seed: 0x" + "f" * 9999 + "\n",
    "data: [" + "a, " * 3000 + "a]\n",
    "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9) if i else 'lol'}]\n" for i in range(12)),
    "x" * 40_000 + ": 1\n",
]


def configuration(rng: Rng, here: Path) -> list[str]:
    """A recipe with wrong values or keys, or whose text is no YAML, or more than that."""
    path = here / "mutant.yaml"
    text = (here / WHOLE.recipe).read_text()
    how = rng.random()
    if how < 0.6:
        path.write_text(yaml.safe_dump(damage(rng, yaml.safe_load(text)), allow_unicode=False))
    elif how < 0.75:
        path.write_bytes(damage_bytes(rng, text.encode()))
    elif how < 0.95:
        trick = pick(rng, YAML_TRICKS)
        path.write_text(pick(rng, [trick, text + trick, trick + text]))
    else:
        strange_file(rng, path)
    return ["train", "--config", path.name, "--out", "new"]


# ---------------------------------------------------------------------------------- command lines

OUTPUTS = ["new", "new.npz", "new.mp4", "new.json", "", ".", "run", "data.npz", "data.npz/x"]
OUTPUTS += ["deep/er/new.npz", "new\n.npz", "x" * 300 + ".npz", "\udcff.npz", "ü 🦊.npz", "-", "."]
INPUTS = ["run", "begun", "data.npz", "recipe.yaml", "none", "", ".", "..", "/", "/dev/zero"]
INPUTS += ["/dev/null", "/proc/self/mem", "run/run.json", "x" * 5000, "\udcff", "a\nb", "~", "pipe"]
GOALS = ["", "data.npz:0:1", "data.npz:9:1", "data.npz:0", "data.npz:x:-1", "none.npz:0:1", "::"]
GOALS += ["recipe.yaml", "goal.png", "goal.npy", "run", "data.npz:" + "9" * 30 + ":0", "\udcff"]
VALUES = ["0", "-1", "1", "2.5", "nan", "inf", "-inf", "1e400", "9" * 30, "9" * 5000, "1_0", "0x1"]
VALUES += [
    "",
    " ",
    "many",
    "None",
    "True",
    "False",
    "[]",
    "1 2",
    "٣",
    "²",
    "\udcff",
    "a\nb",
    "{}",
    "=",
]
DEVICES = ["cpu", "cuda", "cuda:99", "cpu:7", "meta", "mps", "xpu", "abacus", "", "cpu:-1", "0"]
TASKS = ["E2C/PendulumSwingUp-v0", "Pendulum-v1", "os:system", "E2C/", "a\nb", "\udcff", "E2C/x-v9"]


def _options(options: Any, values: list[str]) -> dict[str, list[str]]:
    """What may be given to the options that the fields of a configuration become."""
    return {f"--{name.replace('_', '-')}": values for name, _ in leaves(options)}


LINES: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "collect": (
        ["--out", "new.npz", "--transitions", "9", "--episode-length", "3"],
        {
            **dict.fromkeys(["--transitions", "--episode-length", "--seed"], VALUES),
            **{"--out": OUTPUTS, "--agent": INPUTS, "--env": TASKS, "--exploration": VALUES},
        },
    ),
    "train": (
        ["--config", WHOLE.recipe, "--out", "new"],
        {
            **_options(Config(), VALUES),
            **{"--seed": VALUES, "--threads": VALUES, "--device": DEVICES, "--env": TASKS},
            **{"--out": OUTPUTS, "--config": INPUTS, "--data": INPUTS, "--goal": GOALS},
            **{"--wandb": ["off", "on", ""], "--preset": ["paper", "x", ""]},
        },
    ),
    "evaluate": (
        [WHOLE.run, "--episodes", "1", "--oracle", "False"],
        {
            **_options(Outputs(), OUTPUTS),
            **_options(Disturbance(), VALUES),
            **dict.fromkeys(["--episodes", "--seed", "--threads", "--oracle"], VALUES),
            **{"--device": DEVICES, "--goal": GOALS, "--goal-state": VALUES},
            "--planner": ["ilqg", "cem", "mppi", "cme", "", "\udcff", "a\nb"],
        },
    ),
    "report": ([WHOLE.run, "--out", "new.html"], {"--out": [*OUTPUTS, "new.html"]}),
}
"""A right command line for every command; and what its options may be given instead."""


def command_line(rng: Rng, here: Path) -> list[str]:
    """A command line with wrong values, options, words, or too many or few of them."""
    name = pick(rng, list(LINES))
    right, options = LINES[name]
    words = list(right)
    os.mkfifo(here / "pipe")
    for _ in range(rng.integers(1, 4)):
        change, place = rng.random(), int(rng.integers(len(words) + 1))
        option = pick(rng, list(options))
        if change < 0.6:
            words += [option, pick(rng, options[option])]
        elif change < 0.7:
            words += [f"{option}={pick(rng, options[option])}"]
        elif change < 0.8:
            words[place : place + 1] = []
        elif change < 0.9:
            words.insert(place, pick(rng, [option[:-1], option, "--nothing", "-h", "--", "-x"]))
        else:
            words.insert(place, pick(rng, [*INPUTS[:8], *VALUES]))
    return [name, *words]


# ------------------------------------------------------------------------------------- recordings


def data_file(rng: Rng, here: Path) -> list[str]:
    """A file of episodes whose bytes, members, arrays or header are not what they should be."""
    path = here / WHOLE.data
    how = rng.random()
    if how < 0.3:
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
    elif how < 0.75:
        _resign_episodes(rng, path, *_damage_episodes(rng, recorded.load(path)))
    elif how < 0.95:
        break_archive(rng, path)
    else:
        strange_file(rng, path)
    return ["train", "--config", WHOLE.recipe, "--data", WHOLE.data, "--out", "new"]


def _damage_episodes(rng: Rng, episodes: Episodes) -> tuple[dict[str, NDArray[Any]], Any]:
    """Return arrays and provenance, one of them not as it was; some optional arrays are left out.

    A file without an optional array is whole.
    """
    arrays = {field.name: getattr(episodes, field.name) for field in fields(Episodes)}
    provenance = arrays.pop("provenance")
    for name in ("states", "rewards", "in_goal", "goals", "terminated"):
        if arrays[name] is None or rng.random() < 0.2:
            del arrays[name]
    if rng.random() < 0.3:
        return arrays, damage(rng, provenance)
    name = pick(rng, list(arrays))
    return {**arrays, name: damage_array(rng, arrays[name])}, provenance


def _resign_episodes(
    rng: Rng, path: Path, arrays: Mapping[str, NDArray[Any]], provenance: Any
) -> None:
    """Write a file of episodes with the hash of what is in it, whatever that is."""
    digest = Episodes(**arrays, provenance=provenance).content_hash
    schema = pick(rng, [recorded.SCHEMA] * 8 + [recorded.OLDER, "e2c-episodes-9"])
    header = {"schema": schema, "sha256": digest, "provenance": provenance}
    np.savez_compressed(path, allow_pickle=True, header=np.array(json.dumps(header)), **arrays)


def damage_array(rng: Rng, array: NDArray[Any]) -> NDArray[Any]:
    """Change the type, the shape, the order or some values of an array."""
    if array.dtype.kind == "f" and rng.random() < 0.4:
        changed = array.copy().reshape(-1)
        at = rng.integers(changed.size, size=rng.integers(1, 4))
        changed[at] = pick(rng, [np.nan, np.inf, -np.inf, 1e38])
        return changed.reshape(array.shape)
    changes: list[Callable[[], NDArray[Any]]] = [
        lambda: array[: rng.integers(len(array))],
        lambda: np.concatenate([array, array[:1]]),
        lambda: array[..., None],
        lambda: array.reshape(-1),
        lambda: array.astype(pick(rng, ["i1", "f2", "f8", ">f4", "?", "c8", "U3", "u8"])),
        lambda: array[..., :0],
        lambda: array[:0],
        lambda: np.asfortranarray(array),
        lambda: np.full_like(array, pick(rng, [0, 1, 100])),
        lambda: np.array([[None]], object),
    ]
    with np.errstate(all="ignore"):
        return pick(rng, changes)()


def break_archive(rng: Rng, path: Path) -> None:
    """Leave out, add, rename, repeat or overwrite members of an archive of arrays."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    place = int(rng.integers(len(members)))
    name, content = members[place]
    tricks: list[tuple[str, bytes]] = [
        (f"../{CANARY}", b""),
        (str(path.absolute().parent.parent / CANARY), content),
        ("more.npy", content),
        (name, damage_bytes(rng, content)),
        (name, trap()),
        (name, _member(np.array([_Trap()], object))),
        (name, _described("(" * int(rng.integers(1, 9999)))),
        (name, _described(f"__import__('os').mkdir('../{CANARY}')")),
        (name, _described(_shape(f"({pick(rng, [10**12, -1, 10**40])}, 48, 48)"))),
        (name, b"\x93NUMPY" + bytes([int(rng.integers(5)), 0]) + rng.bytes(20)),
        (
            name,
            _member(np.array(pick(rng, ["[" * 9999, "{", "null", '{"schema": NaN}', "9" * 9999]))),
        ),
    ]
    trick = pick(rng, tricks)
    kept = members if rng.random() < 0.3 else [*members[:place], *members[place + 1 :]]
    packing = pick(rng, [zipfile.ZIP_DEFLATED] * 3 + [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])
    with zipfile.ZipFile(path, "w", packing) as archive:
        for member, data in [*kept, trick] if rng.random() < 0.9 else kept:
            archive.writestr(zipfile.ZipInfo(member), data, packing)


def _member(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def _described(text: str) -> bytes:
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line


def _shape(text: str) -> str:
    return f"{{'descr': '|u1', 'fortran_order': False, 'shape': {text}, }}"


# ------------------------------------------------------------------------------------ checkpoints


def checkpoint_file(rng: Rng, here: Path) -> list[str]:
    """A checkpoint that is evaluated, or acts for a collection."""
    break_tensors(rng, here / WHOLE.run / checkpoint.NAME)
    line = ["evaluate", WHOLE.run, "--episodes", "1", "--oracle", "False", "--json", "new.json"]
    own = ["collect", "--agent", WHOLE.run, "--out", "new.npz", "--transitions", "4"]
    return pick(rng, [line, [*own, "--episode-length", "2"]])


def state_file(rng: Rng, here: Path) -> list[str]:
    """A run that was interrupted, with something wrong in its folder."""
    folder = here / WHOLE.begun
    name = pick(rng, ["state.safetensors"] * 6 + ["metrics.jsonl", "config.yaml", "data/first.npz"])
    path = folder / name
    if name == "state.safetensors":
        break_tensors(rng, path)
    elif rng.random() < 0.2:
        strange_file(rng, path)
    elif name.endswith(".npz"):
        break_archive(rng, path)
    else:
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
    return ["train", "--config", WHOLE.recipe, "--out", WHOLE.begun]


def break_tensors(rng: Rng, path: Path) -> None:
    """Break a file of `write_tensors`, and sign most of them again."""
    how = rng.random()
    if how < 0.2:
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
    elif how < 0.25:
        strange_file(rng, path)
    else:
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header, data = json.loads(content[8 : 8 + size]), bytearray(content[8 + size :])
        pick(rng, [_break_about] * 5 + [_break_entry] * 2 + [_break_metadata, _break_numbers])(
            rng, header, data
        )
        _sign(path, header, data, signed=rng.random() < 0.9)


def _break_about(rng: Rng, header: dict[str, Any], data: bytearray) -> None:
    """Damage the description that travels with the tensors."""
    about = damage(rng, json.loads(header["__metadata__"]["about"]))
    text = json.dumps(about)
    header["__metadata__"]["about"] = pick(rng, [text] * 9 + [text[:-1], "[" * 9999, "", "null"])


def _break_entry(rng: Rng, header: dict[str, Any], data: bytearray) -> None:
    """Damage what the header says of a tensor: type, shape, place, name."""
    name = pick(rng, [key for key in header if key != "__metadata__"])
    entry = header[name]
    changes: list[dict[str, Any]] = [
        {
            "dtype": pick(
                rng, ["F16", "F64", "BF16", "U8", "I64", "F4", "BOOL", "C64", "X", None, 7]
            )
        },
        {"shape": damage(rng, entry["shape"])},
        {"data_offsets": damage(rng, entry["data_offsets"])},
    ]
    del header[name]
    if rng.random() < 0.9:
        header[pick(rng, [name] * 8 + ["more", "a\nb", "\ud800", ""])] = entry | pick(rng, changes)


def _break_metadata(rng: Rng, header: dict[str, Any], data: bytearray) -> None:
    header["__metadata__"] = damage(rng, header["__metadata__"])


def _break_numbers(rng: Rng, header: dict[str, Any], data: bytearray) -> None:
    """Put numbers into the tensors that are not finite, or hardly."""
    number = pick(rng, [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0])
    for place in 4 * rng.integers(len(data) // 4, size=rng.integers(1, 400)):
        data[place : place + 4] = np.float32(number).tobytes()


def _sign(path: Path, header: dict[str, Any], data: bytearray, signed: bool) -> None:
    metadata = header.get("__metadata__")
    if signed and isinstance(metadata, dict) and metadata.pop("sha256", None) is not None:
        metadata["sha256"] = digest(header, [memoryview(data)])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


# ---------------------------------------------------------------------------------------- reports


def run_folder(rng: Rng, here: Path) -> list[str]:
    """A run folder of which the report has to make sense."""
    folder = here / WHOLE.run
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    numbers = [path for path in files if path.parent == folder and ".json" in path.suffix]
    path = pick(rng, files if rng.random() < 0.3 else [*numbers, folder / "episodes.npz"])
    how = rng.random()
    if how < 0.1:
        strange_file(rng, path)
    elif how < 0.8 and path.suffix == ".json":
        path.write_text(json.dumps(damage(rng, json.loads(path.read_text()))))
    elif how < 0.8 and path.suffix == ".jsonl":
        rows = [damage(rng, json.loads(row)) for row in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif how < 0.8 and path.suffix == ".npz":
        break_archive(rng, path)
    else:
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
    return ["report", WHOLE.run, "--out", "new.html"]


MUTATIONS: dict[str, Mutation] = {
    "configuration": configuration,
    "command line": command_line,
    "recording": data_file,
    "checkpoint": checkpoint_file,
    "interrupted run": state_file,
    "report": run_folder,
}
