"""`eqlr diff`: how far every layer moved between two checkpoints, or over the snapshots of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqlr_tools.cli.audit import Jobs, audited_networks
from eqlr_tools.cli.groups import Layers, Reading, Showing, selection_of, with_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eqlr_tools.rewriting.movement import Run
    from eqlr_tools.rewriting.selection import Selection


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr diff epoch010.pt epoch020.pt · eqlr diff a.pt b.pt --network g_ema "
        "-f html -o moved.html · eqlr diff run/*.pt"
    )(diff)


@with_groups
def diff(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...", help="The earlier checkpoint and the later one, or a run: files, directories, globs."
        ),
    ],
    jobs: Jobs = None,
    *,
    reading: Reading,
    layers: Layers,
    showing: Showing,
) -> None:
    """Show how far every layer moved between two checkpoints, the one that moved farthest first.

    "moved" is the rms of the difference in units of the rms before, "adam steps" the number of Adam steps of lr 1e-3
    that this distance takes at least. Three or more checkpoints are a run, in the order of the numbers in their
    names: each layer's trend, its movement from one to the next, and in all. Layers are paired by network and name,
    in different layouts by what they are.
    """
    from eqlr_tools.cli.sink import check_output, emit
    from eqlr_tools.reports.diff import diff_report

    found = snapshots(paths)
    check_output(showing.output, found, showing.format, force=showing.force)
    chosen = selection_of(reading, layers)
    run = followed(found, chosen, jobs=jobs, quiet=showing.quiet)
    report = diff_report([str(path) for path in found], run)
    emit(report, showing.format, showing.output, force=showing.force, quiet=showing.quiet)


def snapshots(arguments: list[str]) -> list[Path]:
    """The checkpoints to compare: two files as given, anything else in the order of the numbers in the names.

    Raises UsageError for fewer than two.
    """
    from eqlr_tools.cli.paths import checkpoints_under
    from eqlr_tools.errors import UsageError

    groups = [checkpoints_under([argument]) for argument in arguments]
    if len(groups) == 2 and all(len(group) == 1 for group in groups):
        return [path for group in groups for path in group]
    found = sorted(dict.fromkeys(path for group in groups for path in group), key=_numbers_in)
    if len(found) < 2:
        raise UsageError(f"{found[0]}: one checkpoint only, and nothing to compare it with", hint="eqlr diff A B")
    return found


def _numbers_in(path: Path) -> list[tuple[int, int, str]]:
    """A name to sort by, such that step 900 comes before step 1000."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def followed(paths: Sequence[Path], chosen: Selection, *, jobs: int | None, quiet: bool) -> Run:
    """Audit the snapshots one by one, and measure the way to each from the one before.

    Raises NothingMatchedError if no layer is in two of them.
    """
    from eqlr_tools.cli.sink import progress
    from eqlr_tools.errors import NothingMatchedError
    from eqlr_tools.ranges.audit import audited_bytes
    from eqlr_tools.rewriting.movement import Run

    run, size = Run(), 0
    for path, own in zip(paths, chosen_in_each(paths, chosen), strict=True):
        networks = audited_networks(path, own, jobs=jobs, quiet=quiet) if own else []
        size = audited_bytes([network.recognition for network in networks], chosen.wants)
        with progress(f"compare {path.name}", size, quiet=quiet) as advance:
            run.add(networks, advance)
    if not any(sum(measured is not None for measured in track.measured) > 1 for track in run.tracks):
        among = f"{paths[0]} and {paths[1]}" if len(paths) == 2 else f"{paths[0]} to {paths[-1]}"
        raise NothingMatchedError(
            f"{among} have no layer in common",
            hint="layers are paired by network and name; eqlr scan and eqlr explain show both",
        )
    with progress("compare first and last", size, quiet=quiet) as advance:
        run.finish(advance)
    return run


def chosen_in_each(paths: Sequence[Path], chosen: Selection) -> list[Selection | None]:
    """The selection for each snapshot, with those networks that it has; None where it has none of them.

    Raises UsageError for a network that no snapshot has.
    """
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.errors import UsageError

    if not chosen.networks:
        return [chosen] * len(paths)
    held = [[network.name for network in open_checkpoint(path).networks] for path in paths]
    every = list(dict.fromkeys(name for names in held for name in names))
    for wanted in chosen.networks:
        if wanted not in every:
            raise UsageError(
                f"{paths[0]}: no network is called {wanted!r}, nor in the others",
                hint=f"they have: {', '.join(every) or 'none'}",
            )
    own = [tuple(name for name in chosen.networks if name in names) for names in held]
    return [replace(chosen, networks=names) if names else None for names in own]
