"""Modules of the user's own, which register parts: a command imports those that it is told.

A file never says what is imported, so that loading one runs no code. For the same reason a command
looks for modules in the current folder only when its own words name one: a run folder that came
from somebody else may lie beside any module.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from e2c.errors import E2CError
from e2c.files.untrusted import shown
from envs.faults import own_frame


@dataclass(frozen=True, kw_only=True)
class OwnParts:
    """The option of every command that works with parts of the user's."""

    modules: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="import", metavar="MODULE")
    ] = ()
    """Module to import first, which registers parts of your own: mine, for mine.py. Another one
    takes the option again."""


def import_asked(arguments: Sequence[str]) -> None:
    """Import what a command line says by --import, before its other options are parsed.

    Where it names a module, by --import or in ``--env module:Id``, modules of the current folder
    are found from now on, after all others, so that none of them hides an installed one.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--import", nargs="?", action="append", dest="modules", default=[])
    parser.add_argument("--env", nargs="*", default=[])
    found = parser.parse_known_args(arguments)[0]
    modules = [name for name in found.modules if name is not None]
    named = modules or any(":" in env_id for env_id in found.env)
    if named and (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    import_all(modules)


def import_all(names: Iterable[str]) -> None:
    """Import modules by their names.

    Raises:
        E2CError: when a name is none, there is no such module, or its own code fails.
    """
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")) or name.endswith(".py"):
            raise E2CError(
                f"--import is {shown(repr(name))}; give the name of a module, as Python imports "
                "it: mine for mine.py."
            )
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise E2CError(_missing(name, str(error.name))) from None
        except Exception as error:
            raise E2CError(_fault(name, error)) from error


def _missing(name: str, missing: str) -> str:
    """Return the sentence for a module that there is not: the one that was named, or another."""
    if f"{name}.".startswith(f"{missing}."):
        return (
            f"There is no module {missing} (--import {name}); correct the name, or add its folder "
            "to PYTHONPATH."
        )
    return f"{name} (--import) needs the module {missing}, which is not installed; install it."


def _fault(name: str, error: Exception) -> str:
    """Return the sentence for a module whose own code fails, and where."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        file, line, reason = error.filename, error.lineno, error.msg
    else:
        last = own_frame(error) or traceback.extract_tb(error.__traceback__)[-1]
        file, line, reason = last.filename, last.lineno, str(error).rstrip(".")
    place = f"{os.path.basename(file)}, line {line}"
    told = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return f"{name} (--import) cannot be imported ({shown(told)}; {place}); correct it."
