"""`eqlr bake`: equalized to plain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqlr_tools.cli import options
from eqlr_tools.errors import UsageError
from eqlr_tools.reports.formats import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr bake model.pt plain.safetensors · eqlr bake model.pt plain.pt --dry-run · "
        "eqlr bake model.pt g.pt --network g_ema · eqlr bake GFPGAN.pth clean.pth --to clean"
    )(bake)


def bake(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A checkpoint with equalized layers.")],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="The new file: .safetensors, .pt or .pth; .onnx if SRC is one.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="FORM", help="A plain layout of the project: clean (GFPGAN's, with √2 in the weights)."
        ),
    ] = None,
    network: options.Network = None,
    family: options.Family = None,
    gain: options.Gain = None,
    lr_multiplier: options.LrMultiplier = None,
    fan_in: options.FanInOption = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    keep_trajectory: options.KeepTrajectory = False,
    drop_optimizer: options.DropOptimizer = False,
    max_shard_size: options.MaxShardSize = None,
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Fold the run-time constants into the weights, so that plain layers compute the same function.

    Optimizer state is converted with its weights, everything else is carried over. The result is read back and
    compared before it gets its name; the source is never changed.
    """
    if target.lower().endswith(".onnx"):
        if max_shard_size:
            raise UsageError(f"{target}: only .safetensors is written in shards", hint="leave out --max-shard-size")
        _bake_onnx(Path(source), Path(target), include, exclude, force, dry_run, quiet, format, output)
        return
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.checkpoints.remote import locate
    from eqlr_tools.cli.rewrite import carry_out
    from eqlr_tools.rewriting.bake import plan_bake, plan_bake_to
    from eqlr_tools.rewriting.optimizer import OptimizerOptions

    chosen = options.selection(network, family, gain, lr_multiplier, fan_in, include, exclude)
    optimizers = OptimizerOptions(keep_trajectory, drop_optimizer)
    checkpoint, place = open_checkpoint(source), locate(target)
    plan = (
        plan_bake_to(checkpoint, place, chosen, to)
        if to
        else plan_bake(checkpoint, place, chosen, optimizers=optimizers)
    )
    carry_out(
        plan,
        chosen,
        dry_run=dry_run,
        force=force,
        quiet=quiet,
        form=format,
        output=output,
        max_shard_size=max_shard_size,
    )


def _bake_onnx(
    source: Path,
    target: Path,
    include: list[str] | None,
    exclude: list[str] | None,
    force: bool,
    dry_run: bool,
    quiet: bool,
    form: Format,
    output: Path | None,
) -> None:
    """An ONNX model states its scales as nodes, so no family and none of its constants are asked for."""
    from eqlr_tools.cli.sink import check_output, emit
    from eqlr_tools.onnx_export.baking import bake_onnx
    from eqlr_tools.reports.onnx_baking import onnx_baking_report

    check_output(output, (source, target), form, force=force)
    baked = bake_onnx(source, target, include=include or (), exclude=exclude or (), force=force, dry_run=dry_run)
    if not (quiet and form is Format.table):
        emit(onnx_baking_report(baked), form, output, force=force)
