"""`eqlr audit`: how far do the weights range, stored and effective?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqlr_tools.cli import many, options
from eqlr_tools.reports.formats import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eqlr_tools.ranges.audit import NetworkRange
    from eqlr_tools.reports.baseline import Comparison, Json
    from eqlr_tools.reports.rules import Rule
    from eqlr_tools.rewriting.selection import Selection

FailOn = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="RULE",
        help="Exit with 1 if this is true of a layer: 'effective.abs_max>65504', 'to_rgb*: fp16_subnormal>0.1%', "
        "'drift.rms>2x'. Repeatable.",
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help="Compare with an earlier audit, written with --format json."),
]
Sort = Annotated[
    str | None,
    typer.Option("--sort", metavar="FIELD", help="Worst first, such as abs_max or effective.fp16_subnormal."),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Also draw the histograms, as .svg or .png."),
]

Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", metavar="N", min=1, help="Processes to work with; by default as many as pay."),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr audit model.pt · eqlr audit model.pt --network g_ema "
        "--include 'to_rgb*' · eqlr audit runs/ -f csv -o ranges.csv · eqlr audit model.pt -f html -o report.html · "
        "eqlr audit model.pt --fail-on 'nonfinite>0' --fail-on 'effective.fp16_overflow>0'"
    )(audit)


def audit(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, directories or globs.")],
    network: options.Network = None,
    family: options.Family = None,
    gain: options.Gain = None,
    lr_multiplier: options.LrMultiplier = None,
    fan_in: options.FanInOption = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    sort: Sort = None,
    fail_on: FailOn = None,
    baseline: Baseline = None,
    plot: Plot = None,
    dask: many.Dask = None,
    resume: many.Resume = False,
    exact_quantiles: Annotated[
        bool, typer.Option("--exact-quantiles", help="Exact quantiles of large tensors, too; reads them twice.")
    ] = False,
    jobs: Jobs = None,
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Report the range of every layer's weights, as stored and as applied, and how unequally the layers learn.

    rms, std, smallest non-zero and largest magnitude, the binades (powers of two) between them, zeros, NaN and
    infinities, a histogram by binade. "adam steps per rms" says how many Adam steps of lr 1e-3 move a weight by one
    rms of its layer. Exit code 1 if a --fail-on rule is violated; docs/rules.md lists the fields.
    """
    from eqlr_tools.cli.paths import checkpoints_under
    from eqlr_tools.cli.sink import check_output, emit, note, write
    from eqlr_tools.errors import EqlrError, NothingMatchedError, UnreadableError, UsageError
    from eqlr_tools.reports.audit import audit_fields, audit_json, audit_report, audit_rows
    from eqlr_tools.reports.baseline import add_changes, compare, read_baseline
    from eqlr_tools.reports.rules import parse_rule
    from eqlr_tools.reports.sorting import parse_sort, sort_layers

    chosen = options.selection(network, family, gain, lr_multiplier, fan_in, include, exclude)
    rules = [parse_rule(text) for text in fail_on or ()]
    order = parse_sort(sort) if sort is not None else None
    earlier = read_baseline(baseline) if baseline else None
    if plot:
        from eqlr_tools.reports.plot import check_plottable, plotted

        check_plottable(plot)
    found = checkpoints_under(paths)
    if format in (Format.jsonl, Format.parquet) or dask is not None or resume:
        if rules or order or earlier or plot:
            raise UsageError(
                "--fail-on, --baseline, --sort and --plot need the whole audit, which is not kept while it is streamed",
                hint="leave out --dask and --resume, and use --format json",
            )
        from eqlr_tools.fleet.audit_pieces import audit_in_pieces
        from eqlr_tools.fleet.works import audit_work

        work = partial(audit_work, chosen=chosen, exact_quantiles=exact_quantiles)
        cut = partial(audit_in_pieces, chosen=chosen, exact_quantiles=exact_quantiles)
        streaming = many.Streaming(format, output, jobs or 1, dask, resume, force, quiet)
        return many.stream(found, work, streaming, audit_fields(), audit_rows, cut)
    check_output(output, found, format, force=force)
    check_output(plot, found, force=force)
    audits: list[tuple[Path, list[NetworkRange]]] = []
    unreadable = []
    for path in found:
        try:
            networks = audited_networks(path, chosen, exact_quantiles=exact_quantiles, jobs=jobs, quiet=quiet)
        except EqlrError as error:
            if len(found) == 1:
                raise
            unreadable.append(error.message)
        else:
            audits.append((path, networks))
    if unreadable and not audits:
        raise UnreadableError("; ".join(unreadable))
    if not any(network.layers for _, networks in audits for network in networks):
        raise NothingMatchedError("no layer to audit", hint="eqlr explain FILE lists the layers; check the globs")
    content = audit_json(audits)
    comparison = compare(content, earlier, str(baseline) if baseline else None, in_scope(chosen))
    if earlier is not None:
        add_changes(content, comparison)
        note(unpaired(comparison), quiet=quiet)
    violations = violated(rules, content, comparison)
    ranking = sort_layers(content, comparison, order) if order is not None else None
    if plot:
        write(plotted(content, plot), plot, force=force, quiet=quiet)
    emit(audit_report(content, format, ranking), format, output, force=force, quiet=quiet)
    for line in (*violations, *unreadable):
        note(line)
    return 2 if unreadable else 1 if violations else 0


def audited_networks(
    path: Path, chosen: Selection, *, exact_quantiles: bool = False, jobs: int | None = None, quiet: bool = False
) -> list[NetworkRange]:
    """Audit the chosen layers of one checkpoint, with progress."""
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.cli.sink import note, progress
    from eqlr_tools.ranges.audit import audit_networks, audited_bytes
    from eqlr_tools.ranges.training import training_of
    from eqlr_tools.rewriting.selection import recognise_all, refuse_undecided

    checkpoint = open_checkpoint(path)
    recognitions, training = recognise_all(checkpoint, chosen), training_of(checkpoint)
    refuse_undecided(checkpoint, recognitions)
    for sentence in training.notes:
        note(f"{path}: {sentence}", quiet=quiet)
    with progress(f"audit {path.name}", audited_bytes(recognitions, chosen.wants), quiet=quiet) as advance:
        return audit_networks(
            recognitions, chosen.wants, advance, exact_quantiles=exact_quantiles, training=training, jobs=jobs
        )


def in_scope(chosen: Selection) -> Callable[[str, str], bool]:
    """Whether a layer of a baseline would be audited under this selection."""
    return lambda network, layer: (not chosen.networks or network in chosen.networks) and chosen.wants(network, layer)


def violated(rules: Sequence[Rule], content: Json, comparison: Comparison) -> list[str]:
    """Check the rules, enter what they find into the JSON, and return it in words: each rule, then its layers."""
    from eqlr_tools.reports.findings import check, finding_lines

    findings, content["rules"] = check(rules, comparison)
    content["findings"] = [finding.json() for finding in findings]
    return finding_lines(findings, len(rules))


def unpaired(comparison: Comparison) -> str:
    """One line on how the audit and its baseline correspond."""
    paired = len(comparison.sites) - len(comparison.new)
    layers = "layer" if paired == 1 else "layers"
    return (
        f"baseline {comparison.baseline}: {paired} {layers} compared, {len(comparison.new)} new, "
        f"{len(comparison.missing)} missing"
    )
