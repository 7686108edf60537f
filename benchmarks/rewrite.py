"""How long `eqlr bake` takes and how much memory, beside copying the file and beside load-and-save with the libraries.

    python benchmarks/rewrite.py [--gib 1] [--rounds 5] [--folder DIR] [--libraries]

Every contender runs in a process of its own, all of them in turn in each round, because disks and neighbours vary
more than the contenders do. Times include start-up, verification, fsync and rename; `cp` is followed by `sync` of its
file. The ratios are those of the medians. What a command takes beyond its start-up is its time less that of the same
command on a file of 2 MiB, which is a contender too; `eqlr scan` shows what opening takes.

Sources are random weights in torch's parametrization names, made in DIR (by default
a temporary folder) and deleted afterwards. Needs torch and safetensors for the sources and the libraries' rows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, code)
"""
LOAD_AND_SAVE = {
    ".pt": """
import os, sys, torch
state = torch.load(sys.argv[1], weights_only=True)
for name in list(state):
    if name.endswith("original"):
        state[name.replace("parametrizations.weight.original", "weight")] = state.pop(name).mul_(0.02)
with open(sys.argv[2], "wb") as file:
    torch.save(state, file); file.flush(); os.fsync(file.fileno())
""",
    ".safetensors": """
import os, sys
from safetensors.torch import load_file, save_file
state = load_file(sys.argv[1])
for name in list(state):
    if name.endswith("original"):
        state[name.replace("parametrizations.weight.original", "weight")] = state.pop(name).mul_(0.02)
save_file(state, sys.argv[2])
file = os.open(sys.argv[2], os.O_RDONLY); os.fsync(file)
""",
}
INTERPRETER = [sys.executable, "-c", "import numpy"]


def make_source(path: Path, gib: float, dtype_name: str) -> None:
    """Layers of 4096 x 2048, and one that is a quarter of the file."""
    import torch
    from safetensors.torch import save_file

    dtype = getattr(torch, dtype_name)
    rows = int(gib * 2**30 / 2048 / torch.empty(0, dtype=dtype).element_size())
    sizes = [rows // 4] + [4096] * (rows * 3 // 4 // 4096)
    state = {}
    for index, count in enumerate(sizes):
        state[f"layer{index}.parametrizations.weight.original"] = torch.randn(count, 2048).to(dtype)
        state[f"layer{index}.parametrizations.weight.0.scale"] = torch.tensor(2048**-0.5)
        state[f"layer{index}.bias"] = torch.zeros(count, dtype=dtype)
    torch.save(state, path) if path.suffix == ".pt" else save_file(state, path)


def measured(command: list[str]) -> tuple[float, float]:
    """(seconds, peak resident MiB) of a command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    memory, code = done.stdout.split()
    if code != "0":
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
    return seconds, float(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--dtypes", default="float32,bfloat16,float16")
    parser.add_argument("--libraries", action="store_true", help="also load and save with torch and safetensors")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        base = measured(INTERPRETER)[1]
        print(f"interpreter with numpy: {base:.0f} MiB")
        print(f"{'source':24} {'contender':14} {'median s':>9} {'x cp+sync':>10} {'MiB over base':>14}")
        for dtype in options.dtypes.split(","):
            for suffix in (".safetensors", ".pt"):
                compare(Path(folder), suffix, dtype, base, options)


def compare(folder: Path, suffix: str, dtype: str, base: float, options: argparse.Namespace) -> None:
    source, target = folder / f"source{suffix}", folder / f"target{suffix}"
    make_source(source, options.gib, dtype)
    os.sync()
    small = folder / f"small{suffix}"
    make_source(small, 2 / 1024, dtype)
    eqlr = [sys.executable, "-m", "eqlr_tools"]
    contenders = {
        "cp + sync": ["sh", "-c", f"cp '{source}' '{target}' && sync '{target}'"],
        "eqlr bake": [*eqlr, "bake", str(source), str(target), "--quiet"],
        "- of 2 MiB": [*eqlr, "bake", str(small), str(target), "--quiet"],
        "eqlr scan": [*eqlr, "scan", str(source)],
        "- of 2 MiB ": [*eqlr, "scan", str(small)],
    }
    if options.libraries:
        contenders["load + save"] = [sys.executable, "-c", LOAD_AND_SAVE[suffix], str(source), str(target)]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, command in contenders.items():
            target.unlink(missing_ok=True)
            os.sync()
            results[name].append(measured(command))
    medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in results.items()}
    copying = medians["cp + sync"]
    for name, runs in results.items():
        seconds = medians[name]
        memory = max(run[1] for run in runs) - base
        title = f"{options.gib:g} GiB {dtype} {suffix}"
        print(f"{title:24} {name:14} {seconds:9.2f} {seconds / copying:10.2f} {memory:14.0f}", flush=True)
    beyond = medians["eqlr bake"] - medians["- of 2 MiB"]
    opening = medians["eqlr scan"] - medians["- of 2 MiB "]
    print(f"{title:24} beyond start-up: bake {beyond:.2f} s ({beyond / copying:.2f} x cp+sync), scan {opening:.3f} s")
    source.unlink()
    small.unlink()
    target.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
