"""`eqlr bake`: equalized to plain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqlr_tools.cli.groups import Layers, Optimizers, Reading, Writing, selection_of, with_groups
from eqlr_tools.errors import UsageError
from eqlr_tools.reports.formats import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr bake model.pt plain.safetensors · eqlr bake model.pt plain.pt --dry-run · "
        "eqlr bake model.pt g.pt --network g_ema · eqlr bake GFPGAN.pth clean.pth --to clean"
    )(bake)


@with_groups
def bake(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A checkpoint with equalized layers.")],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="The new file: .safetensors, .pt or .pth; .onnx if SRC is one.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORM",
            help="A plain form of the project: clean (GFPGAN's, with √2 in the weights), or original (what its code "
            "loads with use_wscale=False and the like).",
        ),
    ] = None,
    *,
    reading: Reading,
    layers: Layers,
    optimizers: Optimizers,
    writing: Writing,
) -> None:
    """Fold the run-time constants into the weights, so that plain layers compute the same function.

    Optimizer state is converted with its weights, everything else is carried over. The result is read back and
    compared before it gets its name; the source is never changed.
    """
    if target.lower().endswith(".onnx"):
        if writing.max_shard_size:
            raise UsageError(f"{target}: only .safetensors is written in shards", hint="leave out --max-shard-size")
        _bake_onnx(Path(source), Path(target), layers, writing)
        return
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.checkpoints.remote import locate
    from eqlr_tools.cli.rewrite import carry_out
    from eqlr_tools.rewriting.bake import plan_bake, plan_bake_to
    from eqlr_tools.rewriting.optimizer import OptimizerOptions

    chosen = selection_of(reading, layers)
    states = OptimizerOptions(optimizers.keep_trajectory, optimizers.drop_optimizer)
    checkpoint, place = open_checkpoint(source), locate(target)
    plan = (
        plan_bake_to(checkpoint, place, chosen, to, states)
        if to
        else plan_bake(checkpoint, place, chosen, optimizers=states)
    )
    carry_out(plan, chosen, writing)


def _bake_onnx(source: Path, target: Path, layers: Layers, writing: Writing) -> None:
    """An ONNX model states its scales as nodes, so no family and none of its constants are asked for."""
    from eqlr_tools.cli.sink import check_output, emit
    from eqlr_tools.onnx_export.baking import bake_onnx
    from eqlr_tools.reports.onnx_baking import onnx_baking_report

    check_output(writing.output, (source, target), writing.format, force=writing.force)
    include, exclude = layers.include or (), layers.exclude or ()
    baked = bake_onnx(source, target, include=include, exclude=exclude, force=writing.force, dry_run=writing.dry_run)
    if not (writing.quiet and writing.format is Format.table):
        emit(onnx_baking_report(baked), writing.format, writing.output, force=writing.force, quiet=writing.quiet)
