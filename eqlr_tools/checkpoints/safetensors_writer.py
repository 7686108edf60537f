"""Writing safetensors: the header is known before any data, so everything is streamed."""

from __future__ import annotations

import json
from typing import BinaryIO

from eqlr_tools.checkpoints.outputs import Output
from eqlr_tools.checkpoints.streaming import Piece, Placed, Progress, reserve, write_all, write_placed


def write_safetensors(
    file: BinaryIO, outputs: dict[str, Output], metadata: dict[str, str], progress: Progress
) -> list[Piece]:
    """Write the outputs in the order given, each contiguous, row-major and little-endian.

    The same outputs and metadata give the same bytes. The header is padded to a multiple of eight, so that the data
    is aligned for readers that map the file.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    ordered = sorted(outputs.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    offset = 0
    begins = {}
    for name, output in ordered:
        begins[name] = offset
        end = offset + output.nbytes
        header[name] = {"dtype": output.dtype.name, "shape": list(output.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    descriptor = file.fileno()
    reserve(descriptor, len(head) + offset)
    write_all(descriptor, head, 0)
    placed = [Placed(output, len(head) + begins[name]) for name, output in ordered]
    return write_placed(descriptor, placed, progress, checksums=False).pieces
