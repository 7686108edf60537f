"""Options that go together. A command that takes `writing: Writing` has every option of that class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, get_type_hints

from eqlr_tools.cli import options
from eqlr_tools.reports.formats import Format

if TYPE_CHECKING:
    from eqlr_tools.rewriting.selection import Selection


class Group:
    """A dataclass whose fields are options, as annotated for Typer."""


@dataclass(frozen=True)
class Constants(Group):
    """Which networks, and what holds instead of a family's constants."""

    network: options.Network = None
    gain: options.Gain = None
    lr_multiplier: options.LrMultiplier = None
    fan_in: options.FanInOption = None


@dataclass(frozen=True)
class Reading(Constants):
    """The same where the family of a file is asked for."""

    family: options.Family = None


@dataclass(frozen=True)
class Layers(Group):
    """Which layers, by name."""

    include: options.Include = None
    exclude: options.Exclude = None


@dataclass(frozen=True)
class Optimizers(Group):
    """What becomes of the optimizer's state."""

    keep_trajectory: options.KeepTrajectory = False
    drop_optimizer: options.DropOptimizer = False


@dataclass(frozen=True)
class Showing(Group):
    """How a result is shown, and where."""

    format: options.FormatOption = Format.table
    output: options.Output = None
    force: options.Force = False
    quiet: options.Quiet = False
    debug: options.Debug = False


@dataclass(frozen=True)
class Writing(Showing):
    """How a checkpoint is written, and what is shown of it."""

    max_shard_size: options.MaxShardSize = None
    dry_run: options.DryRun = False


def selection_of(constants: Constants, layers: Layers | None = None) -> Selection:
    """What these options select. Raises UsageError for values that no constant can have."""
    layers = layers or Layers()
    family = constants.family if isinstance(constants, Reading) else None
    return options.selection(
        constants.network,
        family,
        constants.gain,
        constants.lr_multiplier,
        constants.fan_in,
        layers.include,
        layers.exclude,
    )


def with_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let Typer see the options of a command's groups as its own; the command gets an object for each group."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {}
    seen = []
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and issubclass(hint, Group):
            groups[parameter.name] = hint
            seen += _options_of(hint)
        else:
            seen.append(parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def gathered(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return command(**values)

    gathered.__signature__ = inspect.Signature(seen)  # type: ignore[attr-defined]
    gathered.__annotations__ = {parameter.name: parameter.annotation for parameter in seen}
    return gathered


def _options_of(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]
