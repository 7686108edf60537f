"""`eqlr convert`: one family's layout to another's."""

from __future__ import annotations

from typing import Annotated

import typer

from eqlr_tools.cli.groups import Reading, Writing, selection_of, with_groups


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr convert network.pkl out.pt --to rosinality-stylegan2 · "
        "eqlr convert model.pt out.safetensors --to plain --network g_ema · "
        "eqlr convert model.pt out.pt --to nvidia-stylegan2-ada --dry-run"
    )(convert)


@with_groups
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A checkpoint of a known architecture.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The new file: .safetensors, .pt or .pth.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="FAMILY", help="The family to write, or plain: baked weights under eqlr's canonical names."
        ),
    ],
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            metavar="NAME",
            help="What may be lost, by the name that a refusal gives it: conv_clamp, noise, w_avg, ... Repeatable.",
        ),
    ] = None,
    *,
    reading: Reading,
    writing: Writing,
) -> None:
    """Write a checkpoint as another project has it: names, layouts, kernel orientation, constants, averages.

    The result is read back and compared with the source, parameter by parameter, before it gets its name. What the
    target cannot express is an error that names it. Optimizer state goes along where the order of the target's
    parameters is known; where it cannot, it is left out, and a note says why.
    """
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.checkpoints.remote import locate
    from eqlr_tools.cli.rewrite import carry_out
    from eqlr_tools.rewriting.convert import plan_convert

    chosen = selection_of(reading)
    plan = plan_convert(open_checkpoint(source), locate(target), chosen, to=to, accept=accept or ())
    carry_out(plan, chosen, writing)
