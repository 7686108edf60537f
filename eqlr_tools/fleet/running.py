"""Tasks through an executor: a bounded number in flight, records as they come, dead workers replaced."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from eqlr_tools.errors import UnreadableError, UsageError
from eqlr_tools.fleet.tasks import Record, Task, failure, perform

IN_FLIGHT_PER_WORKER = 4
"""Enough to keep every worker busy, few enough that a bucket of a million files fits in memory."""

ATTEMPTS = 3
"""A task that was in flight this often when a worker died is taken to be the reason."""

ExecutorFactory = Callable[[], AbstractContextManager[Executor]]


def run_tasks(tasks: Iterable[Task], workers: int, executor: ExecutorFactory | None) -> Iterator[Record]:
    """Yield a record per task, in the order in which they finish. Without an executor, one after the other, here."""
    if executor is None:
        yield from map(perform, tasks)
        return
    waiting = iter(tasks)
    again: list[tuple[Task, int]] = []
    while True:
        with executor() as pool:
            broken = yield from _drain(pool, waiting, again, workers * IN_FLIGHT_PER_WORKER)
        if not broken:
            return
        again = []
        for task, attempts in broken:
            if attempts >= ATTEMPTS:
                yield failure(task, f"the worker died, {attempts} times")
            else:
                again.append((task, attempts))


def _drain(
    pool: Executor, waiting: Iterator[Task], again: list[tuple[Task, int]], limit: int
) -> Generator[Record, None, list[tuple[Task, int]]]:
    """Yield records until all is done; return the tasks that a broken pool left behind, with their attempts."""
    flying: dict[Future[Record], tuple[Task, int]] = {}
    # After a crash the suspects go one at a time, so that only the guilty one is counted again.
    suspects = list(again)
    try:
        while True:
            while suspects and not flying:
                task, attempts = suspects.pop(0)
                flying[pool.submit(perform, task)] = (task, attempts + 1)
            while not suspects and len(flying) < limit and (fresh := next(waiting, None)) is not None:
                flying[pool.submit(perform, fresh)] = (fresh, 1)
            if not flying:
                return []
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                task, attempts = flying[future]
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise error
                del flying[future]
                yield failure(task, f"{type(error).__name__}: {error}") if error else future.result()
    except BrokenProcessPool:
        return [*flying.values(), *suspects]


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

    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_quiet_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _quiet_worker() -> None:
    """Ctrl-C is the parent's business: it cancels what is left and the workers end with it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _dask_executor(address: str) -> tuple[int, ExecutorFactory]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            "--dask needs the package distributed", hint="pip install -c constraints.txt 'eqlr-tools[dask]'"
        ) from error
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
