"""The figures of `eqlr audit`: against the limits of the machine, measured in the same run, and against naive torch.

    python benchmarks/audit.py [--megabytes 2000] [--rounds 5] [--dtypes F32 BF16 F16] [--no-torch]

Files are generated in memory (/dev/shm) and deleted. Contenders take turns, medians are compared. The engine is timed
inside a running interpreter, the whole command as a process of its own.
"""

from __future__ import annotations

import argparse
import mmap
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from timing import eqlr, interleaved, medians, peak_memory_bytes, run_command, scratch, write_weights

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.ranges import pieces
from eqlr_tools.ranges.audit import subject_of
from eqlr_tools.rewriting.selection import Selection, recognise_all

WITHOUT_NUMBA = "import sys; sys.modules['numba'] = None; from eqlr_tools.cli import main; sys.exit(main(sys.argv[1:]))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", nargs="*", default=["F32", "BF16", "F16"])
    parser.add_argument("--no-torch", action="store_true")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Start-up is that of an installed program, compiled before.
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, numpy {np.__version__}, {options.rounds} rounds\n")
    with tempfile.TemporaryDirectory(dir=scratch(options.megabytes)) as directory:
        for dtype in options.dtypes:
            path = Path(directory) / f"{dtype}.safetensors"
            size = write_weights(path, shapes(options.megabytes * 1_000_000, 4 if dtype == "F32" else 2), dtype)
            big_file(path, size, dtype, options.rounds, torch=not options.no_torch and dtype == "F32")
            path.unlink()
        start_up(Path(directory), options.rounds)


def shapes(nbytes: int, itemsize: int) -> list[tuple[str, tuple[int, ...]]]:
    """A quarter embedding, a half blocks of linear and convolution layers, a quarter one single tensor."""
    rows = nbytes // itemsize // 4096
    found: list[tuple[str, tuple[int, ...]]] = [("embedding.weight", (rows, 1024))]
    per_block = 3072 * 1024 + 4096 * 1024 + 512 * 512 * 9
    for index in range(nbytes // itemsize // 2 // per_block):
        found += [(f"blocks.{index}.attn.weight", (3072, 1024)), (f"blocks.{index}.mlp.weight", (4096, 1024))]
        found += [(f"convs.{index}.weight", (512, 512, 3, 3))]
    return [*found, ("head.weight", (rows // 4, 4096))]


def big_file(path: Path, size: int, dtype: str, rounds: int, *, torch: bool) -> None:
    contenders: dict[str, Callable[[], object]] = {
        "limit: mmap scan, 2 threads": lambda: mmap_scan(path, 2),
        "limit: pread 256 KiB, 1 thread": lambda: pread_scan(path),
        "engine, numpy, 2 processes": lambda: engine(path, 2, accelerated=False),
        "engine, numpy, 1 process": lambda: engine(path, 1, accelerated=False),
        "engine, fast, 2 processes": lambda: engine(path, 2, accelerated=True),
        "engine, fast, 1 process": lambda: engine(path, 1, accelerated=True),
        "whole command, numpy": lambda: run_command(sys.executable, "-c", WITHOUT_NUMBA, "audit", path, "-f", "csv"),
        "whole command, fast": eqlr("audit", path, "-f", "csv"),
    }
    times = medians(interleaved(contenders, rounds))
    limit = times["limit: mmap scan, 2 threads"]
    print(f"{dtype}, {size / 1e9:.2f} GB")
    for name, seconds in times.items():
        print(f"  {name:34} {seconds:7.2f} s {size / seconds / 1e9:6.2f} GB/s {limit / seconds:6.0%} of the mmap scan")
    if torch:
        seconds = naive_torch(path)
        print(f"  {'naive torch, 12 statistics':34} {seconds:7.2f} s, from a tenth of the file:", end=" ")
        print(f"{seconds / times['engine, numpy, 2 processes']:.0f}x the engine's time")
    base = peak_memory_bytes(sys.executable, "-c", "import numpy")
    for jobs in (1, 2):
        command = [sys.executable, "-c", WITHOUT_NUMBA, "audit", path, "-f", "csv", "--jobs", jobs]
        print(f"  peak memory, {jobs} process(es): {(peak_memory_bytes(*command) - base) / 2**20:.0f} MB above numpy's")
    print()


def engine(path: Path, jobs: int, *, accelerated: bool) -> None:
    """What the audit does after the file is recognised."""
    recognition = recognise_all(open_checkpoint(path), Selection())[0]
    subjects = [subject_of(recognition, layer) for layer in recognition.layers]
    pieces.examine_all(subjects, jobs=jobs, accelerated=accelerated)


def mmap_scan(path: Path, threads: int) -> None:
    """Read every byte through a memory map: the most that any reader can do here."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        words = np.frombuffer(view, dtype=np.uint64, count=len(view) // 8)
        share = -(-words.size // threads)

        def scan(part: np.ndarray) -> None:
            for first in range(0, part.size, 1 << 16):
                part[first : first + (1 << 16)].max()

        parts = [threading.Thread(target=scan, args=(words[i * share : (i + 1) * share],)) for i in range(threads)]
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        del words


def pread_scan(path: Path) -> None:
    buffer = bytearray(1 << 18)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def naive_torch(path: Path) -> float:
    """Seconds for twelve statistics of every tensor as one writes them down, extrapolated from a tenth of the file."""
    import torch

    tensors = open_checkpoint(path).networks[0].tensors
    done, elapsed, total = 0, 0.0, sum(tensor.nbytes for tensor in tensors.values())
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.nbytes):
        if done > total / 10:
            break
        t = torch.from_numpy(tensor.values().copy())
        start = time.perf_counter()
        magnitudes = t.abs()
        _ = t.min(), t.max(), t.mean(), t.std(), magnitudes.max(), magnitudes[magnitudes > 0].min()
        _ = (t == 0).sum(), torch.isnan(t).sum(), torch.isinf(t).sum(), (t**2).mean().sqrt()
        _ = ((t - t.mean()) ** 4).mean() / t.var() ** 2, torch.bincount((torch.frexp(t)[1] + 200).flatten())
        elapsed += time.perf_counter() - start
        done += tensor.nbytes
    return elapsed * total / done


def start_up(directory: Path, rounds: int) -> None:
    """Small work, where starting is everything."""
    path = directory / "small.safetensors"
    write_weights(path, [(f"layers.{index}.weight", (256, 256)) for index in range(38)], "F32")
    contenders: dict[str, Callable[[], object]] = {
        "python -c pass": lambda: run_command(sys.executable, "-c", "pass"),
        "import numpy": lambda: run_command(sys.executable, "-c", "import numpy"),
        "eqlr --help": eqlr("--help"),
        "eqlr audit of 10 MB safetensors": eqlr("audit", path),
        "import torch": lambda: run_command(sys.executable, "-c", "import torch"),
    }
    times = medians(interleaved(contenders, max(rounds, 7)))
    print("start-up")
    for name, seconds in times.items():
        ratios = (
            f"{seconds / times['import numpy']:5.1f} x import numpy, 1/{times['import torch'] / seconds:.1f} of torch's"
        )
        print(f"  {name:34} {seconds:7.3f} s {ratios}")


if __name__ == "__main__":
    main()
