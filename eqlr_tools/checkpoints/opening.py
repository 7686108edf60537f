"""From a path to a checkpoint: the content decides the container, never the suffix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from eqlr_tools.checkpoints.bounded_json import parse_json
from eqlr_tools.checkpoints.checkpoint import Checkpoint, split_prefixes
from eqlr_tools.checkpoints.complex_numbers import restore_complex
from eqlr_tools.checkpoints.hdf5_files import HDF5_HEAD, KERAS_MEMBER, read_hdf5
from eqlr_tools.checkpoints.numpy_files import NPY_HEAD, looks_like_npz, read_npy, read_npz
from eqlr_tools.checkpoints.onnx_files import looks_like_onnx, read_onnx
from eqlr_tools.checkpoints.overlap import refuse_overlap
from eqlr_tools.checkpoints.provenance import (
    METADATA_KEY,
    PROVENANCE_MEMBER,
    read_provenance,
    restore_aliases,
    restore_tree,
    sound_provenance,
)
from eqlr_tools.checkpoints.refusals import refusal
from eqlr_tools.checkpoints.remote import is_folder, is_remote, locate, open_source
from eqlr_tools.checkpoints.safetensors_file import looks_like_safetensors, read_safetensors
from eqlr_tools.checkpoints.sources import Source, is_file
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.torch_export import left_out_of_export, looks_like_export, read_torch_export
from eqlr_tools.checkpoints.torch_files import (
    ZipReader,
    find_pickle,
    looks_like_torch_legacy,
    read_bare_pickle,
    read_torch_legacy,
    read_torch_zip,
)
from eqlr_tools.checkpoints.torch_tar import looks_like_tar, read_torch_tar
from eqlr_tools.checkpoints.trees import normalise
from eqlr_tools.errors import DamagedError, UnreadableError

SUFFIXES = tuple(
    ".safetensors .pt .pth .pth.tar .ckpt .bin .model .pkl .jit .steg .pt2 .onnx .npz .npy .h5 .hdf5 .keras".split()
)
"""What a directory is searched for; single files are opened whatever they are called."""

_FIRST_LETTERS = frozenset((b"(", b")", b"]", b"}", b"c"))

INDEX_SUFFIX = ".index.json"
MAX_INDEX_BYTES = 100_000_000


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint lazily: headers are read, tensors are not.

    Raises UnreadableError, naming the file and the reason, for anything that is not a readable checkpoint.
    """
    return refuse_overlap(_open(locate(path)))


def _open(path: Path) -> Checkpoint:
    if is_folder(path):
        return _open_directory(path)
    # Of a remote file the store answers for itself, with its first request.
    if not is_remote(path) and not path.exists():
        raise UnreadableError(f"{path}: no such file", hint="check the path")
    if not is_remote(path) and not path.is_file():
        raise UnreadableError(f"{path}: not a regular file", hint="copy what it gives to a file first")
    if path.name.endswith(INDEX_SUFFIX):
        return _open_index(path)
    source = open_source(path)
    if source.size == 0:
        raise UnreadableError(f"{path}: the file is empty", hint="the download or the save failed; get it again")
    return _open_file(path, source)


def _open_file(path: Path, source: Source) -> Checkpoint:
    head = source.read(0, min(source.size, 64))
    if head.startswith(b"PK\x03\x04"):
        return _open_zip(path, source)
    if looks_like_tar(source):  # First, as torch does: a tar header can begin with the head of any other container.
        return _checkpoint(path, "torch tar", normalise(read_torch_tar(source), source.name))
    if looks_like_torch_legacy(head):
        tree = normalise(read_torch_legacy(source), source.name)
        return _checkpoint(path, "torch legacy", tree)
    if looks_like_safetensors(source):
        tensors, metadata = read_safetensors(source)
        return _flat_checkpoint(path, "safetensors", tensors, metadata, (path,))
    if head.startswith(NPY_HEAD):
        return _checkpoint(path, "npy", read_npy(source))
    if head.startswith(HDF5_HEAD):
        return _flat_checkpoint(path, "hdf5", read_hdf5(source), {}, (path,))
    if looks_like_onnx(source):
        model = read_onnx(source, path)
        return Checkpoint(path, "onnx", model.tensors, (path, *model.files), model.metadata)
    if looks_like_pickle(source, head):
        return _checkpoint(path, "pickle", normalise(read_bare_pickle(source), source.name))
    raise refusal(path, source)


def looks_like_pickle(source: Source, head: bytes) -> bool:
    """True for the first two bytes of pickle protocols 2 to 5.

    Protocols 0 and 1, the default of Python 2, have no head: such a pickle begins with a container or a global, by
    letters with which neither JSON nor a web page begins, and ends with a full stop.
    """
    if head[:1] == b"\x80":
        return head[1:2] <= b"\x05"
    return head[:1] in _FIRST_LETTERS and source.read(source.size - 1, 1) == b"."


def _open_zip(path: Path, source: Source) -> Checkpoint:
    archive = ZipReader(source)
    if find_pickle(archive) is None:
        return _open_other_zip(path, source, archive)
    tree = normalise(read_torch_zip(archive), source.name)
    names = [name for name in archive.members if name.endswith(PROVENANCE_MEMBER)]
    provenance = sound_provenance(_json(archive.member(names[0], MAX_INDEX_BYTES), path)) if names else {}
    script = any("/code/" in name or name.endswith("constants.pkl") for name in archive.members)
    container, left_out = ("torchscript", "its code is not read") if script else ("torch zip", "")
    return _checkpoint(path, container, tree, provenance, left_out=left_out)


def _open_other_zip(path: Path, source: Source, archive: ZipReader) -> Checkpoint:
    """An archive without the pickle that torch would load."""
    if looks_like_export(archive):
        tree = normalise(read_torch_export(archive), source.name)
        return _checkpoint(path, "torch export", tree, left_out=left_out_of_export(archive))
    if looks_like_npz(archive):
        return _checkpoint(path, "npz", nest(read_npz(archive)))
    if KERAS_MEMBER in archive.members:
        weights = read_hdf5(archive.member(KERAS_MEMBER))
        return _flat_checkpoint(path, "keras", weights, {}, (path,))
    raise UnreadableError(
        f"{path}: a zip archive, but not one that torch.save wrote",
        hint="if it is a packed folder, unpack it and name the checkpoint inside",
    )


def _checkpoint(
    path: Path, container: str, tree: Any, provenance: dict[str, Any] | None = None, *, left_out: str = ""
) -> Checkpoint:
    if isinstance(tree, Tensor):
        tree = {"tensor": tree}
    return Checkpoint(path, container, tree, (path,), provenance=provenance or {}, left_out=left_out)


def _flat_checkpoint(
    path: Path, container: str, tensors: dict[str, Tensor], metadata: dict[str, str], files: tuple[Path, ...]
) -> Checkpoint:
    provenance = read_provenance(metadata.pop(METADATA_KEY, None))
    tensors = restore_aliases(restore_complex(tensors, provenance), provenance)
    tree = restore_tree(tensors, provenance)
    if tree is not None:
        return Checkpoint(path, container, tree, files, metadata, provenance)
    nested = bool(split_prefixes(tensors))
    return Checkpoint(path, container, nest(tensors), files, metadata, provenance, nested)


def nest(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Undo the flattening of several networks into one name space (`g_ema.conv1...`).

    Names with slashes stay flat: a tree's path is written with dots, and `G/conv1/...` is to keep its name.
    """
    prefixes = split_prefixes(tensors)
    if not prefixes or prefixes[0].endswith("/"):
        return dict(tensors)
    networks = {
        prefix[:-1]: {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        for prefix in prefixes
    }
    return {**networks, **{name: t for name, t in tensors.items() if not name.startswith(tuple(prefixes))}}


def _open_directory(path: Path) -> Checkpoint:
    indexes = sorted(path.glob(f"*{INDEX_SUFFIX}"))
    if len(indexes) == 1:
        return _open_index(indexes[0])
    inside = [entry.name for entry in sorted(path.iterdir()) if entry.name.endswith((*SUFFIXES, INDEX_SUFFIX))]
    found = f"it holds {', '.join(inside[:5])}{' …' if len(inside) > 5 else ''}" if inside else "it holds none"
    raise UnreadableError(f"{path}: a directory, not a checkpoint", hint=f"name one checkpoint file; {found}")


def _open_index(path: Path) -> Checkpoint:
    """A Hugging Face style index: {"weight_map": {tensor: shard file}, "metadata": {…}}."""
    index = _json(open_source(path), path)
    weight_map = index.get("weight_map")
    metadata = index.get("metadata", {})
    if not isinstance(weight_map, dict) or not weight_map or not isinstance(metadata, dict):
        raise UnreadableError(f"{path}: an index without a weight_map", hint="name the checkpoint file itself")
    shards = {name: _shard(path, name) for name in sorted({str(name) for name in weight_map.values()})}
    tensors: dict[str, Tensor] = {}
    for name, shard_name in weight_map.items():
        shard = shards[str(shard_name)]
        if name not in shard:
            raise DamagedError(f"{path}: tensor {name!r} is not in {shard_name}, where the index puts it")
        tensors[name] = shard[name]
    metadata = {key: str(value) for key, value in metadata.items()}
    files = (path, *(path.parent / name for name in shards))
    container = "safetensors shards" if "safetensors" in path.name else "torch shards"
    return _flat_checkpoint(path, container, tensors, metadata, files)


def shard_names(index: Path) -> set[str]:
    """The files that an index lists; none if it is no index."""
    try:
        weight_map = _json(open_source(index), index).get("weight_map")
    except UnreadableError:
        return set()
    return {str(name) for name in weight_map.values()} if isinstance(weight_map, dict) else set()


def _shard(index: Path, name: str) -> dict[str, Tensor]:
    """Open one shard beside its index. Its name, and its link target, must not lead elsewhere."""
    path = index.parent / name
    if name != os.path.basename(name) or name in ("", ".", "..") or "\0" in name or name.endswith(INDEX_SUFFIX):
        raise DamagedError(f"{index}: the shard name {name!r} is no file beside the index")
    if not is_file(path):
        raise UnreadableError(f"{index}: the shard {name} is missing", hint="download all shards into one directory")
    # A download cache links index and shards to one folder of blobs; any other link target is not the index's.
    if path.resolve().parent not in (index.parent.resolve(), index.resolve().parent):
        raise DamagedError(f"{index}: the shard {name} is a link that leads out of the index's directory")
    source = open_source(path)
    if looks_like_safetensors(source):
        return read_safetensors(source)[0]
    checkpoint = open_checkpoint(path)
    flat: dict[str, Tensor] = {}
    for network in checkpoint.networks:
        for tensor_name, tensor in network.tensors.items():
            flat[".".join((*map(str, network.path), network.key(tensor_name)))] = tensor
    flat.update({".".join(map(str, tree_path)): tensor for tree_path, tensor in checkpoint.loose.items()})
    return flat


def _json(source: Source, path: Path) -> dict[str, Any]:
    if source.size > MAX_INDEX_BYTES:
        raise DamagedError(f"{path}: {source.size:,} bytes are too many for an index")
    try:
        value = parse_json(source.read(0, source.size))
    except ValueError as error:
        raise DamagedError(f"{path}: damaged JSON ({error})") from error
    if not isinstance(value, dict):
        raise DamagedError(f"{path}: JSON, but not a table")
    return value
