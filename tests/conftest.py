"""What test files share. One thread: the tensors are too small for two to help."""

import pytest
import torch
from tiny import task_of

import envs
from envs.task import Task

torch.set_num_threads(1)


@pytest.fixture(params=sorted(envs.ENVIRONMENTS))
def name(request: pytest.FixtureRequest) -> str:
    """The id of each of our environments."""
    return str(request.param)


@pytest.fixture
def env(name: str) -> Task:
    """The task itself, of which all else is made."""
    return task_of(name)
