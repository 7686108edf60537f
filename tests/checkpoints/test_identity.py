"""What is written says which file it was made from: the hash of all its bytes, or of samples all over a large one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from eqlr_tools.checkpoints.identity import WHOLE_BYTES, identity_of


def test_a_small_file_has_its_own_hash(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"abc" * 1000)
    other.write_bytes(b"def")
    assert identity_of([one]) == {"source_sha256": hashlib.sha256(one.read_bytes()).hexdigest()}
    both = hashlib.sha256(one.read_bytes() + other.read_bytes()).hexdigest()
    assert identity_of([one, other]) == {"source_sha256": both}


def test_samples_of_a_large_file_tell_weights_apart(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, WHOLE_BYTES + 1)
    seen = {identity_of([path])["source_sample_sha256"]}
    for place in (0, WHOLE_BYTES // 255, WHOLE_BYTES):
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(b"x")
        seen.add(identity_of([path])["source_sample_sha256"])
    os.truncate(path, WHOLE_BYTES + 2)
    seen.add(identity_of([path])["source_sample_sha256"])
    assert len(seen) == 5
