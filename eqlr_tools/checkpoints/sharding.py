"""Safetensors in several files, as Hugging Face's libraries write and read them.

`model.safetensors` becomes `model-00001-of-00003.safetensors` and so on, beside `model.safetensors.index.json`, which
says which file holds which tensor. A set that would be one file is that file, without an index, as theirs is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from eqlr_tools.checkpoints.opening import INDEX_SUFFIX, shard_names
from eqlr_tools.checkpoints.outputs import Output, aliases_among

_SHARD = "{stem}-{number:05d}-of-{count:05d}{suffix}"


@dataclass(frozen=True)
class Shard:
    """One file of a set, and the names of the tensors in it."""

    file_name: str
    tensors: tuple[str, ...]


def index_of(target: Path) -> Path:
    """The index of the set that `target` names."""
    return target.with_name(target.name + INDEX_SUFFIX)


def into_shards(target: Path, outputs: dict[str, Output], max_shard_bytes: int) -> tuple[Shard, ...]:
    """Fill files in the order of the outputs, none beyond the limit; a tensor that is larger has one for itself.

    Names of one tensor stay together. Returns nothing if one file holds all.
    """
    aliases = aliases_among(outputs)
    together: dict[str, list[str]] = {}
    for name in outputs:
        together.setdefault(aliases.get(name, name), []).append(name)
    shards: list[list[str]] = [[]]
    room = max_shard_bytes
    for names in together.values():
        needed = sum(outputs[name].nbytes for name in names)
        if needed > room and shards[-1]:
            shards.append([])
            room = max_shard_bytes
        shards[-1] += names
        room -= needed
    if len(shards) == 1:
        return ()
    return tuple(Shard(_file_name(target, i, len(shards)), tuple(names)) for i, names in enumerate(shards, 1))


def places_taken(target: Path, shards: tuple[Shard, ...]) -> list[Path]:
    """Every file that a new set writes or takes the place of, the index first: an older set may have more shards."""
    index = index_of(target)
    pattern = re.compile(rf"{re.escape(target.stem)}-\d{{5,}}-of-\d{{5,}}{re.escape(target.suffix)}")
    older = [name for name in sorted(shard_names(index)) if pattern.fullmatch(name)] if index.is_file() else []
    names = dict.fromkeys((index.name, target.name, *(shard.file_name for shard in shards), *older))
    return [target.with_name(name) for name in names]


def index_text(shards: tuple[Shard, ...], outputs: dict[str, Output], metadata: dict[str, str]) -> str:
    """The index, its names in the order of the outputs."""
    file_of = {name: shard.file_name for shard in shards for name in shard.tensors}
    total = sum(output.nbytes for output in outputs.values())
    content = {
        "metadata": {**metadata, "total_size": total},
        "weight_map": {name: file_of[name] for name in outputs},
    }
    return json.dumps(content, indent=2) + "\n"


def _file_name(target: Path, number: int, count: int) -> str:
    return _SHARD.format(stem=target.stem, number=number, count=count, suffix=target.suffix)
