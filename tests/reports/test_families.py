"""`eqlr families`: every family with what can be done with it."""

from __future__ import annotations

import json
from typing import Any

from eqlr_tools.families.registry import FAMILIES


def test_says_what_is_read_written_and_exported(run_cli: Any) -> None:
    result = run_cli("families", "-f", "json")
    assert result.code == 0
    entries = {entry["id"]: entry for entry in json.loads(result.stdout)["families"]}
    assert list(entries) == [family.id for family in FAMILIES]
    rosinality, tf = entries["rosinality-stylegan2"], entries["nvidia-stylegan2-tf"]
    assert (rosinality["baked"], rosinality["converted_to"], rosinality["exported"]) == (True, True, True)
    assert (tf["converted_from"], tf["converted_to"]) == (True, False)
    assert not entries["gfpgan-clean"]["baked"]
    assert entries["aladdin-progan"]["upstream"] == "aladdinpersson/Machine-Learning-Collection"


def test_markdown_has_a_row_per_family(run_cli: Any) -> None:
    lines = run_cli("families", "-f", "markdown").stdout.strip().splitlines()
    assert len(lines) == len(FAMILIES) + 2
    assert all(line.startswith("| ") for line in (lines[0], *lines[2:]))
