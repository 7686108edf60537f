"""What the rewriting commands share: print the plan, or run it with progress and print it with its verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eqlr_tools.cli.options import size_in_bytes
from eqlr_tools.reports.formats import Format

if TYPE_CHECKING:
    from eqlr_tools.cli.groups import Writing
    from eqlr_tools.rewriting.plan import Plan
    from eqlr_tools.rewriting.selection import Selection


def carry_out(plan: Plan, chosen: Selection, writing: Writing) -> None:
    """Run the plan unless it is a dry run, and show it."""
    from eqlr_tools.checkpoints.remote import is_remote
    from eqlr_tools.cli.sink import check_output, emit, progress
    from eqlr_tools.reports.rewriting import plan_report
    from eqlr_tools.rewriting.overflow import refuse_overflow
    from eqlr_tools.rewriting.plan import in_shards
    from eqlr_tools.rewriting.run import check_targets, planned_bytes, written_files
    from eqlr_tools.rewriting.upload import check_remote_target, run_anywhere

    force, form = writing.force, writing.format
    plan = in_shards(plan, size_in_bytes(writing.max_shard_size))
    check_output(writing.output, (*plan.source.files, plan.target, *written_files(plan)), form, force=force)
    verification = None
    if writing.dry_run:
        if is_remote(plan.target):
            check_remote_target(plan.target, force)
        else:
            check_targets(plan, force)
        refuse_overflow(plan)
    else:
        with progress(plan.operation, planned_bytes(plan), quiet=writing.quiet) as advance:
            verification = run_anywhere(plan, chosen, force=force, progress=advance).verification
    report = plan_report(plan, verification)
    if writing.quiet and form is Format.table:
        return
    emit(report, form, writing.output, force=force, quiet=writing.quiet)
