"""`eqlr verify`: do two checkpoints compute the same effective weights?"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from eqlr_tools.cli.groups import Reading, Showing, selection_of, with_groups


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr verify model.pt plain.safetensors · eqlr verify a.pt b.pt --max-ulp 0"
    )(verify)


@with_groups
def verify(
    first: Annotated[str, typer.Argument(metavar="A", help="A checkpoint.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    max_ulp: Annotated[int, typer.Option("--max-ulp", min=0, help="Largest difference allowed.")] = 2,
    *,
    reading: Reading,
    showing: Showing,
) -> int:
    """Compare the effective weights of two checkpoints, in units in the last place.

    Either may be equalized, baked or plain. Exit code 1 if a tensor differs by more than --max-ulp, or is missing.
    --family, --gain, --lr-multiplier and --fan-in speak of A.
    """
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.cli.sink import check_output, emit, progress
    from eqlr_tools.reports.rewriting import verify_report
    from eqlr_tools.rewriting.selection import Selection, recognise_all, refuse_undecided
    from eqlr_tools.rewriting.verify import verify as compare

    a, b = open_checkpoint(first), open_checkpoint(second)
    check_output(showing.output, (*a.files, *b.files), showing.format, force=showing.force)
    names = [{net.name for net in checkpoint.networks} for checkpoint in (a, b)]
    ours = [name for name in reading.network or [] if name in names[0] or name not in names[1]]
    theirs = [name for name in reading.network or [] if name in names[1]]
    left = recognise_all(a, selection_of(replace(reading, network=ours)))
    right = recognise_all(b, Selection(networks=tuple(theirs)))
    refuse_undecided(a, left)
    refuse_undecided(b, right)
    with progress(
        "verify", sum(t.nbytes for r in left for t in r.network.tensors.values()), quiet=showing.quiet
    ) as advance:
        result = compare(left, right, tolerance_ulp=max_ulp, progress=advance)
    emit(
        verify_report(a.path, b.path, result), showing.format, showing.output, force=showing.force, quiet=showing.quiet
    )
    return 0 if result.passed else 1
