"""Ctrl-C during a long audit: exit code 130, a sentence, no process and no file left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest


def _large_file(path: Path, megabytes: int) -> None:
    """A safetensors file of one sparse tensor: large to read, nothing on the disk."""
    rows = megabytes << 8
    header = f'{{"layer.weight":{{"dtype":"F32","shape":[{rows},1024],"data_offsets":[0,{rows * 4096}]}}}}'.encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(np.uint64(len(header)).tobytes() + header)
        file.truncate(8 + len(header) + rows * 4096)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_cleanly(tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "large.safetensors"
    _large_file(path, 16000)
    terminal, child_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "eqlr_tools", "audit", path, "--jobs", str(jobs), "-o", tmp_path / "out.txt"],
        stdout=subprocess.PIPE,
        stderr=child_end,
        start_new_session=True,
        # A runner in the background ignores the signal, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(child_end)
    shown = b""
    while b"GB" not in shown:
        shown += os.read(terminal, 4096)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    try:
        while True:
            shown += os.read(terminal, 4096)
    except OSError:  # The terminal is closed when its last process has gone.
        pass
    assert process.wait(timeout=20) == 130
    assert b"interrupted" in shown
    assert b"Traceback" not in shown
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["large.safetensors"]


WHILE_WORKERS_START = """
import os, signal, sys
from eqlr_tools.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
sys.exit(main(sys.argv[1:]))
"""

IN_A_FINALIZER = """
import os, signal, sys
from eqlr_tools.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.unraisablehook = lambda _: None

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

def opened(event, arguments):
    if event == "open" and str(arguments[0]).endswith("large.safetensors"):
        Finalized()

sys.addaudithook(opened)
sys.exit(main(sys.argv[1:]))
"""

BEFORE_THERE_IS_AN_APPLICATION = """
import sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "eqlr_tools.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from eqlr_tools.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "program",
    [WHILE_WORKERS_START, IN_A_FINALIZER, BEFORE_THERE_IS_AN_APPLICATION],
    ids=["while workers start", "in a finalizer", "before there is an application"],
)
def test_ctrl_c_is_not_lost(program: str, tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    _large_file(path, 100)
    done = subprocess.run(
        [sys.executable, "-c", program, "audit", path, "--jobs", "2", "-o", tmp_path / "out.txt"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 130
    assert done.stderr.splitlines() == ["eqlr: interrupted; nothing was left behind"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["large.safetensors"]


@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_is_no_error(tmp_path: Path, stream: int) -> None:
    path = tmp_path / "large.safetensors"
    _large_file(path, 1)
    done = subprocess.run(
        [sys.executable, "-m", "eqlr_tools", "audit", path, "-o", tmp_path / "out.json", "-f", "json"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.close(stream),
    )
    assert done.returncode == 0
    assert done.stdout == ""
    assert "error" not in done.stderr
