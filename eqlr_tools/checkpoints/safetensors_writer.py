"""Writing safetensors: the header is known before any data, so everything is streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np

from eqlr_tools.checkpoints.outputs import Output

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[int], None]


def write_safetensors(file: BinaryIO, outputs: dict[str, Output], metadata: dict[str, str], progress: Progress) -> None:
    """Write the outputs in the order given, each contiguous, row-major and little-endian.

    The same outputs and metadata give the same bytes. The header is padded to a multiple of eight, so that the data
    is aligned for readers that map the file.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    ordered = sorted(outputs.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    offset = 0
    for name, output in ordered:
        end = offset + output.nbytes
        header[name] = {"dtype": output.dtype.name, "shape": list(output.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, output in ordered:
        for block in output.blocks():
            write_block(file, block)
            progress(block.nbytes)


def write_block(file: IO[bytes], block: NDArray[Any]) -> None:
    """Write all bytes of a block: an unbuffered file may take less than it is offered."""
    data = memoryview(block.view(np.uint8))  # type: ignore[arg-type]
    while data:
        data = data[file.write(data) :]
