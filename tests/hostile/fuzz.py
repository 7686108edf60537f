"""`make fuzz`: read random files until the time is up. `python -m tests.hostile.fuzz --seed 1 --seconds 300`

Every file has a number; a finding prints it, and `--seed NUMBER --seconds 0` makes that one file again.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.hostile import fuzzing
from tests.hostile.limited import BYTES, SECONDS


def main() -> int:
    """Return 0 if nothing was found, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="number of the first file")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    found: Counter[str] = Counter()
    number, end = arguments.seed, time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        while number == arguments.seed or time.monotonic() < end:
            data = fuzzing.anything(random.Random(number))
            start = time.process_time()
            try:
                found[fuzzing.outcome(data, Path(name))] += 1
                assert time.process_time() - start < SECONDS, "too slow"
            except Exception:  # noqa: BLE001 - whatever it is, it is the finding
                traceback.print_exc()
                print(f"file {number}: {data!r}\nagain: python -m tests.hostile.fuzz --seed {number} --seconds 0")
                return 1
            number += 1
    outcomes = ", ".join(f"{count:,} {kind}" for kind, count in found.most_common())
    print(f"files {arguments.seed} to {number - 1}: {outcomes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
