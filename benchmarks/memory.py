"""Peak memory of `eqlr bake` and `eqlr audit` on files of growing size.

    python benchmarks/memory.py [--gib 2 4 8] [--folder DIR]

The files are holes: a header, and weights that read as zeros without taking space. What `bake` writes takes all of
its size in DIR (by default a temporary folder), and is deleted at once. Memory is the largest resident size of the
command or of one of its workers, above that of an interpreter with numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from timing import peak_memory_bytes

from eqlr_tools.checkpoints import zip_layout
from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.checkpoints.outputs import Output, constant_tensor
from eqlr_tools.checkpoints.sources import FileSource
from eqlr_tools.checkpoints.streaming import Written
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.checkpoints.torch_writer import write_torch_zip

COLUMNS = 4096
LARGEST_SHARE = 4
"""One tensor is a quarter of the file; the others have 64 MiB."""


def shapes(gib: int) -> dict[str, tuple[int, ...]]:
    rows = (gib << 30) // 4 // COLUMNS
    small = 4096
    sizes = [rows // LARGEST_SHARE] + [small] * ((rows - rows // LARGEST_SHARE) // small)
    return {f"layer{index}.parametrizations.weight.original": (count, COLUMNS) for index, count in enumerate(sizes)}


def sparse_safetensors(path: Path, gib: int) -> None:
    """The scales come first, because they are read; what follows is a hole."""
    header: dict[str, object] = {}
    weights = shapes(gib)
    scales = np.full(len(weights), COLUMNS**-0.5, np.float32).tobytes()
    end = len(scales)
    for index, (name, shape) in enumerate(weights.items()):
        scale = name.replace("original", "0.scale")
        header[scale] = {"dtype": "F32", "shape": [], "data_offsets": [4 * index, 4 * index + 4]}
        nbytes = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + nbytes]}
        end += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + scales)
    os.truncate(path, 8 + len(text) + end)


def sparse_torch_zip(path: Path, gib: int) -> None:
    """Written by eqlr's own writer, which is kept from writing what is a hole."""
    hole = path.with_suffix(".hole")
    hole.touch()
    os.truncate(hole, max(4 * rows * columns for rows, columns in shapes(gib).values()))
    tree: dict[str, Output] = {}
    for name, shape in shapes(gib).items():
        storage = Storage(FileSource(hole), 0, 4 * shape[0] * shape[1])
        tree[name] = Output(Tensor(storage, BY_NAME["F32"], shape, contiguous_strides(shape)))
        tree[name.replace("original", "0.scale")] = Output(constant_tensor(np.float32(COLUMNS**-0.5), "F32"))
    write = zip_layout.write_placed

    def write_scales(descriptor: int, placed: list[zip_layout.Placed], *rest: object, **more: bool) -> Written:
        write(descriptor, [item for item in placed if not item.output.shape], *rest, **more)  # type: ignore[arg-type]
        return Written([], [0] * len(placed))

    sparse = mock.patch.multiple(zip_layout, write_placed=write_scales, reserve=os.truncate)
    with sparse, open(path, "w+b", buffering=0) as file:
        write_torch_zip(file, tree, {}, lambda _: None)
    hole.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    base = peak_memory_bytes(sys.executable, "-c", "import numpy")
    print(f"interpreter with numpy: {base >> 20} MiB")
    print(f"{'container':14} {'GiB':>4} {'command':8} {'MiB above it':>13}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for suffix, make in ((".safetensors", sparse_safetensors), (".pt", sparse_torch_zip)):
            source, target = Path(folder, f"source{suffix}"), Path(folder, f"target{suffix}")
            for gib in options.gib:
                make(source, gib)
                for command, *more in (("audit", source, "-f", "json"), ("bake", source, target, "--quiet")):
                    peak = peak_memory_bytes(sys.executable, "-m", "eqlr_tools", command, *more)
                    print(f"{suffix:14} {gib:4} {command:8} {(peak - base) >> 20:13}", flush=True)
                source.unlink()
                target.unlink()


if __name__ == "__main__":
    main()
