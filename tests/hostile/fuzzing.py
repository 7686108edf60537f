"""Bytes that no one has thought of: streams of pickle instructions, and honest files with a few bytes changed.

Whatever is read must give a checkpoint or an `EqlrError`, and nothing may run. All comes from a seed or from
hypothesis, so that every finding can be had again.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import EqlrError
from tests.hostile import archives, containers, pickles
from tests.hostile.assembler import PROTO, STOP, by_lines, by_stack, get, integer, put, text

CANARY = "canary"
COMMAND = f"touch {CANARY}"

_FLAG, _POSITIONS, _LONGEST_RUN = 0xFFFFFFFF, 6, 16

INSTRUCTIONS = [
    *(bytes([code]) for code in b"(.0120NQR}]t)ed\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98aboslu\x81"),
    *(put(index) for index in range(3)),
    *(get(index) for index in range(3)),
    *(integer(number) for number in (-1, 0, 1, 4, 1 << 30)),
    *(text(word) for word in ("state_dict", "conv.weight", "storage", "cpu", "0", "_parameters", "_modules", COMMAND)),
    *(by_lines(*name) for name in (("os", "system"), ("builtins", "eval"), ("models", "Net"), ("builtins", "set"))),
    *(by_lines("torch", name) for name in ("FloatStorage", "BFloat16Storage", "Size", "device", "float32")),
    *(by_lines("torch._utils", name) for name in ("_rebuild_tensor_v2", "_rebuild_parameter")),
    *(by_lines("collections", "OrderedDict"), by_lines("_codecs", "encode"), by_stack("posix", "system")),
    *(by_lines("torch.storage", "_load_from_bytes"), by_lines("numpy.core.multiarray", "_reconstruct")),
    b"ios\nsystem\n",
    b"\x95" + struct.pack("<Q", 9),
    b"\x8a\x09" + b"\xff" * 9,
    b"G" + struct.pack(">d", float("nan")),
    b"C\x04\x00\x01\x02\x03",
]
"""What a stream is drawn from: every kind of instruction, and names that a reader knows, or must never know."""


@cache
def honest_files() -> dict[str, bytes]:
    """Small files of each container, to be changed."""
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    arrays = io.BytesIO()
    np.savez(arrays, **{"conv.weight": np.ones((2, 2), np.float32)})
    data = {"conv.weight": np.ones((2, 2), np.float32), "nested": [{"step": 3, 1.5: (None, True, b"x", {4})}]}
    return {
        "torch zip": archives.torch_zip(archives.tensor_pickle(count=1)),
        "deflated": archives.zip_of(
            {"a/data.pkl": archives.tensor_pickle(), "a/data/0": bytes(16)}, zipfile.ZIP_DEFLATED
        ),
        "safetensors": archives.safetensors({"__metadata__": {"eqlr": '{"skeleton": {}}'}, "a": entry}, bytes(16)),
        "pickle": pickle.dumps(data, 2),
        "pickle of protocol 4": pickle.dumps(data, 4),
        "npz": arrays.getvalue(),
        **containers.honest(),
    }


@cache
def hostile_files() -> dict[str, bytes]:
    """Files that are refused as they are: a change must not let them through."""
    return {
        "malicious": archives.torch_zip(archives.MALICIOUS.replace(b"touch canary", COMMAND.encode())),
        **{f"call by {name}": content for name, content in pickles.opcodes(COMMAND).items()},
    }


def instruction_stream(randoms: random.Random) -> bytes:
    """Up to sixty instructions, nearly half of the time inside a torch archive."""
    parts = [randoms.choice(INSTRUCTIONS) for _ in range(randoms.randint(1, 60))]
    stream = PROTO + b"".join(parts) + STOP
    return archives.torch_zip(stream) if randoms.random() < 0.4 else stream


def mutated(data: bytes, randoms: random.Random) -> bytes:
    """The file with bytes flipped, numbers made huge, runs repeated, removed or moved, or its end cut off."""
    changed = bytearray(data)
    for _ in range(randoms.choice((1, 1, 1, 2, _POSITIONS))):
        at = randoms.randrange(len(changed) or 1)
        run = randoms.randint(1, _LONGEST_RUN)
        kind = randoms.randrange(6)
        if kind == 0 and changed:
            changed[at] ^= 1 << randoms.randrange(8)
        elif kind == 1:
            number = randoms.choice((0, 1, 0x7FFFFFFF, _FLAG, len(data), len(data) - 1))
            changed[at : at + 4] = struct.pack("<I", number)
        elif kind == 2:
            changed[at:at] = changed[at : at + run]
        elif kind == 3:
            del changed[at : at + run]
        elif kind == 4:
            changed[at:at] = randoms.choice(INSTRUCTIONS)
        else:
            del changed[max(at, 1) :]
    return bytes(changed)


def anything(randoms: random.Random) -> bytes:
    """A file of any kind."""
    kind = randoms.randrange(4)
    if kind == 0:
        return instruction_stream(randoms)
    files = hostile_files() if kind == 1 else honest_files()
    return mutated(randoms.choice(list(files.values())), randoms)


def outcome(data: bytes, folder: Path) -> str:
    """Read a file with this content, as `scan` would. Any other exception than an `EqlrError` passes through."""
    file = folder / "model.pt"
    file.write_bytes(data)
    try:
        checkpoint = open_checkpoint(file)
        assert isinstance(checkpoint, Checkpoint)
        for network in checkpoint.networks:
            for tensor in network.tensors.values():
                if tensor.nbytes < 1 << 20:
                    tensor.bits()
        assert checkpoint.optimizers is not None
    except EqlrError as error:
        return type(error).__name__
    finally:
        assert {path.name for path in folder.iterdir()} == {file.name}, "something was written: code ran"
    return "Checkpoint"
