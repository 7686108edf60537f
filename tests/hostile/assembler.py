"""Pickles written instruction by instruction, because no pickler writes what an attacker does."""

from __future__ import annotations

import struct

STOP = b"."
PROTO = b"\x80\x04"


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def by_lines(module: str, name: str) -> bytes:
    """GLOBAL"""
    return f"c{module}\n{name}\n".encode()


def by_stack(module: str, name: str) -> bytes:
    """STACK_GLOBAL, the strings from the memo, where scanners that track only the last strings do not see them."""
    return text(module) + put(900) + b"0" + text(name) + put(901) + b"0" + get(900) + get(901) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def whole(*parts: bytes) -> bytes:
    return PROTO + b"".join(parts) + STOP


def state_dict_of(*values: bytes) -> bytes:
    """A checkpoint-like dict around hostile values."""
    pairs = b"".join(text(f"layer{i}.weight") + value for i, value in enumerate(values))
    return whole(b"}(", pairs, b"u")
