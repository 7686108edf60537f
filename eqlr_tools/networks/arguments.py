"""Arguments of an architecture that a file states: numbers of which a damaged or foreign file may hold anything."""

from __future__ import annotations

import math
from typing import Any

from eqlr_tools.errors import UsageError


def argument(name: str, usual: Any, stated: Any, least: float = 0.0) -> Any:
    """The argument as the type that its default has. Raises UsageError for what is no such number."""
    try:
        found = type(usual)(stated)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not (math.isfinite(found) and found >= least):
        raise UsageError(
            f"the file states {name} {stated!r}, which is no number that the network could use",
            hint="eqlr bake needs no such arguments",
        )
    return found
