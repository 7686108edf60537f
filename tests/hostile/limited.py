"""The command line under the promised limits: a process of its own for every case, forked from one that has imported.

`python -m tests.hostile.limited` reads one JSON list of arguments per line, and answers with the exit code and what was
printed. Each child may use 1 GiB of addresses and 10 seconds of processor time, which unlike the time on the clock
does not depend on what else the machine does; whoever sleeps is killed by an alarm.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests.conftest import ROOT, Result

SECONDS = 10
BYTES = 1 << 30
ASLEEP_SECONDS = 120


class Limited:
    """The forking process, from the side of the tests."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *arguments: object, folder: Path) -> Result:
        """Run `eqlr ARGUMENTS...` in the folder. The code is negative if a limit killed it: the signal's number."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([str(folder), *map(str, arguments)]) + "\n")
        self._process.stdin.flush()
        return Result(*json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def limited() -> Iterator[Limited]:
    """Start the forking process, and end it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.hostile.limited"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as process:
        yield Limited(process)
        assert process.stdin
        process.stdin.close()


def _serve() -> None:
    from eqlr_tools.cli import main

    with contextlib.redirect_stderr(io.StringIO()):  # What every case needs is imported once.
        main(["bake", "/dev/null/absent.pt", "/dev/null/out.pt"])
        main(["equalize", "/dev/null/absent.pt", "/dev/null/out.pt"])
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        folder, *arguments = json.loads(line)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = os.fork()
            if child == 0:
                _limit(folder, out, err)
                code = main(arguments)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            _, status = os.waitpid(child, 0)
            out.seek(0)
            err.seek(0)
            answers.write(json.dumps([os.waitstatus_to_exitcode(status), out.read(), err.read()]) + "\n")
            answers.flush()


def _limit(folder: str, out: IO[str], err: IO[str]) -> None:
    os.chdir(folder)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    signal.alarm(ASLEEP_SECONDS)


if __name__ == "__main__":
    _serve()
