"""Tasks through an executor: a bounded number in flight, records as they come, dead workers replaced.

A large checkpoint's task is cut into calls, which fly like the others; their answers meet here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eqlr_tools.errors import EqlrError, UnreadableError, UsageError
from eqlr_tools.fleet.tasks import Call, Pieces, Record, Task, failure, perform, record_of, stamp_of

IN_FLIGHT_PER_WORKER = 4
"""Enough to keep every worker busy, few enough that a bucket of a million files fits in memory."""

ATTEMPTS = 3
"""A call that was in flight this often when a worker died is taken to be the reason."""

ExecutorFactory = Callable[[], AbstractContextManager[Executor]]


def run_tasks(tasks: Iterable[Task], workers: int, executor: ExecutorFactory | None) -> Iterator[Record]:
    """Yield a record per task, in the order in which they finish. Without an executor, one after the other, here."""
    if executor is None:
        yield from (perform(task.path, task.work) for task in tasks)
        return
    run = _Run(iter(tasks), workers * IN_FLIGHT_PER_WORKER)
    while not run.finished:
        with executor() as pool:
            yield from run.through(pool)


@dataclass
class _Open:
    """A task under way: whole, or in pieces of which `left` are still to be answered."""

    task: Task
    pieces: Pieces | None = None
    left: int = 1
    started: float = field(default_factory=time.perf_counter)
    stamp: str | None = None
    ended: bool = False


@dataclass(eq=False)
class _Flight:
    """A call of a task, and how often it has been handed to a worker."""

    owner: _Open
    call: Call
    attempts: int = 0


class _Run:
    """What waits, what flies, and what was in flight when a pool broke."""

    def __init__(self, tasks: Iterator[Task], limit: int) -> None:
        self.finished = False
        self._tasks = tasks
        self._limit = limit
        self._ready: deque[_Flight] = deque()
        self._suspects: deque[_Flight] = deque()
        self._flying: dict[Future[Any], _Flight] = {}

    def through(self, pool: Executor) -> Iterator[Record]:
        """Yield records until all is done, or the pool breaks."""
        try:
            while True:
                yield from self._fill(pool)
                if not self._flying:
                    self.finished = True
                    return
                done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        raise error
                    yield from self._landed(self._flying.pop(future), error, None if error else future.result())
        except BrokenProcessPool:
            yield from self._crashed()

    def _fill(self, pool: Executor) -> Iterator[Record]:
        """Hand out work. After a crash the suspects go one at a time, so that only the guilty one is counted again."""
        while self._suspects and not self._flying:
            self._launch(pool, self._suspects.popleft())
        while not self._suspects and len(self._flying) < self._limit:
            if not self._ready:
                task = next(self._tasks, None)
                if task is None:
                    return
                yield from self._opened(task)
            else:
                self._launch(pool, self._ready.popleft())

    def _opened(self, task: Task) -> Iterator[Record]:
        """Make calls of a task; a record at once if it cannot even be cut."""
        owner = _Open(task)
        try:
            owner.pieces = task.cut(task.path) if task.cut else None
        except (EqlrError, OSError) as error:
            yield failure(task.path, error, stamp_of(task.path), owner.started)
            return
        if owner.pieces is None:
            self._ready.append(_Flight(owner, Call(perform, (task.path, task.work))))
            return
        owner.stamp, owner.left = stamp_of(task.path), 0
        yield from self._proceed(owner, owner.pieces, owner.pieces.first())

    def _proceed(self, owner: _Open, pieces: Pieces, calls: list[Call]) -> Iterator[Record]:
        owner.left += len(calls)
        self._ready.extend(_Flight(owner, call) for call in calls)
        if owner.left == 0:
            owner.ended = True
            yield record_of(owner.task.path, owner.stamp, owner.started, pieces.content())

    def _launch(self, pool: Executor, flight: _Flight) -> None:
        if flight.owner.ended:
            return
        try:
            self._flying[pool.submit(flight.call)] = flight
        except BrokenProcessPool:
            self._suspects.appendleft(flight)
            raise
        flight.attempts += 1

    def _landed(self, flight: _Flight, error: BaseException | None, answer: Any) -> Iterator[Record]:
        owner = flight.owner
        if owner.ended:
            return
        if error is not None:
            owner.ended = True
            yield failure(owner.task.path, error, owner.stamp, owner.started)
        elif owner.pieces is None:
            owner.ended = True
            yield answer
        else:
            owner.left -= 1
            yield from self._proceed(owner, owner.pieces, owner.pieces.take(flight.call, answer))

    def _crashed(self) -> Iterator[Record]:
        """Keep what was in flight for the next pool, but for what has been there too often."""
        flights = list(self._flying.values())
        self._flying.clear()
        for flight in flights:
            if flight.attempts < ATTEMPTS:
                self._suspects.append(flight)
            elif not flight.owner.ended:
                flight.owner.ended = True
                died = UnreadableError(f"{flight.owner.task.path}: the worker died, {flight.attempts} times")
                yield failure(flight.owner.task.path, died, flight.owner.stamp)


def executor_for(jobs: int, dask: str | None) -> tuple[int, ExecutorFactory | None]:
    """(workers, factory) for `--jobs` and `--dask`. One job needs no executor.

    Raises UsageError if Dask is asked for and not installed, UnreadableError if its cluster does not answer.
    """
    if dask is not None:
        return _dask_executor(dask)
    if jobs == 1:
        return 1, None
    return jobs, lambda: _process_pool(jobs)


@contextmanager
def _process_pool(jobs: int) -> Iterator[Executor]:
    """Worker processes started afresh: forking a process that has threads can leave a lock held for ever."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from eqlr_tools.families.catalogue import added_files

    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare_worker, initargs=(added_files(),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare_worker(families: Iterable[Path]) -> None:
    """Know the families that the parent was given. Ctrl-C is its business: it cancels what is left."""
    import signal

    from eqlr_tools.families.catalogue import add_families

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for path in families:
        add_families(path)


def _dask_executor(address: str) -> tuple[int, ExecutorFactory]:
    from eqlr_tools.families.catalogue import added_files

    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            "--dask needs the package distributed", hint="pip install -c constraints.txt 'eqlr-tools[dask]'"
        ) from error
    if added_files():
        raise UsageError(
            f"the workers of a Dask cluster do not have {added_files()[0]}",
            hint="install the families there as a package (docs/add-a-family.md), and leave --families out",
        )
    try:
        client: Any = Client(address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise UnreadableError(
            f"{address}: no Dask scheduler answers there ({error})", hint="start one with: dask scheduler"
        ) from error
    workers = max(len(client.scheduler_info()["workers"]), 1)

    @contextmanager
    def executor() -> Iterator[Executor]:
        try:
            yield client.get_executor(retries=ATTEMPTS - 1)
        finally:
            client.close()

    return workers, executor
