"""Rewriting to a remote address: written and verified here, uploaded beside the target, then given its name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from eqlr_tools.checkpoints.remote import is_remote
from eqlr_tools.errors import OutputError
from eqlr_tools.rewriting.plan import Plan
from eqlr_tools.rewriting.run import Result, run
from eqlr_tools.rewriting.selection import Selection

_READ_ONLY = ("http", "https", "hf", "zip", "tar", "libarchive")


def run_remotely(plan: Plan, selection: Selection, *, force: bool, progress: Callable[[int], None]) -> Result:
    """Execute a plan whose target is an address. Raises OutputError if the store cannot be written to.

    An object store shows an upload only when it is complete; the rename afterwards serves the others as well.
    """
    check_remote_target(plan.target, force)
    with tempfile.TemporaryDirectory(prefix="eqlr-") as folder:
        local = replace(plan, target=Path(folder) / plan.target.name)
        result = run(local, selection, progress=progress)
        _upload(local.target, plan.target)
    return replace(result, plan=plan)


def check_remote_target(target: Path, force: bool) -> None:
    """Raise OutputError if the address must not or cannot be written."""
    protocol = str(target).partition("://")[0].rpartition("::")[2]
    if protocol in _READ_ONLY:
        raise OutputError(f"{target}: {protocol}:// cannot be written to", hint="write a local file and upload that")
    if not force and _attempt(target, lambda store, key: store.exists(key)):
        raise OutputError(f"{target}: already exists", hint="--force replaces it, after verification")


def _upload(file: Path, target: Path) -> None:
    temporary = f"{_key(target)}.eqlr-tmp"
    try:
        _attempt(target, lambda store, _: store.put_file(str(file), temporary))
        size = _attempt(target, lambda store, _: store.info(temporary)["size"])
        if size != file.stat().st_size:
            raise OutputError(f"{target}: {size} of {file.stat().st_size} bytes arrived", hint="try again")
        _attempt(target, lambda store, key: store.mv(temporary, key))
    except OutputError:
        _attempt(target, lambda store, _: store.exists(temporary) and store.rm_file(temporary))
        raise


def _attempt(target: Path, action: Callable[[Any, str], Any]) -> Any:
    """Let the store do something, and say in one sentence what it answers if it cannot."""
    try:
        return action(target.fs, _key(target))  # type: ignore[attr-defined]
    except Exception as error:
        raise OutputError(
            f"{target}: cannot be written ({type(error).__name__}: {error})", hint="are the credentials set?"
        ) from error


def _key(target: Path) -> str:
    return str(target.path)  # type: ignore[attr-defined]


def run_anywhere(plan: Plan, selection: Selection, *, force: bool, progress: Callable[[int], None]) -> Result:
    """Execute a plan, whether its target is here or at an address."""
    execute = run_remotely if is_remote(plan.target) else run
    return execute(plan, selection, force=force, progress=progress)
