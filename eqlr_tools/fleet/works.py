"""The work of each command on one checkpoint, as functions that a worker process can be told by name."""

from __future__ import annotations

from typing import Any

from eqlr_tools.fleet.tasks import Record


def scan_work(path: str) -> Record:
    """Recognise the networks of a checkpoint; headers only."""
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.families.registry import recognise
    from eqlr_tools.reports.scan import scan_content

    checkpoint = open_checkpoint(path)
    recognitions = [recognise(checkpoint, network) for network in checkpoint.networks]
    content: dict[str, Any] = scan_content(checkpoint, recognitions)
    return content
