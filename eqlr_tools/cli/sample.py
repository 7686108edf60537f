"""`eqlr sample`: draw images, to see that a conversion is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqlr_tools.cli import options
from eqlr_tools.onnx_export.runtime import Provider

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from eqlr_tools.rewriting.selection import Selection


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
    from eqlr_tools.onnx_export.png import png
    from eqlr_tools.onnx_export.sampling import Sampling, draw, grid, parse_seeds

    check_target(output, (source,), force)
    wanted = Sampling(parse_seeds(seeds), truncation, label)
    runner = _runner(source, options.selection(network, family, gain, lr_multiplier), provider)
    images = draw(runner, wanted)
    with new_file(output, lambda path: None, force) as file:
        file.write(png(grid(images)))
    count, height, width, _ = images.shape
    note(f"{output}: {count} images of {height}×{width}, seeds {seeds}, truncation {truncation:g}", quiet=quiet)


def _runner(source: Path, chosen: Selection, provider: Provider) -> InferenceSession:
    """The model in the file, or the one that a checkpoint's generator is exported to, in memory."""
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.errors import UnreadableError
    from eqlr_tools.onnx_export.options import Options
    from eqlr_tools.onnx_export.runtime import session
    from eqlr_tools.onnx_export.subject import Choices, subject_of

    if source.suffix == ".onnx":
        if not source.is_file():
            raise UnreadableError(f"{source}: no such file", hint="check the path")
        return session(source, provider)
    subject = subject_of(open_checkpoint(source), chosen, Choices())
    (graph,) = subject.network.graphs(Options()).values()
    return session(graph.model({}).SerializeToString(), provider)
