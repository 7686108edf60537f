"""`eqlr sample`: draw images, to see that a conversion is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqlr_tools.cli import options
from eqlr_tools.onnx_export.runtime import Provider


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr sample model.onnx -o grid.png · eqlr sample model.pt -o grid.png "
        "--seeds 0-15 --truncation 0.7"
    )(sample)


def sample(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="An ONNX file of eqlr export, or a checkpoint.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.png", help="The picture to write.")],
    seeds: Annotated[str, typer.Option("--seeds", metavar="LIST", help="One image per seed: 0-15, or 3,5,8.")] = "0-15",
    truncation: Annotated[
        float, typer.Option("--truncation", metavar="PSI", help="Strength of w around its average; 1 is untruncated.")
    ] = 1.0,
    label: Annotated[
        int | None, typer.Option("--class", metavar="N", help="Class, for conditional generators.")
    ] = None,
    network: options.Network = None,
    family: options.Family = None,
    gain: options.Gain = None,
    lr_multiplier: options.LrMultiplier = None,
    provider: Annotated[Provider, typer.Option("--provider", help="What runs the model.")] = Provider.cpu,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Draw images from a generator by ONNX Runtime, as one PNG file: what the exported graph really computes."""
    from eqlr_tools.checkpoints.atomic import check_target, new_file
    from eqlr_tools.cli.sink import note
    from eqlr_tools.errors import UsageError
    from eqlr_tools.onnx_export.png import png
    from eqlr_tools.onnx_export.sampling import Sampling, draw, grid, parse_seeds, runner

    if output.suffix.lower() != ".png":
        raise UsageError(f"{output}: pictures are written as PNG", hint="name it .png")
    check_target(output, (source,), force)
    wanted = Sampling(parse_seeds(seeds), truncation, label)
    model = runner(source, options.selection(network, family, gain, lr_multiplier), provider)
    images = draw(model, wanted)
    with new_file(output, lambda path: None, force) as file:
        file.write(png(grid(images)))
    count, height, width, _ = images.shape
    note(f"{output}: {count} images of {height}×{width}, seeds {seeds}, truncation {truncation:g}", quiet=quiet)
