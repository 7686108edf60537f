"""A file, or a set of files, that appears whole or not at all.

The data goes to a temporary file beside the target, is checked by the caller, flushed to the disk and only then
given its name. The temporary file is locked while it is in use, so that the next run can tell what a killed one
left behind and remove it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from eqlr_tools.checkpoints.remote import is_remote
from eqlr_tools.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: files are kept from being removed while open, which serves the same end.
    fcntl = None  # type: ignore[assignment]

_MARK = ".eqlr-tmp-"
_LONGEST_STEM = 200
"""Most file systems allow names of 255 bytes; mark and process number take some 20 of them."""


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
    temporary = _temporary(target)
    try:
        file = open(temporary, "x+b", buffering=0)  # noqa: SIM115 - it is closed below, before its name is removed
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror})", hint="choose another place") from error
    try:
        with file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            with _as_output_errors(target):
                yield file
            verify(temporary)  # While the disk is still busy with what was written last.
            with _as_output_errors(target):
                os.fsync(file)
            _publish(temporary, target, force)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_set(target: Path, verify: Callable[[Path], None], replaced: Sequence[Path]) -> Iterator[Path]:
    """Yield a folder to write several files in, of which one, called as `target` is, makes the others a whole.

    When the block ends well: `verify(that file)`, fsync of all, then they move beside `target`. What they replace goes
    first, the target before the rest, and the new target comes last: whenever it stands, all that it names stands.
    """
    remove_stale(target)
    folder = _temporary(target)
    try:
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror})", hint="choose another place") from error
    try:
        with _locked(folder):
            with _as_output_errors(target):
                yield folder
            verify(folder / target.name)
            with _as_output_errors(target):
                for path in folder.iterdir():
                    _sync(path, os.O_RDWR)
            if [path.name for path in folder.iterdir()] == [target.name] and list(replaced) in ([], [target]):
                # A set of one: it takes the old one's place in one step.
                _publish(folder / target.name, target, force=bool(replaced))
                return
            with _as_output_errors(target):
                for path in sorted(replaced, key=lambda path: path != target):
                    path.unlink(missing_ok=True)
            _publish_set(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish_set(folder: Path, target: Path) -> None:
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: (name == target.name, name))
    _sync_directory(target.parent)  # What was replaced is gone before anything takes its place.
    done: list[Path] = []
    try:
        for name in names:
            _publish(folder / name, target.with_name(name), force=False)
            done.append(target.with_name(name))
    except OutputError:
        for path in reversed(done):
            path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder against `remove_stale` of another process, where folders can be locked."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _temporary(target: Path) -> Path:
    return target.with_name(f".{_stem(target)}{_MARK}{os.getpid()}")


def _stem(target: Path) -> str:
    """What names the target in the names of its temporary files: the hash of a name that leaves no room for more."""
    encoded = os.fsencode(target.name)
    return target.name if len(encoded) <= _LONGEST_STEM else hashlib.sha256(encoded).hexdigest()


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
        _sync(directory, os.O_RDONLY)


def _sync(path: Path, mode: int) -> None:
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(target: Path) -> None:
    """Remove temporary files and folders for this target that no running process holds."""
    for left in target.parent.glob(f".{_escaped(_stem(target))}{_MARK}*"):
        with contextlib.suppress(OSError):
            if fcntl is not None:
                descriptor = os.open(left, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                finally:
                    os.close(descriptor)
            if left.is_dir():
                _remove_set(left, target)
            else:
                left.unlink()


def _remove_set(folder: Path, target: Path) -> None:
    """Remove what a killed `new_set` left, also what it had put in place of a target that never came to stand."""
    if not target.exists():
        for inside in folder.iterdir():
            placed = target.with_name(inside.name)
            if placed.exists() and os.path.samefile(inside, placed):
                placed.unlink()
    shutil.rmtree(folder)


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
