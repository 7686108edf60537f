"""The checkpoints that a command line names: files, directories, globs."""

from __future__ import annotations

import glob
from pathlib import Path

from eqlr_tools.checkpoints.remote import is_folder, is_remote, locate
from eqlr_tools.errors import NothingMatchedError


def checkpoints_under(arguments: list[str]) -> list[Path]:
    """Expand directories and globs; files are taken whatever they are called, also if they do not exist.

    In a directory, a set of shards is one checkpoint: its index. Raises NothingMatchedError for an empty result.
    """
    found: list[Path] = []
    for argument in arguments:
        path = locate(argument)
        if is_remote(path):
            found += _remote(argument, path)
        elif path.is_dir():
            found += _in_directory(path)
        elif not path.exists() and glob.has_magic(argument):
            found += [Path(name) for name in sorted(glob.glob(argument, recursive=True)) if Path(name).is_file()]
        else:
            found.append(path)
    if not found:
        raise NothingMatchedError(
            f"{' '.join(arguments)}: no checkpoint there",
            hint="eqlr looks for .safetensors, .pt, .pth, .pth.tar, .ckpt, .bin, .model and .pkl files",
        )
    return list(dict.fromkeys(found))


def _remote(argument: str, path: Path) -> list[Path]:
    """A remote glob or folder, listed by its store; anything else is one file."""
    if glob.has_magic(argument):
        base, _, pattern = argument.partition("*")
        folder, _, start = base.rpartition("/")
        return sorted((p for p in locate(folder).glob(f"{start}*{pattern}") if p.is_file()), key=str)
    return _in_directory(path) if is_folder(path) else [path]


def _in_directory(directory: Path) -> list[Path]:
    from eqlr_tools.checkpoints.opening import INDEX_SUFFIX, SUFFIXES, shard_names

    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name.endswith((*SUFFIXES, INDEX_SUFFIX)))
    shards = {p.parent / name for p in files if p.name.endswith(INDEX_SUFFIX) for name in shard_names(p)}
    return [path for path in files if path not in shards and not _is_hidden(path, directory)]


def _is_hidden(path: Path, directory: Path) -> bool:
    """True for what a folder does not show: caches, and what a killed run has left."""
    return any(part.startswith(".") for part in path.parts[len(directory.parts) :])
