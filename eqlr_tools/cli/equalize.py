"""`eqlr equalize`: plain to equalized."""

from __future__ import annotations

from typing import Annotated

import typer

from eqlr_tools.cli.groups import Constants, Layers, Optimizers, Writing, selection_of, with_groups


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr equalize plain.pt equalized.pt · eqlr equalize plain.pt out.safetensors "
        "--exact --exclude 'head*' · eqlr equalize baked.pt back.pt --to rosinality-stylegan2"
    )(equalize)


@with_groups
def equalize(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A checkpoint with plain layers.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The new file: .safetensors, .pt or .pth.")],
    to: Annotated[
        str, typer.Option("--to", metavar="FAMILY", help="Whose names to write; the default stores the constants.")
    ] = "torch-parametrize",
    exact: Annotated[
        bool, typer.Option("--exact", help="Round constants to powers of two: baking gives back every bit.")
    ] = False,
    *,
    constants: Constants,
    layers: Layers,
    optimizers: Optimizers,
    writing: Writing,
) -> None:
    """Divide plain weights by their He constants and store the constants beside them.

    Linear, convolution and transposed convolution weights are taken; embeddings, norms and buffers never. The
    effective weights stay the same to 1 ulp, with --exact to the bit. Optimizer state is converted along.
    """
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.checkpoints.remote import locate
    from eqlr_tools.cli.rewrite import carry_out
    from eqlr_tools.rewriting.equalize import plan_equalize
    from eqlr_tools.rewriting.optimizer import OptimizerOptions

    chosen = selection_of(constants, layers)
    states = OptimizerOptions(optimizers.keep_trajectory, optimizers.drop_optimizer)
    plan = plan_equalize(open_checkpoint(source), locate(target), chosen, to=to, exact=exact, optimizers=states)
    carry_out(plan, chosen, writing)
