"""`--sort FIELD`: the layers of each network with the worst first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eqlr_tools.errors import UsageError
from eqlr_tools.reports.baseline import Comparison, Json
from eqlr_tools.reports.fields import FORMS
from eqlr_tools.reports.findings import in_unit
from eqlr_tools.reports.rules import Place, parse_place

_DIRECTIONS = ("asc", "desc")


@dataclass(frozen=True)
class Order:
    """What to sort by."""

    place: Place
    ascending: bool


@dataclass(frozen=True)
class Ranking:
    """The figure that layers were sorted by: its title, and its values by the layer's identity and form."""

    title: str
    unit: str
    values: dict[tuple[int, str], float]

    def text(self, layer: Json, form: str) -> str | int | float | None:
        """The figure of a layer as a table shows it."""
        # Of a plain layer, whose weights are applied as they are stored, one row stands for both.
        forms = (form,) if layer["equalized"] else FORMS
        value = next((found for each in forms if (found := self.values.get((id(layer), each))) is not None), None)
        if value is None or (self.unit not in ("share", "ratio") and math.isfinite(value)):
            return value
        if self.unit == "dB":
            return "overflow" if value < 0 else None
        return in_unit(value, self.unit)


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


def sort_layers(content: Json, comparison: Comparison, order: Order) -> Ranking:
    """Reorder the layers of each network in the audit's JSON. Layers without the figure come last."""
    place = order.place
    if place.change and comparison.baseline is None:
        raise UsageError(f"--sort {place.change}.{place.field.name} needs an earlier audit", hint="--baseline FILE")
    found = {
        (id(site.layer), form): value
        for site in comparison.sites
        for form in place.forms
        if (value := site.value(place, form)) is not None
    }

    def key(layer: Json) -> tuple[bool, float]:
        values = [found[id(layer), form] for form in place.forms if (id(layer), form) in found]
        if not values:
            return True, 0.0
        return False, min(values) if order.ascending else -max(values)

    for file in content["files"]:
        for network in file["networks"]:
            network["layers"].sort(key=key)
    title = f"{place.change or ''} {place.field.name}".strip().replace("_", " ")
    return Ranking(title, "ratio" if place.change else place.field.unit, found)
