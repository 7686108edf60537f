"""`eqlr export`: a generator or discriminator as an ONNX graph for inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqlr_tools.cli import options
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Precision, Resampling
from eqlr_tools.onnx_export.runtime import Provider
from eqlr_tools.reports.formats import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr export model.pt model.onnx · eqlr export model.pt model.onnx "
        "--precision fp16 --image uint8 · eqlr export model.pt model.onnx --split --input w+ --noise input · "
        "eqlr export theirs.onnx better.onnx --precision fp16"
    )(export)


def export(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A checkpoint of a known network, or an ONNX model to improve.")
    ],
    target: Annotated[Path, typer.Argument(metavar="DST.onnx", help="The new ONNX file.")],
    network: options.Network = None,
    family: options.Family = None,
    gain: options.Gain = None,
    lr_multiplier: options.LrMultiplier = None,
    clamp: Annotated[
        float | None,
        typer.Option("--clamp", metavar="X", help="Limit activations to ±X as the training code did; inf: no limit."),
    ] = None,
    resampling: Annotated[
        Resampling | None, typer.Option("--resampling", help="How GFPGAN changes sizes, which no file says.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", metavar="N", help="A smaller size of a growing network.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", metavar="X", help="How far the last size is faded in; 1 is wholly.")
    ] = None,
    latent: Annotated[Latent, typer.Option("--input", help="What the graph starts from; w+ is one w per layer.")] = (
        Latent.z
    ),
    noise: Annotated[Noise, typer.Option("--noise", help="The file's noise, none, inputs, or random noise.")] = (
        Noise.const
    ),
    image: Annotated[
        Image, typer.Option("--image", help="float: N,C,H,W around [-1, 1]; uint8: N,H,W,C from 0 to 255.")
    ] = Image.float,
    split: Annotated[bool, typer.Option("--split", help="Two files, DST.mapping.onnx and DST.synthesis.onnx.")] = False,
    precision: Annotated[
        Precision, typer.Option("--precision", help="mixed: fp16 except for layers that it would spoil.")
    ] = Precision.fp32,
    opset: Annotated[
        int | None, typer.Option("--opset", metavar="N", help="ONNX operator set; 18, or 22 for bf16.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODULE:FACTORY", help="Your own torch module instead; this imports it."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--shape", metavar="NAME=SIZES", help="An input of --model without its batch: z=512. Repeatable."),
    ] = None,
    provider: Annotated[Provider, typer.Option("--provider", help="What runs the check.")] = Provider.cpu,
    min_snr: Annotated[
        float | None,
        typer.Option("--min-snr", metavar="DB", help="Least agreement with float64; 100 dB for fp32, 60 for fp16."),
    ] = None,
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write a network as an ONNX graph that runs fast: constants folded in, modulation on the activations, any batch.

    The checkpoint alone is needed. The graph is run and compared with a float64 computation of the network before
    the file gets its name; if they differ, no file is written. An ONNX model as SRC is improved: scales are folded
    into weights, modulated convolutions get constant weights, the batch is freed, and it is compared with what it was.
    """
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.cli.sink import check_output, emit, working
    from eqlr_tools.errors import UsageError
    from eqlr_tools.onnx_export.choices import Choices
    from eqlr_tools.onnx_export.export import Common, export_module
    from eqlr_tools.onnx_export.export import export as run
    from eqlr_tools.onnx_export.options import BF16_OPSET, DEFAULT_OPSET, Options
    from eqlr_tools.reports.export import export_report

    checkpoint = open_checkpoint(source)
    check_output(output, (*checkpoint.files, target), format, force=force)
    if checkpoint.container == "onnx":
        others = (network, family, gain, lr_multiplier, clamp, resampling, resolution, alpha, opset, model, shape)
        if any(value is not None for value in others) or (latent, noise, image, split) != _AS_IT_IS:
            raise UsageError(
                f"{source}: an ONNX model is improved as it is",
                hint="--precision, --provider and --min-snr are the options for that",
            )
        _improve(source, target, precision, provider, min_snr, force, format, output, quiet)
        return
    operators = opset if opset is not None else BF16_OPSET if precision is Precision.bf16 else DEFAULT_OPSET
    wanted = Options(precision=precision, opset=operators, noise=noise, latent=latent, image=image, split=split)
    chosen = options.selection(network, family, gain, lr_multiplier)
    choices = Choices(clamp, resampling.value if resampling else None, resolution, alpha)
    if model is None and shape:
        raise UsageError("--shape goes with --model", hint="the inputs of known networks are known")
    with working(quiet=quiet) as say:
        common = Common(provider, min_snr, force, say)
        if model is None:
            done = run(checkpoint, target, chosen, wanted, choices, common)
        else:
            done = export_module(checkpoint, target, chosen, wanted, model, shape or (), common)
    if not (quiet and format is Format.table):
        emit(export_report(done), format, output, force=force, quiet=quiet)


_AS_IT_IS = (Latent.z, Noise.const, Image.float, False)


def _improve(
    source: Path,
    target: Path,
    precision: Precision,
    provider: Provider,
    min_snr: float | None,
    force: bool,
    form: Format,
    output: Path | None,
    quiet: bool,
) -> None:
    from eqlr_tools.cli.sink import emit, working
    from eqlr_tools.onnx_export.improving.improve import improve
    from eqlr_tools.reports.onnx_improving import improvement_report

    with working(quiet=quiet) as say:
        say(f"improving {source.name}")
        done = improve(source, target, precision=precision, provider=provider, min_snr=min_snr, force=force)
    if not (quiet and form is Format.table):
        emit(improvement_report(done), form, output, force=force, quiet=quiet)
