"""Checkpoints: a whole one acts as before, and any other is refused in a sentence."""

import dataclasses
import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import python
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import CONFIG, MODEL, ONE_CONTROL, SPEC, images, tiny_model

from e2c.config import Config
from e2c.control.agent import Agent
from e2c.door import load_agent
from e2c.errors import E2CError
from e2c.files.tensors import MAX_BYTES, MAX_HEADER, digest, split
from e2c.models import checkpoint

TINY = dataclasses.replace(CONFIG, model=MODEL)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a checkpoint in it."""
    model = tiny_model(seed=3)
    model.measure(images(9))
    checkpoint.save(tmp_path / checkpoint.NAME, model, TINY, SPEC)
    return tmp_path


def refusal(run: Path) -> str:
    with pytest.raises(E2CError) as caught:
        checkpoint.load(run)
    message = str(caught.value)
    assert str(run) in message
    assert "\n" not in message
    return message


def rewrite(run: Path, edit: Any) -> None:
    """Edit the tensors and metadata of a checkpoint and give it the right hash again."""
    path = run / checkpoint.NAME
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    edit(tensors, metadata)
    save_file(tensors, path, metadata or None)
    sign(path)


def sign(path: Path) -> None:
    """Give a safetensors file the hash of its contents."""
    header, data = split(path.read_bytes())
    header["__metadata__"].pop("sha256", None)
    header["__metadata__"]["sha256"] = digest(header, [data])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def edited_about(run: Path, edit: Any) -> None:
    def change(_: Any, metadata: dict[str, str]) -> None:
        about = json.loads(metadata["about"])
        edit(about)
        metadata["about"] = json.dumps(about)

    rewrite(run, change)


@pytest.mark.parametrize("spec", [SPEC, ONE_CONTROL], ids=["m=2", "m=1"])
def test_a_checkpoint_gives_back_the_same_actions(tmp_path: Path, spec: Any) -> None:
    model = tiny_model(spec=spec, seed=3)
    model.measure(images(9))
    checkpoint.save(tmp_path / checkpoint.NAME, model, TINY, spec)
    found, config, found_spec = checkpoint.load(tmp_path)
    assert config == TINY
    assert found_spec == spec
    assert not found.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    one, other = Agent(model, spec, TINY.planner), load_agent(str(tmp_path))
    for x in images(3):
        np.testing.assert_array_equal(one.act(x), other.act(x))


def test_loading_leaves_the_global_generator(run: Path) -> None:
    before = torch.get_rng_state()
    checkpoint.load(run)
    assert torch.equal(torch.get_rng_state(), before)


def test_rewriting_alone_changes_nothing(run: Path) -> None:
    rewrite(run, lambda tensors, metadata: None)
    checkpoint.load(run)


def test_a_flipped_bit_is_always_refused(run: Path) -> None:
    path = run / checkpoint.NAME
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in [*range(0, header, 17), *range(8), *range(header, len(whole), 331)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert "was refused" in refusal(run)


def test_a_truncated_file_is_refused(run: Path) -> None:
    path = run / checkpoint.NAME
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "was refused: " in refusal(run)
    path.write_bytes(whole + b"more")
    assert "was refused: " in refusal(run)


def test_random_bytes_are_refused(run: Path) -> None:
    for seed in range(5):
        (run / checkpoint.NAME).write_bytes(np.random.default_rng(seed).bytes(1000))
        assert "was refused" in refusal(run)


def test_a_pickle_is_refused(run: Path) -> None:
    torch.save(tiny_model().state_dict(), run / checkpoint.NAME)
    assert "was refused" in refusal(run)


def test_safetensors_of_other_programs_are_refused(run: Path) -> None:
    rewrite(run, lambda tensors, metadata: metadata.clear())
    assert "its schema is None and this version reads 'e2c-checkpoint-2'" in refusal(run)
    save_file({"weight": torch.zeros(3)}, run / checkpoint.NAME)
    assert "its schema is None" in refusal(run)


def test_an_older_version_is_refused_with_the_remedy(run: Path) -> None:
    rewrite(run, lambda tensors, metadata: metadata.update(schema="e2c-checkpoint-1"))
    assert "train again (python train.py --out NEW_FOLDER)" in refusal(run)


def test_another_schema_is_named(run: Path) -> None:
    rewrite(run, lambda tensors, metadata: metadata.update(schema="e2c-checkpoint-9"))
    assert "its schema is 'e2c-checkpoint-9' and this version reads" in refusal(run)


def test_edited_weights_are_refused(run: Path) -> None:
    path = run / checkpoint.NAME
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    tensors["latent_variance"] += 1
    save_file(tensors, path, metadata)
    assert "do not match its hash" in refusal(run)


@pytest.mark.parametrize("about", ["", "{", "null", "[]", "3", '{"spec": {}}', '{"config": {}}'])
def test_a_malformed_description_is_refused(run: Path, about: str) -> None:
    rewrite(run, lambda tensors, metadata: metadata.update(about=about))
    refusal(run)


def test_a_missing_description_is_refused(run: Path) -> None:
    rewrite(run, lambda tensors, metadata: metadata.pop("about"))
    refusal(run)


@pytest.mark.parametrize(
    "edit",
    [
        lambda about: about.update(spec=None),
        lambda about: about["spec"].pop("dt"),
        lambda about: about["spec"].update(more=1),
        lambda about: about["spec"].update(observation_shape=[3, 12]),
        lambda about: about["spec"].update(observation_shape="3x12x6"),
        lambda about: about["spec"].update(control_low=-2.0),
        lambda about: about["spec"].update(control_low=[-2.0]),
        lambda about: about["spec"].update(control_low=["a", "b"]),
        lambda about: about.update(config=None),
        lambda about: about["config"].update(more=1),
        lambda about: about["config"]["model"].update(latent_dim=5),
        lambda about: about["config"]["model"].update(latent_dim=-5),
        lambda about: about["config"]["model"].update(latent_dim="5"),
        lambda about: about["config"]["model"].update(encoder_hidden=[16]),
        lambda about: about["config"]["model"].update(pool=1),
        lambda about: about["config"]["model"].update(pool=5),
        lambda about: about["config"]["model"].update(lattices=3),
        lambda about: about["config"]["model"].update(lattices=10**9),
        lambda about: about["config"]["model"].update(transition_bound=10**400),
        lambda about: about["config"]["model"].update(encoder_hidden=[1] * 100_000),
    ],
)
def test_a_description_that_does_not_fit_is_refused(run: Path, edit: Any) -> None:
    edited_about(run, edit)
    refusal(run)


@pytest.mark.parametrize(
    ("section", "name"),
    [("planner", "name"), *(("model", part) for part in ("method", "encoder", "decoder"))],
)
def test_a_part_that_this_program_does_not_register_is_named(
    run: Path, section: str, name: str
) -> None:
    edited_about(run, lambda about: about["config"][section].update({name: "mine"}))
    told = refusal(run)
    assert re.search(r"needs a part that is not known here \(There is no \w+ 'mine'", told)
    assert "first import the module that registers it (--import in a command), or train" in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("env", 7),
        ("env", None),
        ("observation_shape", [3, 12]),
        ("observation_shape", [3, 12, 0]),
        ("observation_shape", [3, 12, -6]),
        ("observation_shape", [3, 12, 6.0]),
        ("observation_shape", [3, 12, 10**30]),
        ("control_low", [-2.0, "-0.5"]),
        ("control_low", [-2.0, None]),
        ("control_low", [-2.0, 0.25]),
        ("control_low", [-2.0, -(10**400)]),
        ("control_high", [2.0]),
        ("control_high", [2.0, -0.5]),
        ("control_high", [2.0, True]),
        ("dt", 0),
        ("dt", -0.1),
        ("dt", "0.1"),
        ("dt", None),
        ("dt", 10**400),
        ("episode_steps", 0),
        ("episode_steps", 7.0),
        ("episode_steps", 10**9),
    ],
)
def test_a_task_that_cannot_be_is_refused(run: Path, name: str, value: Any) -> None:
    edited_about(run, lambda about: about["spec"].update({name: value}))
    assert "its description is not that of its weights" in refusal(run)


def test_the_size_of_the_pictures_is_two_numbers(run: Path) -> None:
    sizes: list[Any] = [[24, 18], None, [24, 0], [24], "24x18", 24]
    for size in sizes:
        edited_about(run, lambda about, size=size: about["spec"].update(picture_size=size))
        if size in ([24, 18], None):
            assert checkpoint.load(run)[2].picture_size == (size and (24, 18))
        else:
            assert "its description is not that of its weights" in refusal(run)


def test_the_limits_of_controls_are_the_unit_of_the_weights(run: Path) -> None:
    edited_about(run, lambda about: about["spec"].update(control_high=[2.0, 0.75]))
    assert "the unit of its controls is not their limit" in refusal(run)


@pytest.mark.parametrize("about", ["[" * 200_000, '{"spec": NaN}', '{"spec": 1e999}', '"spec"'])
def test_a_description_that_is_not_plain_json_is_refused(run: Path, about: str) -> None:
    rewrite(run, lambda tensors, metadata: metadata.update(about=about))
    refusal(run)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"{}",
        b"{" * 5000,
        b'{"__metadata__": []}',
        b'{"__metadata__": {"schema": {"a": 1}}}',
        b'{"__metadata__": {"schema": "' + b"x" * 100_000 + b'"}}',
        b'{"goal": 3, "__metadata__": {"schema": "e2c-checkpoint-2"}}',
        b'{"goal": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}',
    ],
    ids=range(9),
)
def test_a_hostile_header_is_refused_in_one_short_line(run: Path, header: bytes) -> None:
    path = run / checkpoint.NAME
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert len(refusal(run)) < 700


def test_a_long_header_is_refused_unparsed(run: Path) -> None:
    path = run / checkpoint.NAME
    header, data = split(path.read_bytes())
    text = json.dumps(header).encode().ljust(MAX_HEADER + 1)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    assert "it is cut off, or not a safetensors file" in refusal(run)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "C64", "F4", "BOOL", "I128", 7])
def test_tensors_of_another_type_are_refused(run: Path, kind: object) -> None:
    path = run / checkpoint.NAME
    header, data = split(path.read_bytes())
    header["latent_variance"]["dtype"] = kind
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    sign(path)
    refusal(run)


def test_nothing_of_the_described_size_is_allocated(run: Path) -> None:
    """Models of a gigabyte, in a small file, under 64 MiB more than the imports take."""
    edits: list[dict[str, Any]] = [
        {"encoder_hidden": [4096] * 16},
        {"decoder_hidden": [4096] * 16},
        {"transition_hidden": [4096] * 16},
    ]
    for number, edit in enumerate(edits):
        shutil.copytree(run, run / str(number), ignore=lambda *_: map(str, range(len(edits))))
        edited_about(
            run / str(number), lambda about, edit=edit: about["config"]["model"].update(edit)
        )
    program = """
import resource, sys
from pathlib import Path
from e2c.models import checkpoint
from e2c.errors import E2CError
checkpoint.load(Path(sys.argv[1]))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
for path in sys.argv[2:]:
    try:
        checkpoint.load(Path(path))
    except E2CError as error:
        print(error)
"""
    paths = [str(run), *(str(run / str(number)) for number in range(len(edits)))]
    done = python("-c", program, *paths, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(edits), done.stdout
    assert "can't allocate" not in done.stdout


def test_an_enormous_file_is_refused_unread(run: Path) -> None:
    with (run / checkpoint.NAME).open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    assert "it has 2,147,483,649 bytes, more than" in refusal(run)


@pytest.mark.parametrize("name", ["goal", "latent_variance", "transition.control_scale"])
def test_a_missing_tensor_is_refused(run: Path, name: str) -> None:
    rewrite(run, lambda tensors, metadata: tensors.pop(name))
    refusal(run)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("goal", torch.zeros(3, 12, 7, dtype=torch.uint8)),
        ("goal", torch.zeros(3, 12, 6)),
        ("encoder.net.0.weight", torch.zeros(2, 2)),
        ("encoder.net.0.bias", torch.zeros(16, dtype=torch.bfloat16)),
        ("surplus", torch.zeros(3)),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(run: Path, name: str, tensor: torch.Tensor) -> None:
    rewrite(run, lambda tensors, metadata: tensors.update({name: tensor}))
    refusal(run)


def test_missing_folders_and_files_are_told_with_the_remedy(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none")
    assert "does not exist" in message
    assert "python train.py --out" in message
    (tmp_path / "empty").mkdir()
    message = refusal(tmp_path / "empty")
    assert "holds no checkpoint" in message
    assert "give that command again" in message


@pytest.mark.parametrize("name", ["abacus", "", "cuda:99", "meta", "meta:x", "cpu:x", "mps"])
def test_a_missing_device_names_those_there_are(run: Path, name: str) -> None:
    with pytest.raises(E2CError, match=r"There is no device .* available: cpu"):
        checkpoint.load(run, name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_told(run: Path) -> None:
    with pytest.raises(E2CError, match="There is no device 'cuda' here; available: cpu"):
        checkpoint.load(run, "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_checkpoint_acts_on_a_gpu(run: Path) -> None:
    on_cpu, on_gpu = load_agent(run), load_agent(run, "cuda")
    x = images(5)
    np.testing.assert_allclose(on_gpu.act(x), on_cpu.act(x), atol=1e-3)


def test_equal_checkpoints_are_equal_files(run: Path) -> None:
    """The header's order is not left to chance, so that a repeated run can be told by its hash."""
    again = run / "again.safetensors"
    for _ in range(5):
        model = tiny_model(seed=3)
        model.measure(images(9))
        checkpoint.save(again, model, TINY, SPEC)
        assert again.read_bytes() == (run / checkpoint.NAME).read_bytes()


def half_written(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content[:1000])
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failing_write_leaves_the_last_checkpoint(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / checkpoint.NAME).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half_written)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(run / checkpoint.NAME, tiny_model(), Config(), SPEC)
    assert os.listdir(run) == [checkpoint.NAME]
    assert (run / checkpoint.NAME).read_bytes() == before
