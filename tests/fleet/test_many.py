"""Many checkpoints: the same records however they are worked through, and no file that ends the run."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eqlr_tools.fleet.running import ATTEMPTS, executor_for, run_tasks
from eqlr_tools.fleet.tasks import Record, Task
from tests.conftest import Result
from tests.models import aladdin_state

SMALL = 24


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for index in range(SMALL):
        torch.save({"state_dict": aladdin_state(index, channels=2)}, folder / f"{index:04}.pt")
    (folder / "broken.pt").write_bytes(b"PK\x03\x04 this is no archive")
    return folder


def records(text: str) -> dict[str, dict[str, Any]]:
    """Records by path, without what differs between runs."""
    found = {}
    for line in text.splitlines():
        record = json.loads(line)
        record.pop("seconds")
        found[record["path"]] = record
    return found


def test_workers_give_the_same_records_and_one_broken_file_is_a_row(
    run_folder: Path, run_cli: Callable[..., Result]
) -> None:
    alone = run_cli("scan", run_folder, "-f", "jsonl", "--jobs", "1")
    together = run_cli("scan", run_folder, "-f", "jsonl", "--jobs", "2")
    assert alone.code == together.code == 2
    assert records(alone.stdout) == records(together.stdout)
    assert len(records(alone.stdout)) == SMALL + 1
    failed = [record for record in records(alone.stdout).values() if record["error"]]
    assert [Path(record["path"]).name for record in failed] == ["broken.pt"]
    assert f"{SMALL + 1} checkpoints, 1 with errors" in alone.stderr


def test_csv_and_parquet_hold_the_same_rows(run_folder: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra 'table'")
    run_cli("scan", run_folder, "-f", "csv", "-o", tmp_path / "scan.csv")
    run_cli("scan", run_folder, "-f", "parquet", "-o", tmp_path / "scan.parquet")
    with open(tmp_path / "scan.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "scan.parquet").to_pylist()
    assert len(rows) == len(table) == SMALL + 1
    assert [row["path"] for row in rows] == [row["path"] for row in table]
    assert [row["layers"] for row in rows] == ["" if row["layers"] is None else str(row["layers"]) for row in table]


def test_resume_does_what_is_left_and_what_changed(
    run_folder: Path, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "scan.jsonl"
    arguments = ["scan", run_folder, "-f", "jsonl", "-o", out, "--resume"]
    run_cli(*arguments)
    lines = out.read_text().splitlines(keepends=True)
    # As a killed run leaves it: the last line is cut in two.
    out.write_text("".join(lines[:10]) + lines[10][:20])
    torch.save({"state_dict": aladdin_state(99, channels=4)}, run_folder / "0000.pt")
    result = run_cli(*arguments)
    assert result.code == 2
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert {record["path"] for record in found} == {str(path) for path in run_folder.glob("*.pt")}
    assert sum(record["path"].endswith("0000.pt") for record in found) == 2
    assert "skipped" in result.stderr
    again = run_cli(*arguments)
    assert f"1 checkpoint, 1 with errors, {SMALL} skipped" in again.stderr


def test_resume_refuses_a_file_that_is_no_journal(
    run_folder: Path, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("precious notes\n")
    result = run_cli("scan", run_folder, "-f", "jsonl", "-o", other, "--resume")
    assert result.code == 2
    assert other.read_text() == "precious notes\n"
    assert run_cli("scan", run_folder, "--resume").code == 2


def die_on_three(path: str) -> Record:
    """Work that kills its worker, as the kernel does when memory runs out."""
    if path == "3":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"networks": [path]}


def test_a_dying_worker_costs_only_the_file_that_kills_it() -> None:
    workers, executor = executor_for(2, None)
    tasks = [Task(str(index), die_on_three) for index in range(12)]
    found = {record["path"]: record for record in run_tasks(tasks, workers, executor)}
    assert set(found) == {task.path for task in tasks}
    assert [path for path, record in found.items() if record["error"]] == ["3"]
    assert str(ATTEMPTS) in found["3"]["error"]


def slow_scan(path: str) -> Record:
    time.sleep(0.05)
    from eqlr_tools.fleet.works import scan_work

    return scan_work(path)


def test_a_dask_cluster_survives_a_killed_worker(run_folder: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="--dask needs the extra 'dask'")
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    paths = sorted(map(str, run_folder.glob("*.pt")))
    expected = {record["path"]: record for record in run_tasks([Task(path, slow_scan) for path in paths], 1, None)}
    with distributed.LocalCluster(**options) as cluster:
        workers, executor = executor_for(1, cluster.scheduler_address)
        found: dict[str, Record] = {}
        for record in run_tasks([Task(path, slow_scan) for path in paths], workers, executor):
            found[record["path"]] = record
            if len(found) == 5:
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    strip = [{**record, "seconds": 0} for record in (found[path] for path in paths)]
    assert strip == [{**expected[path], "seconds": 0} for path in paths]


def test_two_thousand_checkpoints(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    torch.save({"state_dict": aladdin_state(0, channels=1)}, tmp_path / "one.pt")
    data = (tmp_path / "one.pt").read_bytes()
    for index in range(2000):
        (folder / f"{index}.pt").write_bytes(data)
    result = run_cli("scan", folder, "--jobs", "2", "-f", "jsonl", "-o", tmp_path / "out.jsonl", "--quiet")
    assert result.code == 0
    found = records((tmp_path / "out.jsonl").read_text())
    assert len(found) == 2000
    assert {record["family"] for record in found.values()} == {"aladdin-progan"}


def test_audits_stream_too(run_folder: Path, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    alone = run_cli("audit", run_folder, "-f", "jsonl", "--jobs", "1")
    together = run_cli("audit", run_folder, "-f", "jsonl", "--jobs", "2")
    assert alone.code == together.code == 2
    assert records(alone.stdout) == records(together.stdout)
    whole = run_cli("audit", run_folder / "0003.pt", "-f", "json")
    one = records(alone.stdout)[str(run_folder / "0003.pt")]
    assert one["networks"] == json.loads(whole.stdout)["files"][0]["networks"]
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra 'table'")
    assert run_cli("audit", run_folder, "-f", "parquet", "-o", tmp_path / "a.parquet").code == 2
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert {row["weights"] for row in rows} == {"stored", "effective", None}
    assert sum(row["error"] is not None for row in rows) == 1
    refused = run_cli("audit", run_folder, "-f", "jsonl", "--fail-on", "nonfinite>0")
    assert refused.code == 2
