"""`--sort FIELD`: the layers of each network with the worst first."""

from __future__ import annotations

from dataclasses import dataclass

from eqlr_tools.errors import UsageError
from eqlr_tools.reports.baseline import Comparison, Json
from eqlr_tools.reports.rules import Place, parse_place

_DIRECTIONS = ("asc", "desc")


@dataclass(frozen=True)
class Order:
    """What to sort by."""

    place: Place
    ascending: bool


def parse_sort(key: str) -> Order:
    """Read FIELD, FIELD:asc or FIELD:desc. Raises UsageError.

    Without a direction the worst comes first: the largest, but the smallest of min_nonzero and of signal to noise.
    """
    text, _, direction = key.partition(":")
    if direction and direction not in _DIRECTIONS:
        raise UsageError(f"--sort {key!r}: {direction!r} is no direction", hint=f"use {text}:asc or {text}:desc")
    place = parse_place(text, option="--sort", whole=key)
    if place.field.scope == "network":
        raise UsageError(f"--sort {key!r}: {place.field.name} is of the network, not of a layer")
    worst_is_low = place.field.low_is_worse and place.change is None
    return Order(place, direction == "asc" if direction else worst_is_low)


def sort_layers(content: Json, comparison: Comparison, order: Order) -> None:
    """Reorder the layers of each network in the audit's JSON. Layers without the figure come last."""
    place = order.place
    if place.change and comparison.baseline is None:
        raise UsageError(f"--sort {place.change}.{place.field.name} needs an earlier audit", hint="--baseline FILE")
    sites = {id(site.layer): site for site in comparison.sites}

    def key(layer: Json) -> tuple[bool, float]:
        values = [value for form in place.forms if (value := sites[id(layer)].value(place, form)) is not None]
        if not values:
            return True, 0.0
        return False, min(values) if order.ascending else -max(values)

    for file in content["files"]:
        for network in file["networks"]:
            network["layers"].sort(key=key)
