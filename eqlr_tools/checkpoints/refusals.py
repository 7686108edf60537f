"""Files that are refused by name: what they are, and what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

from eqlr_tools.checkpoints.sources import Source
from eqlr_tools.errors import UnreadableError

_TENSORFLOW_HINT = "eqlr reads the network pickles and HDF5 weights of TensorFlow projects; save the weights as one"

_HEADS = [
    (0, b"GGUF", "a GGUF file", "GGUF stores quantised blocks without the equalized form; convert the original"),
    (4, b"TFL3", "a TensorFlow Lite model", "convert the checkpoint that it was made from"),
    (0, b"\x08\x01\x12", "a TensorFlow SavedModel", _TENSORFLOW_HINT),
    (0, b"\x1f\x8b", "a gzip file", "unpack it first"),
    (0, b"BZh", "a bzip2 file", "unpack it first"),
    (0, b"\xfd7zXZ", "an xz file", "unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (0, b"PK\x05\x06", "an empty zip archive", "get the file again"),
]

_NAMES = [
    (r".*\.data-\d{5}-of-\d{5}", "a shard of a TensorFlow checkpoint", _TENSORFLOW_HINT),
    (r".*\.(pb|pbtxt)", "a TensorFlow graph", _TENSORFLOW_HINT),
    (r".*\.msgpack", "a Flax msgpack file", "save the weights as safetensors with flax.traverse_util and safetensors"),
    (r".*\.tflite", "a TensorFlow Lite model", "convert the checkpoint that it was made from"),
    (r".*\.onnx", "no whole ONNX model", "it is truncated or damaged; get it again"),
    (r".*\.gguf", "a GGUF file", "GGUF stores quantised blocks without the equalized form; convert the original"),
]

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
"""The last bytes of a LevelDB table, which the index of a TensorFlow checkpoint is."""


def refusal(path: Path, source: Source) -> UnreadableError:
    """The error for a file that no reader took."""
    head = source.read(0, min(source.size, 64))
    named = _named(path, source, head)
    if named:
        return UnreadableError(f"{path}: {named[0]}, which eqlr does not read", hint=named[1])
    if head.lstrip()[:1] in (b"{", b"["):
        return UnreadableError(f"{path}: a JSON file, not a checkpoint", hint="name the checkpoint itself")
    if head.lstrip()[:1] == b"<" or head.startswith(b"version https://git-lfs"):
        return UnreadableError(f"{path}: a web page or a Git LFS pointer, not a checkpoint", hint="download it again")
    return UnreadableError(
        f"{path}: not a checkpoint that eqlr knows (it starts with {head[:8].hex(' ')})",
        hint="eqlr reads safetensors, torch and numpy files, network pickles, HDF5 and ONNX; is the download complete?",
    )


def _named(path: Path, source: Source, head: bytes) -> tuple[str, str] | None:
    for offset, magic, what, hint in _HEADS:
        if head[offset:].startswith(magic):
            return what, hint
    if source.size >= 48 and source.read(source.size - 8, 8) == _TABLE_MAGIC:
        return "the index of a TensorFlow checkpoint", _TENSORFLOW_HINT
    return next(((what, hint) for pattern, what, hint in _NAMES if re.fullmatch(pattern, path.name)), None)
