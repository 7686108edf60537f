"""Files per second of `eqlr scan` over many small checkpoints, and what a second worker brings.

`python benchmarks/scan.py [--files 2000] [--rounds 3]`. Every way is run in every round, interleaved; medians are
printed, as files per second and as a ratio to one process. The floor is opening each file and reading its first
block, which is what any scan must do.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from eqlr_tools.fleet.running import executor_for, run_tasks
from eqlr_tools.fleet.tasks import Task
from eqlr_tools.fleet.works import scan_work

SAMPLE = Path(__file__).parent.parent / "sample_checkpoints" / "progan_digits.pth.tar"


def scan_with(paths: list[str], jobs: int, dask: str | None = None) -> None:
    workers, executor = executor_for(jobs, dask)
    count = sum(1 for record in run_tasks([Task(path, scan_work) for path in paths], workers, executor))
    assert count == len(paths)


def read_heads(paths: list[str]) -> None:
    for path in paths:
        with open(path, "rb") as file:
            file.read(1 << 14)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = SAMPLE.read_bytes()
        paths = [str(Path(folder) / f"{index}.pt") for index in range(options.files)]
        for path in paths:
            Path(path).write_bytes(data)
        ways: dict[str, Callable[[], None]] = {
            "floor: open and read 16 KiB": lambda: read_heads(paths),
            "1 process": lambda: scan_with(paths, 1),
            "pool of 2": lambda: scan_with(paths, 2),
        }
        cluster = None
        try:
            from distributed import LocalCluster

            cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            address = cluster.scheduler_address
            ways["Dask, 2 workers"] = lambda: scan_with(paths, 1, address)
        except ImportError:
            print("Dask is not installed and was left out")
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, run in ways.items():
                started = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - started)
        if cluster is not None:
            cluster.close()
    alone = statistics.median(times["1 process"])
    print(f"{options.files} files of {len(data):,} bytes, {options.rounds} rounds, medians")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:30} {options.files / median:10,.0f} files/s   {alone / median:6.2f} x one process")


if __name__ == "__main__":
    main()
