"""A short, seeded share of what `make fuzz` does for longer."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.hostile import fuzzing

BRIEFLY = settings(
    max_examples=400,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FILES = [*fuzzing.honest_files().values(), *fuzzing.hostile_files().values()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the current one: a canary would appear in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@seed(4)
@BRIEFLY
@given(parts=st.lists(st.sampled_from(fuzzing.INSTRUCTIONS), max_size=40))
def test_streams_of_instructions(parts: list[bytes], folder: Path) -> None:
    fuzzing.outcome(fuzzing.PROTO + b"".join(parts) + fuzzing.STOP, folder)


@seed(4)
@BRIEFLY
@given(data=st.sampled_from(FILES), randoms=st.randoms(use_true_random=False))
def test_mutated_files(data: bytes, randoms: random.Random, folder: Path) -> None:
    fuzzing.outcome(fuzzing.mutated(data, randoms), folder)


@seed(4)
@BRIEFLY
@given(header=st.binary(max_size=64), data=st.binary(max_size=32))
def test_any_bytes(header: bytes, data: bytes, folder: Path) -> None:
    fuzzing.outcome(header + data, folder)


def test_the_fuzzer_reaches_both_ends(folder: Path) -> None:
    """Its files open before they are changed, and some of them after: it does not make rubbish only."""
    assert {fuzzing.outcome(data, folder) for data in fuzzing.honest_files().values()} == {"Checkpoint"}
    found = Counter(fuzzing.outcome(fuzzing.anything(random.Random(number)), folder) for number in range(400))
    assert found["Checkpoint"] >= 5
    assert found["UnreadableError"] >= 20
    assert found["ForbiddenGlobalError"] >= 20


@pytest.mark.parametrize("shape", ["(2, \0}", "(2, ", "(-2, -2)"], ids=["a null byte", "no end", "negative"])
def test_found_by_fuzzing(shape: str, folder: Path) -> None:
    """Headers of numpy for which its parser raises what nobody expects, or nothing."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)
    assert fuzzing.outcome(data, folder) == "UnreadableError"
