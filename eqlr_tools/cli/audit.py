"""`eqlr audit`: how far do the weights range, stored and effective?"""

from __future__ import annotations

from typing import Annotated

import typer

from eqlr_tools.cli import options
from eqlr_tools.reports.rendering import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr audit model.pt · eqlr audit model.pt --network g_ema "
        "--include 'to_rgb*' · eqlr audit runs/ -f csv -o ranges.csv"
    )(audit)


def audit(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, directories or globs.")],
    network: options.Network = None,
    family: options.Family = None,
    gain: options.Gain = None,
    lr_multiplier: options.LrMultiplier = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Report the range of every layer's weights, as stored and as applied, and how unequally the layers learn.

    rms, std, smallest non-zero and largest magnitude, the binades (powers of two) between them, zeros, NaN and
    infinities. "adam steps per rms" says how many Adam steps of lr 1e-3 move a weight by one rms of its layer;
    where the file holds Adam's state, the steps that it takes are measured too.
    """
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.cli.paths import checkpoints_under
    from eqlr_tools.cli.sink import emit, note, progress
    from eqlr_tools.errors import NothingMatchedError
    from eqlr_tools.ranges.audit import audit_network, audited_bytes
    from eqlr_tools.ranges.training import training_of
    from eqlr_tools.reports.audit import audit_report
    from eqlr_tools.rewriting.selection import recognise_all, refuse_undecided

    chosen = options.selection(network, family, gain, lr_multiplier, None, include, exclude)
    audits = []
    for path in checkpoints_under(paths):
        checkpoint = open_checkpoint(path)
        recognitions, training = recognise_all(checkpoint, chosen), training_of(checkpoint)
        refuse_undecided(checkpoint, recognitions)
        for sentence in training.notes:
            note(f"{path}: {sentence}", quiet=quiet)
        with progress(f"audit {path.name}", audited_bytes(recognitions), quiet=quiet) as advance:
            audits.append((path, [audit_network(r, chosen.wants, advance, training=training) for r in recognitions]))
    if not any(network.layers for _, networks in audits for network in networks):
        raise NothingMatchedError("no layer to audit", hint="eqlr explain FILE lists the layers; check the globs")
    emit(audit_report(audits), format, output, force=force)
