"""A large checkpoint is audited in pieces by many workers, with the figures that one process finds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eqlr_tools.errors import UnreadableError
from eqlr_tools.fleet.audit_pieces import AuditInPieces, audit_in_pieces
from eqlr_tools.fleet.running import executor_for, run_tasks
from eqlr_tools.fleet.tasks import Call, Pieces, Record, Task, failure, stamp_of
from eqlr_tools.fleet.works import audit_work
from eqlr_tools.rewriting.selection import Selection
from tests.conftest import Result
from tests.models import aladdin_state


def wide_state() -> dict[str, torch.Tensor]:
    """A network with one weight of more elements than a piece has."""
    generator = torch.Generator().manual_seed(3)
    return aladdin_state(1, channels=8) | {"initial.3.conv.weight": torch.randn(1400, 700, 3, 3, generator=generator)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": wide_state()}, path)
    return str(path)


def cut(path: str) -> Pieces:
    return AuditInPieces((path, stamp_of(path), Selection(), False))


def in_one(path: str) -> Record:
    return audit_work(path, Selection(), exact_quantiles=False)


def records(path: str, jobs: int = 1, dask: str | None = None) -> list[Record]:
    workers, executor = executor_for(jobs, dask)
    return list(run_tasks([Task(path, in_one, cut)], workers, executor))


def test_pieces_give_the_record_of_the_whole(checkpoint: str) -> None:
    calls = cut(checkpoint).first()
    assert len(calls) >= 3
    (whole,) = records(checkpoint)
    (pieced,) = records(checkpoint, jobs=2)
    assert pieced.pop("seconds") > 0
    assert whole.pop("seconds") > 0
    assert pieced == whole


def test_answers_add_up_in_any_order(checkpoint: str) -> None:
    pieces = cut(checkpoint)
    calls: list[Call] = pieces.first()
    order = np.random.default_rng(5)
    while calls:
        call = calls.pop(int(order.integers(len(calls))))
        calls += pieces.take(call, call())
    assert pieces.content() == in_one(checkpoint)


def test_a_small_file_is_not_cut_and_an_index_counts_what_it_lists(tmp_path: Path, checkpoint: str) -> None:
    assert audit_in_pieces(checkpoint, Selection(), exact_quantiles=False) is None
    assert audit_in_pieces(str(tmp_path / "missing.pt"), Selection(), exact_quantiles=False) is None


def test_a_large_file_through_the_command_line(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    state = aladdin_state(0, channels=8) | {"initial.3.conv.weight": torch.randn(2800, 2800, 3, 3)}
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "wide.safetensors")
    assert audit_in_pieces(str(tmp_path / "wide.safetensors"), Selection(), exact_quantiles=False) is not None
    one = run_cli("audit", tmp_path / "wide.safetensors", "-f", "csv", "--jobs", "1", "--quiet")
    two = run_cli("audit", tmp_path / "wide.safetensors", "-f", "parquet", "--jobs", "2", "-o", tmp_path / "a.parquet")
    assert one.code == two.code == 0, two.stderr
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra 'table'")
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert len(rows) == len(one.stdout.splitlines()) - 1


def die_once(flag: str, path: str) -> Record:
    """Kills its worker the first time."""
    if not os.path.exists(flag):
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"networks": [path]}


def die_always() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """Pieces of which one kills every worker that gets it."""

    def first(self) -> list[Call]:
        return [Call(len, ("ab",)), Call(die_always, ()), Call(len, ("abc",))]

    def take(self, call: Call, answer: Any) -> list[Call]:
        return []

    def content(self) -> Record:
        raise AssertionError("never complete")


def deadly(path: str) -> Pieces | None:
    return Deadly() if path == "deadly" else None


def name_only(path: str) -> Record:
    return {"networks": [path]}


def test_a_piece_that_kills_workers_ends_its_own_file_only(tmp_path: Path) -> None:
    once = partial(die_once, str(tmp_path / "flag"))
    tasks = [Task("a", once), Task("deadly", name_only, deadly), *(Task(str(n), name_only, deadly) for n in range(6))]
    found = {record["path"]: record for record in run_tasks(tasks, *executor_for(2, None))}
    assert set(found) == {task.path for task in tasks}
    assert [path for path, record in found.items() if record["error"]] == ["deadly"]


def test_a_file_that_changes_meanwhile_is_an_error(checkpoint: str) -> None:
    pieces = cut(checkpoint)
    calls = pieces.first()
    torch.save({"state_dict": aladdin_state(2, channels=4)}, checkpoint)
    with pytest.raises(UnreadableError, match="changed while it was audited"):
        calls[0]()


def test_what_goes_wrong_is_said_whatever_it_is() -> None:
    assert failure("x.pt", KeyError("y"))["error"] == "x.pt: KeyError: 'y'"
    assert failure("x.pt", UnreadableError("x.pt: no", hint="try"))["hint"] == "try"


def test_a_dask_cluster_shares_a_file_and_survives_a_killed_worker(checkpoint: str) -> None:
    distributed = pytest.importorskip("distributed", reason="--dask needs the extra 'dask'")
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        workers, executor = executor_for(1, cluster.scheduler_address)
        tasks = [Task(checkpoint, in_one, cut), Task(checkpoint, in_one)]
        found = []
        for record in run_tasks(tasks, workers, executor):
            found.append(record)
            if len(found) == 1:
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    first, second = ({**record, "seconds": 0} for record in found)
    assert first == second
    assert first["error"] is None
