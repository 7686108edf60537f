"""Option values that are right as they stand skip Typer's validation, whose library takes as long to import as numpy.

Absent options, flags, texts, paths and the words of a choice need none. What is left, numbers above all and whatever
is wrong, goes to Typer, which says so in its own words.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, get_origin

_NOT_PLAIN = object()


def read_plainly(command: Any) -> None:
    """Let every parameter of a command take plain values directly, also --help, which Typer adds when it is run."""
    by_typer = command.get_params

    def parameters(context: Any) -> list[Any]:
        found: list[Any] = by_typer(context)
        for parameter in found:
            described = getattr(parameter, "type_descriptor", None)
            if described is not None and "process_value" not in vars(parameter):
                parameter.process_value = partial(_process, parameter, described.annotation, parameter.process_value)
        return found

    command.get_params = parameters


def _process(parameter: Any, annotation: Any, by_typer: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    plain = plain_value(annotation, value)
    if plain is _NOT_PLAIN or (parameter.required and plain in (None, (), [])):
        return by_typer(context, value)
    return plain if parameter.callback is None else parameter.callback(context, parameter, plain)


def plain_value(annotation: Any, value: Any) -> Any:
    """The value that a parameter of this type gets, or `_NOT_PLAIN` where that takes a closer look."""
    if value is None:
        return () if get_origin(annotation) is list else None
    if annotation == list[str] and not isinstance(value, str):
        return list(value)
    if not isinstance(annotation, type):
        return _NOT_PLAIN
    if isinstance(value, annotation):
        return value
    if isinstance(value, str) and issubclass(annotation, Enum):
        return next((member for member in annotation if member.value == value), _NOT_PLAIN)
    return Path(value) if annotation is Path and isinstance(value, str) else _NOT_PLAIN
