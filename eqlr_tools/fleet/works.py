"""The work of each command on one checkpoint, as functions that a worker process can be told by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eqlr_tools.fleet.tasks import Record

if TYPE_CHECKING:
    from eqlr_tools.rewriting.selection import Selection


def scan_work(path: str) -> Record:
    """Recognise the networks of a checkpoint; headers only."""
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.families.registry import recognise
    from eqlr_tools.reports.scan import scan_content

    checkpoint = open_checkpoint(path)
    recognitions = [recognise(checkpoint, network) for network in checkpoint.networks]
    content: dict[str, Any] = scan_content(checkpoint, recognitions)
    return content


def audit_work(path: str, chosen: Selection, exact_quantiles: bool) -> Record:
    """Audit the chosen layers of a checkpoint, in this process alone."""
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.ranges.audit import audit_networks
    from eqlr_tools.ranges.training import training_of
    from eqlr_tools.reports.audit import audit_json
    from eqlr_tools.rewriting.selection import recognise_all, refuse_undecided

    checkpoint = open_checkpoint(path)
    recognitions = recognise_all(checkpoint, chosen)
    refuse_undecided(checkpoint, recognitions)
    networks = audit_networks(
        recognitions, chosen.wants, exact_quantiles=exact_quantiles, training=training_of(checkpoint), jobs=1
    )
    content: dict[str, Any] = audit_json([(checkpoint.path, networks)])
    return {"networks": content["files"][0]["networks"]}
