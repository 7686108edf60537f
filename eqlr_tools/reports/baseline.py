"""An audit beside an earlier one: which layers correspond, and how their figures have moved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eqlr_tools.errors import UnreadableError
from eqlr_tools.reports.fields import FIELDS, FORMS, Field, change, value_of
from eqlr_tools.reports.rules import Place

Json = dict[str, Any]

SCHEMA = "eqlr.audit/1"
DRIFTING = ("rms", "std", "min_nonzero", "abs_max", "binades")
"""The figures whose change since the baseline stands in the JSON; a rule may ask for any other as well."""


def forms_of(layer: Json) -> Iterator[tuple[str, Json]]:
    """The statistics to show: stored, and effective where a constant makes it differ."""
    yield "stored", layer["stored"]
    if layer["effective"] is not None and layer["equalized"]:
        yield "effective", layer["effective"]


@dataclass(frozen=True)
class Site:
    """A layer of an audit with its network, and the same layer of the baseline. A lost layer has no `layer`."""

    path: str
    network: Json
    layer: Json
    then_network: Json | None = None
    then_layer: Json | None = None

    def value(self, place: Place, form: str) -> float | None:
        """The figure at a place, or its change since the baseline."""
        now = value_of(place.field, form, self.layer, self.network)
        if place.change is None:
            return now
        if self.then_layer is None or self.then_network is None:
            return None
        return change(place.change, now, self.then(place.field, form))

    def then(self, wanted: Field, form: str) -> float | None:
        """The figure in the baseline."""
        if self.then_layer is None or self.then_network is None:
            return None
        return value_of(wanted, form, self.then_layer, self.then_network)


@dataclass(frozen=True)
class Comparison:
    """The layers of an audit, paired with a baseline where there is one."""

    sites: list[Site]
    new: list[Site] = field(default_factory=list)
    missing: list[Site] = field(default_factory=list)
    baseline: str | None = None


def read_baseline(path: Path) -> Json:
    """An audit that `eqlr audit --format json` wrote. Raises UnreadableError for anything else."""
    hint = "a baseline is the output of eqlr audit FILE --format json --output BASELINE"
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"), parse_int=_number, parse_float=_number, parse_constant=_number
        )
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror})", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path}: is not JSON ({error})", hint=hint) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise UnreadableError(f"{path}: not an audit of schema {SCHEMA} (found {found!r})", hint=hint)
    if not _is_audit(content):
        raise UnreadableError(f"{path}: says that it is an {SCHEMA}, but has not its shape", hint=hint)
    return content


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def _is_audit(content: Json) -> bool:
    """True if names are text, and histograms, which pages draw, are numbers."""
    try:
        return all(
            isinstance(file["path"], str)
            and isinstance(network["name"], str)
            and isinstance(layer["layer"], str)
            and all(_is_statistics(layer[form]) for form in FORMS)
            for file in content["files"]
            for network in file["networks"]
            for layer in network["layers"]
        )
    except (AttributeError, KeyError, TypeError):
        return False


def _is_statistics(statistics: Any) -> bool:
    if statistics is None:
        return True
    histogram = statistics.get("histogram", {})
    return all(isinstance(number, float) for name in ("exponents", "counts") for number in histogram.get(name, []))


def compare(
    content: Json,
    baseline: Json | None = None,
    name: str | None = None,
    wanted: Callable[[str, str], bool] = lambda network, layer: True,
) -> Comparison:
    """Pair the layers of an audit with those of the baseline that are `wanted`, by file, network and layer.

    A layer whose name changed, as baking may do, is paired by the name of its weight.
    """
    if baseline is None:
        return Comparison(list(_sites(content)))
    partners = _partners(content, baseline)
    earlier = [site for site in _sites(baseline) if wanted(site.network["name"], site.layer["layer"])]
    by_key = {key: site for site in earlier for key in (_key(site, "weight"), _key(site, "layer"))}
    sites, new, seen = [], [], set()
    for site in _sites(content):
        moved = replace(site, path=partners.get(site.path, ""))
        then = by_key.get(_key(moved, "layer")) or by_key.get(_key(moved, "weight"))
        if then is None:
            new.append(site)
            sites.append(site)
        else:
            seen.add(id(then))
            sites.append(replace(site, then_network=then.network, then_layer=then.layer))
    return Comparison(sites, new, [site for site in earlier if id(site) not in seen], name)


def _sites(content: Json) -> Iterator[Site]:
    for file in content["files"]:
        for network in file["networks"]:
            for layer in network["layers"]:
                yield Site(file["path"], network, layer)


def _key(site: Site, kind: str) -> tuple[str, str, str, str]:
    """The place of a layer, by its own name or by that of its weight."""
    return site.path, site.network["name"], kind, str(site.layer.get(kind))


def _partners(content: Json, baseline: Json) -> dict[str, str]:
    """Which file of the baseline each file is compared with: the same path, else the same name, else the only one."""
    now, then = ([file["path"] for file in audit["files"]] for audit in (content, baseline))
    if len(now) == len(then) == 1:
        return {now[0]: then[0]}
    by_name = {Path(path).name: path for path in then if [Path(p).name for p in then].count(Path(path).name) == 1}
    return {path: path if path in then else by_name.get(Path(path).name, "") for path in now}


def add_changes(content: Json, comparison: Comparison) -> None:
    """Write into the JSON what it is compared with, and how each layer's figures moved.

    `ratio` is now / then, `drift` the same in either direction, at least 1; `before` holds what the page draws.
    """
    content["baseline"] = {
        "path": comparison.baseline,
        "compared": len(comparison.sites) - len(comparison.new),
        "new": [_name(site) for site in comparison.new],
        "missing": [_name(site) for site in comparison.missing],
    }
    for site in comparison.sites:
        if site.then_layer is None:
            continue
        site.layer["before"] = {form: site.then_layer.get(form) for form in FORMS}
        for kind in ("ratio", "drift"):
            site.layer[kind] = {
                form: {name: site.value(Place(FIELDS[name], form, kind), form) for name in DRIFTING} for form in FORMS
            }


def _name(site: Site) -> Json:
    return {"path": site.path, "network": site.network["name"], "layer": site.layer["layer"]}
