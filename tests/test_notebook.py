"""Pictures are shown where a notebook's kernel runs; elsewhere it is said where they are."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from processes import python

from e2c.lecture import notebook
from e2c.lecture.notebook import in_notebook, show_frames, show_lines

FRAMES = [np.full((3, 8, 5), 40 * row, np.uint8) for row in range(2)]


def show_both() -> None:
    show_lines("bound [nats]", "steps", {"a": ((1, 2), (3.0, 4.0)), "b": ([1], [2.0])}, log=True)
    show_frames("frames", FRAMES)


def kernel(monkeypatch: pytest.MonkeyPatch, shell: object) -> list[bytes]:
    """Stand in for IPython, and return what it is told to show."""
    shown: list[bytes] = []
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    ipython.version_info = (9, 0)  # type: ignore[attr-defined]
    display.display = shown.append  # type: ignore[attr-defined]
    display.Image = lambda content: content  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_program_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "_tell_where", lambda: None)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    show_both()
    shown = kernel(monkeypatch, shell=None)
    assert not in_notebook()
    show_both()
    assert shown == []


def test_a_program_says_once_at_its_end_where_its_pictures_are() -> None:
    program = (
        "from e2c.lecture.notebook import show_lines\n"
        "for title in 'ab':\n"
        "    show_lines(title, 'steps', {'a': ((1, 2), (3.0, 4.0))})\n"
        "print('the page')\n"
    )
    page, where = python("-c", program).stdout.splitlines()
    assert page == "the page"
    assert "make docs" in where


def test_a_notebook_shows_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = kernel(monkeypatch, SimpleNamespace(kernel=object()))
    assert in_notebook()
    show_both()
    assert len(shown) == 2
    for content in shown:
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None
