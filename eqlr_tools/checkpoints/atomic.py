"""A file that appears whole or not at all.

The data goes to a temporary file beside the target, is checked by the caller, flushed to the disk and only then
given its name. The temporary file is locked while it is in use, so that the next run can tell what a killed one
left behind and remove it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from eqlr_tools.checkpoints.remote import is_remote
from eqlr_tools.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: files are kept from being removed while open, which serves the same end.
    fcntl = None  # type: ignore[assignment]

_MARK = ".eqlr-tmp-"


def check_target(target: Path, sources: tuple[Path, ...], force: bool) -> None:
    """Raise OutputError if `target` must not be written: it exists, is a source, or has no directory."""
    if not target.parent.is_dir():
        raise OutputError(f"{target}: the directory {target.parent} does not exist", hint="create it first")
    if target.is_dir():
        raise OutputError(f"{target}: is a directory", hint="name a file inside it")
    if any(same_file(target, source) for source in sources):
        raise OutputError(f"{target}: source and target are the same file", hint="name another target")
    if (target.exists() or target.is_symlink()) and not force:
        raise OutputError(f"{target}: already exists", hint="--force replaces it, after verification")


def same_file(one: Path, other: Path) -> bool:
    """True if both names lead to one file, through links too, or would if it existed."""
    if is_remote(one) or is_remote(other):
        return False
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and os.path.samefile(one, other))


@contextlib.contextmanager
def new_file(target: Path, verify: Callable[[Path], None], force: bool) -> Iterator[BinaryIO]:
    """Yield a file to write. When the block ends well: `verify(temporary path)`, fsync, then the final name.

    On any exception, in the block or from `verify`, the temporary file is removed and the target untouched.
    """
    remove_stale(target)
    temporary = target.with_name(f".{target.name}{_MARK}{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror})", hint="choose another place") from error
    try:
        with os.fdopen(descriptor, "w+b", buffering=0) as file:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with _as_output_errors(target):
                yield file
            verify(temporary)  # While the disk is still busy with what was written last.
            with _as_output_errors(target):
                os.fsync(descriptor)
            _publish(temporary, target, force)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _as_output_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{target}: writing failed ({error.strerror})", hint="is the disk full?") from error


def _publish(temporary: Path, target: Path, force: bool) -> None:
    try:
        if force:
            os.replace(temporary, target)
        else:
            _link_new(temporary, target)
        _sync_directory(target.parent)
    except FileExistsError as error:
        raise OutputError(f"{target}: appeared meanwhile", hint="--force replaces it") from error
    except OSError as error:
        raise OutputError(f"{target}: cannot be put in place ({error.strerror})") from error


def _link_new(temporary: Path, target: Path) -> None:
    """Give the file its name unless the name is taken; rename alone would silently replace it."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # A file system without hard links.
        if target.exists():
            raise FileExistsError(str(target)) from None
        os.rename(temporary, target)


def _sync_directory(directory: Path) -> None:
    """Make the new name survive a power failure, where directories can be synced at all."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_stale(target: Path) -> None:
    """Remove temporary files for this target that no running process holds."""
    for left in target.parent.glob(f".{_escaped(target.name)}{_MARK}*"):
        with contextlib.suppress(OSError):
            with open(left, "rb") as file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
