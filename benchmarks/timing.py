"""What the benchmarks share: interleaved rounds, medians, peak memory of a child process, generated files."""

from __future__ import annotations

import json
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run every contender once per round, so that a disturbance hits them all; seconds of each run."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(runs) for name, runs in times.items()}


def run_command(*arguments: object) -> None:
    """Run a command whose output nobody needs; fails loudly."""
    subprocess.run([str(a) for a in arguments], check=True, stdout=subprocess.DEVNULL)


def eqlr(*arguments: object) -> Callable[[], None]:
    """A contender that runs the command line in a fresh interpreter."""
    return lambda: run_command(sys.executable, "-m", "eqlr_tools", *arguments)


def peak_memory_bytes(*arguments: object) -> int:
    """The largest resident memory of a command, of itself or of its largest child."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    return int(done.stdout)


def write_weights(path: Path, shapes: Iterable[tuple[str, tuple[int, ...]]], dtype: str) -> int:
    """Write a safetensors file of normal weights with He's standard deviation, block by block; returns its bytes."""
    kind = BY_NAME[dtype]
    header, offset = {}, 0
    for name, shape in shapes:
        nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + nbytes]}
        offset += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    normal = np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in header.values():
            shape = entry["shape"]
            bits = kind.bits(normal / np.float32(np.sqrt(max(np.prod(shape[1:]), 1))))
            remaining = int(np.prod(shape, dtype=np.int64))
            while remaining > 0:
                file.write(bits[:remaining].tobytes())
                remaining -= bits.size
    return 8 + len(text) + offset


def scratch(megabytes: int) -> Path:
    """A directory in memory if there is room, so that no disk is measured, else in the temporary one."""
    memory = Path("/dev/shm")
    if memory.is_dir():
        stat = os.statvfs(memory)
        if stat.f_bavail * stat.f_frsize > (megabytes << 20) * 3 // 2:
            return memory
    return Path(os.environ.get("TMPDIR", "/tmp"))
