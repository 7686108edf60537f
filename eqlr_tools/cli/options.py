"""Options that several commands share, each declared once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqlr_tools.reports.formats import Format

if TYPE_CHECKING:
    from eqlr_tools.families.family import Overrides
    from eqlr_tools.rewriting.selection import Selection
    from eqlr_tools.scaling import FanIn

Network = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="NAME", help="Only this network, as scan names it. Repeatable."),
]
Family = Annotated[
    str | None,
    typer.Option("--family", metavar="NAME", help="Take the file as this family (eqlr families lists them)."),
]
Gain = Annotated[
    float | None, typer.Option("--gain", metavar="X", help="Gain of every layer, instead of the family's.")
]
LrMultiplier = Annotated[
    float | None,
    typer.Option("--lr-multiplier", metavar="X", help="Learning-rate multiplier of the layers that have one."),
]
FanInOption = Annotated[
    str | None,
    typer.Option(
        "--fan-in",
        metavar="RULE",
        help="Fan-in of transposed convolutions: in*kernel (second axis), transposed (first axis times kernel), "
        "channels (first axis alone); or a number, for every layer.",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Only layers whose name matches. Repeatable."),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Not layers whose name matches. Repeatable.")
]
KeepTrajectory = Annotated[
    bool,
    typer.Option(
        "--keep-trajectory", help="Give each layer the lr, eps and decay with which training goes on exactly as before."
    ),
]
DropOptimizer = Annotated[bool, typer.Option("--drop-optimizer", help="Leave the optimizer state out.")]
MaxShardSize = Annotated[
    str | None,
    typer.Option(
        "--max-shard-size",
        metavar="SIZE",
        help="Write .safetensors in files of at most this (500MB, 2GiB), and an index that opens them as one.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How to show the result.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the result there instead of to stdout.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the target if it exists, after verification.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop; nothing is written.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the requested data.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


_MAX_DIGITS = 15
_ORDINARY = (1e-9, 1e9)
"""Beyond these a gain or multiplier is a slip, and weights of single precision would vanish or overflow."""


def size_in_bytes(text: str | None) -> int | None:
    """A size such as 500MB, 2GiB or 4096. Raises UsageError for anything else."""
    from eqlr_tools.errors import UsageError

    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?) ?([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    unit = (1024 if found[3] else 1000) ** " KMGT".index(found[2].upper() or " ") if found else 0
    size = int(float(found[1]) * unit) if found else 0
    if size < 1:
        raise UsageError(f"--max-shard-size {text!r} is no size", hint="for example 500MB or 2GiB")
    return size


def _same_for_all(number: int, shape: Sequence[int]) -> int:
    return number


def fan_in_rule(text: str | None) -> FanIn | None:
    """The fan-in function that `--fan-in` names. Raises UsageError for anything else."""
    from eqlr_tools import scaling
    from eqlr_tools.errors import UsageError

    rules = {
        "in*kernel": scaling.second_axis_fan_in,
        "transposed": scaling.transposed_fan_in,
        "channels": scaling.channel_fan_in,
    }
    if text is None:
        return None
    if text in rules:
        return rules[text]
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) > 0:
        return partial(_same_for_all, int(text))
    raise UsageError(f"--fan-in {text!r} is no rule", hint=f"use {', '.join(rules)} or a positive number")


def selection(
    network: list[str] | None = None,
    family: str | None = None,
    gain: float | None = None,
    lr_multiplier: float | None = None,
    fan_in: str | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
) -> Selection:
    """What the shared options select. Raises UsageError for values that no constant can have."""
    from eqlr_tools.rewriting.selection import Selection

    return Selection(
        networks=tuple(network or ()),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        family=family,
        overrides=_overrides(gain, lr_multiplier, fan_in),
    )


def _overrides(gain: float | None, lr_multiplier: float | None, fan_in: str | None) -> Overrides:
    from eqlr_tools.errors import UsageError
    from eqlr_tools.families.family import Overrides

    for name, value in (("--gain", gain), ("--lr-multiplier", lr_multiplier)):
        if value is not None and not _ORDINARY[0] <= value <= _ORDINARY[1]:
            raise UsageError(f"{name} must be a positive number between 1e-9 and 1e9, not {value}")
    rule = fan_in_rule(fan_in)
    of_transposed = fan_in is not None and not fan_in.isdigit()
    return Overrides(
        gain, lr_multiplier, fan_in=None if of_transposed else rule, transposed_fan_in=rule if of_transposed else None
    )
