"""Which file was it? A hash of its bytes, or of samples all over it where reading them all would take too long."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from eqlr_tools.checkpoints.remote import is_remote
from eqlr_tools.checkpoints.sources import FileSource

WHOLE_BYTES = 1 << 26
"""SHA-256 of a gigabyte costs as much as writing it; of 64 MiB, a few hundredths of a second."""

_SAMPLES = 256
_SAMPLE_BYTES = 1 << 16


def identity_of(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of what the files hold, one after the other, as `source_sha256`: of one file what `sha256sum` prints.

    Above 64 MiB it is `source_sample_sha256`: of 256 runs of 64 KiB, evenly spaced from the first byte of each file to
    its last, behind the file's size (8 bytes, little-endian). No two epochs of a training share that. Of remote files,
    which would be fetched once more, nothing is said.
    """
    if any(is_remote(path) for path in files):
        return {}
    sources = [FileSource(path) for path in files]
    digest = hashlib.sha256()
    if sum(source.size for source in sources) <= WHOLE_BYTES:
        for source in sources:
            digest.update(source.read(0, source.size))
        return {"source_sha256": digest.hexdigest()}
    for source in sources:
        digest.update(source.size.to_bytes(8, "little"))
        last = max(source.size - _SAMPLE_BYTES, 0)
        for place in sorted({index * last // (_SAMPLES - 1) for index in range(_SAMPLES)}):
            digest.update(source.read(place, min(_SAMPLE_BYTES, source.size)))
    return {"source_sample_sha256": digest.hexdigest()}
