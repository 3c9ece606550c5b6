"""Named tensors in a file: they come back as they were, and anything else is refused."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from e2c.errors import E2CError
from e2c.files.tensors import read_tensors, write_tensors

TENSORS = {
    "moment": torch.linspace(-1, 1, 15).reshape(3, 5),
    "steps": torch.tensor(7),
    "generator": torch.arange(11, dtype=torch.uint8),
    "scores": torch.tensor([[0.5], [1e300]], dtype=torch.float64),
    "nothing": torch.empty(0, 2),
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "state", TENSORS, {"round": 2}, "test-1")
    return tmp_path / "state"


def test_tensors_come_back_as_they_were(state: Path) -> None:
    found, about = read_tensors(state, "test-1", "try again")
    assert about == {"round": 2}
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_tensors_are_copied_into_place_from_wherever_they_lie(state: Path) -> None:
    views = {"moment": torch.linspace(-1, 1, 15).reshape(3, 5).mT.contiguous().mT.requires_grad_()}
    assert not views["moment"].is_contiguous()
    write_tensors(state, views, {}, "test-1")
    found, _ = read_tensors(state, "test-1", "try again")
    assert torch.equal(found["moment"], TENSORS["moment"])
    found["moment"].add_(1)


def test_the_file_is_a_safetensors_file_like_any_other(state: Path) -> None:
    with safe_open(state, "pt") as file:
        assert torch.equal(file.get_tensor("moment"), TENSORS["moment"])
        assert file.metadata()["schema"] == "test-1"


def test_equal_tensors_are_equal_files_in_any_order(state: Path) -> None:
    again = state.with_name("again")
    reversed_tensors = dict(reversed(TENSORS.items()))
    write_tensors(again, reversed_tensors, {"round": 2}, "test-1")
    assert again.read_bytes() == state.read_bytes()


def test_tensors_of_another_schema_are_refused_with_the_remedy(state: Path) -> None:
    with pytest.raises(E2CError, match=r"schema is 'test-1' and .* reads 'test-2'; try again\.$"):
        read_tensors(state, "test-2", "try again")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(state: Path, wrong: float) -> None:
    tensors = {**TENSORS, "moment": TENSORS["moment"].clone()}
    tensors["moment"][1, 2:4] = wrong
    write_tensors(state, tensors, {}, "test-1")
    with pytest.raises(E2CError, match="'moment' holds 2 numbers that are not finite"):
        read_tensors(state, "test-1", "try again")


def test_a_file_may_be_read_by_whom_the_user_lets(state: Path) -> None:
    ordinary = state.with_name("ordinary")
    ordinary.write_text("")
    assert state.stat().st_mode == ordinary.stat().st_mode
