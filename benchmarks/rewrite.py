"""How long `eqlr bake` takes and how much memory, beside copying the file and beside load-and-save with the libraries.

    python benchmarks/rewrite.py [--gib 1] [--rounds 5] [--dtypes float32,bfloat16,float16] [--folder DIR]
                                 [--no-libraries] [--listing-gib 2]

Every contender runs in a process of its own, all of them in turn in each round, because disks and neighbours vary
more than the contenders do. Times include start-up, verification, fsync and rename; `cp` is followed by `sync` of its
file. The ratios are those of the medians. CPU seconds are of all threads; they vary less than the clock. What a command
takes beyond its start-up is its time less that of the same command on a file of 2 MiB, which is a contender too.

Last, a `.pt` of `--listing-gib` is opened and its tensors listed, beside a small one: by `eqlr scan`, and in a process
that fails if torch was imported. The file is a hole, since listing reads none of its weights.

The other sources are random weights in torch's parametrization names, made in DIR (by default
a temporary folder) and deleted afterwards. Needs torch and safetensors for them and for the libraries' rows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from memory import sparse_torch_zip

CHILD = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, code)
"""
LIST = """
import sys
from eqlr_tools.checkpoints.opening import open_checkpoint
for network in open_checkpoint(sys.argv[1]).networks:
    for name, tensor in network.tensors.items():
        print(name, tensor.dtype.name, tensor.shape)
assert "torch" not in sys.modules
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


@dataclass(frozen=True)
class Measured:
    """What one run of a command took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def measured(command: list[str]) -> Measured:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    cpu_seconds, memory, code = done.stdout.split()
    if code != "0":
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
    return Measured(seconds, float(cpu_seconds), float(memory))


def in_turn(contenders: dict[str, list[str]], rounds: int, target: Path) -> dict[str, Measured]:
    """The medians of all contenders, and their largest memory. The disk is idle and the target absent before each."""
    results: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, command in contenders.items():
            target.unlink(missing_ok=True)
            os.sync()
            results[name].append(measured(command))
    return {
        name: Measured(
            statistics.median(run.seconds for run in runs),
            statistics.median(run.cpu_seconds for run in runs),
            max(run.peak_mib for run in runs),
        )
        for name, runs in results.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--dtypes", default="float32,bfloat16,float16")
    parser.add_argument("--libraries", action=argparse.BooleanOptionalAction, default=True, help="load and save too")
    parser.add_argument("--listing-gib", type=int, default=2)
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Start-up is that of an installed program, compiled before.
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        base = measured(INTERPRETER).peak_mib
        print(f"interpreter with numpy: {base:.0f} MiB")
        print(f"{'source':24} {'contender':14} {'median s':>9} {'x cp+sync':>10} {'CPU s':>6} {'MiB over base':>14}")
        for dtype in options.dtypes.split(","):
            for suffix in (".safetensors", ".pt"):
                compare(Path(folder), suffix, dtype, base, options)
        list_tensors(Path(folder), base, options)


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
    }
    if options.libraries:
        contenders["load + save"] = [sys.executable, "-c", LOAD_AND_SAVE[suffix], str(source), str(target)]
    results = in_turn(contenders, options.rounds, target)
    copying = results["cp + sync"].seconds
    title = f"{options.gib:g} GiB {dtype} {suffix}"
    for name, run in results.items():
        print(
            f"{title:24} {name:14} {run.seconds:9.2f} {run.seconds / copying:10.2f} {run.cpu_seconds:6.2f} "
            f"{run.peak_mib - base:14.0f}",
            flush=True,
        )
    beyond = results["eqlr bake"].seconds - results["- of 2 MiB"].seconds
    print(f"{title:24} bake beyond start-up: {beyond:.2f} s ({beyond / copying:.2f} x cp+sync)", flush=True)
    for path in (source, small, target):
        path.unlink(missing_ok=True)


def list_tensors(folder: Path, base: float, options: argparse.Namespace) -> None:
    """What opening and listing a large `.pt` takes beyond what a small one takes."""
    large, small = folder / "large.pt", folder / "small.pt"
    sparse_torch_zip(large, options.listing_gib)
    make_source(small, 2 / 1024, "float32")
    scan = [sys.executable, "-m", "eqlr_tools", "scan"]
    listing = [sys.executable, "-c", LIST]
    contenders = {
        "eqlr scan": [*scan, str(large)],
        "- of 2 MiB": [*scan, str(small)],
        "without torch": [*listing, str(large)],
        "- of 2 MiB ": [*listing, str(small)],
    }
    results = in_turn(contenders, options.rounds, folder / "none")
    for name, run in results.items():
        title = f"{options.listing_gib} GiB .pt, listed"
        print(f"{title:24} {name:14} {run.seconds:9.2f} {'':10} {run.cpu_seconds:6.2f} {run.peak_mib - base:14.0f}")
    scanning = results["eqlr scan"].seconds - results["- of 2 MiB"].seconds
    opening = results["without torch"].seconds - results["- of 2 MiB "].seconds
    print(f"{'':24} beyond start-up: scan {scanning:.3f} s, listing {opening:.3f} s")


if __name__ == "__main__":
    main()
