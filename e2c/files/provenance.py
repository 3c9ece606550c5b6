"""What made a result: versions, commit, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "mujoco", "gymnasium", "opencv-python-headless", "safetensors")


def versions() -> dict[str, str]:
    """Name the versions that decide what numbers come out."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


@functools.cache
def _version(package: str) -> str:
    """Return the version of a package, which stays what it is while a process runs."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Name the commit of the checkout that this package runs from, '+' if it was changed since.

    A package that is installed in a checkout of something else is not of that commit.
    """
    return _commit_of(Path(__file__))


@functools.cache
def _commit_of(file: Path) -> str:
    """Answer once for the checkout of ``file``: later commits are not of what runs."""
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)
        return _git(file, "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


def machine() -> dict[str, Any]:
    """Describe the machine and how much of it torch uses."""
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def provenance() -> dict[str, Any]:
    """Return all of it, to be written beside a result."""
    return {"versions": versions(), "commit": commit(), "machine": machine()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(file: Path, *arguments: str) -> str:
    """Ask git something in the folder of a file."""
    git = ["git", "-C", str(file.parent), *arguments]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
