"""Tasks spread over forked processes: tensors are inherited, not sent, and every result is merged as it arrives.

Processes rather than threads: blocks are so short that the interpreter's lock would be the bottleneck. Where fork does
not exist everything runs in this process, with the same result.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from eqlr_tools.errors import EqlrError

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def available_cpus() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_fork() -> bool:
    return "fork" in multiprocessing.get_all_start_methods() and os.name == "posix"


def spread_over(work: Callable[[Task], Answer], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[int, Answer]]:
    """Yield (index, work(task)) in any order, worked on in the order given by `jobs` processes.

    An exception of a worker is raised here. However this generator ends, no worker is left.
    """
    context = multiprocessing.get_context("fork")
    processes: list[Any] = []
    working: list[Any] = []
    remaining = iter(range(len(tasks)))
    try:
        with interrupts_held():
            for _ in range(min(jobs, len(tasks))):
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(there, work, tasks, os.getpid()), daemon=True)
                process.start()
                processes.append(process)
                there.close()
                here.send(next(remaining))
                working.append(here)
        while working:
            ready: list[Any] = multiprocessing.connection.wait(working)
            for connection in ready:
                index, answer = _receive(connection)
                following = next(remaining, None)
                connection.send(following)
                if following is None:
                    working.remove(connection)
                yield index, answer
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C waits: raised inside the hooks that run around a fork it would be lost, or leave a worker behind.

    Masking the signal would not do, since any other thread would then take it and have it raised here all the same.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    waiting: list[Any] = []
    signal.signal(signal.SIGINT, lambda number, frame: waiting.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            signal.raise_signal(signal.SIGINT)


def _serve(connection: Any, work: Callable[[Any], Any], tasks: Sequence[Any], parent: int) -> None:
    """A worker: take indices, send answers, until None comes. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        while not connection.poll(1.0):
            if os.getppid() != parent:
                return
        index = connection.recv()
        if index is None:
            return
        try:
            answer = work(tasks[index])
        except Exception as error:  # noqa: BLE001 - it is raised again in the parent
            connection.send((index, None, error))
        else:
            connection.send((index, answer, None))


def _receive(connection: Any) -> tuple[int, Any]:
    try:
        index, answer, error = connection.recv()
    except EOFError as lost:
        raise EqlrError(
            "a worker process died", hint="the system may have run out of memory; --jobs 1 needs the least"
        ) from lost
    if error is not None:
        raise error
    return index, answer
