"""What the rules of `--fail-on` find in an audit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from eqlr_tools.errors import NothingMatchedError, UsageError
from eqlr_tools.reports.baseline import Comparison, Json, Site
from eqlr_tools.reports.fields import value_of
from eqlr_tools.reports.report import figure, printable
from eqlr_tools.reports.rules import Rule


@dataclass(frozen=True)
class Finding:
    """A rule that a layer (or a network, then `layer` is None) violates. `then` is the figure in the baseline."""

    rule: str
    path: str
    network: str
    layer: str | None
    field: str
    value: float | None
    then: float | None = None
    sentence: str = ""

    def json(self) -> Json:
        return dict(vars(self))


def check(rules: Sequence[Rule], comparison: Comparison) -> tuple[list[Finding], list[Json]]:
    """Apply the rules. Returns the findings, and of each rule what it looked at.

    Raises UsageError for a rule about drift without a baseline, and NothingMatchedError for a glob that matches no
    layer: a mistyped name must not look like success.
    """
    findings, summaries = [], []
    for rule in rules:
        if rule.place.change and comparison.baseline is None:
            raise UsageError(
                f"--fail-on {rule.text!r} compares with an earlier audit", hint="name it with --baseline FILE"
            )
        found, checked = _check_rule(rule, comparison)
        if checked is None:
            raise NothingMatchedError(
                f"--fail-on {rule.text!r}: {rule.glob!r} matches no layer", hint="eqlr explain FILE lists the layers"
            )
        findings += found
        summaries.append({"rule": rule.text, "checked": checked, "violated": bool(found)})
    return findings, summaries


def _check_rule(rule: Rule, comparison: Comparison) -> tuple[list[Finding], int | None]:
    """The findings, and how many layers or networks have the figure; None if the rule's glob matches nothing."""
    sites = [site for site in comparison.sites if rule.applies_to(site.network["name"], site.layer["layer"])]
    if rule.place.field.scope == "network":
        sites = _one_per_network(sites)
    results = [_check_site(rule, site) for site in sites]
    findings = [finding for _, found in results for finding in found]
    if rule.place.change and rule.place.field.scope != "network":
        findings += _unpaired(rule, comparison)
    return findings, sum(looked for looked, _ in results) if sites or findings else None


def _one_per_network(sites: Sequence[Site]) -> list[Site]:
    """One site for each network, with its baseline if any layer has one."""
    chosen: dict[tuple[str, str], Site] = {}
    for site in sites:
        key = site.path, site.network["name"]
        if key not in chosen or chosen[key].then_network is None:
            chosen[key] = site
    return list(chosen.values())


def _check_site(rule: Rule, site: Site) -> tuple[bool, list[Finding]]:
    """Whether the figure is there, and the violations: one, where stored and effective weights are the same."""
    place = rule.place
    forms = place.forms
    if place.form is None and (not place.field.has_forms or site.layer["stored"] == site.layer["effective"]):
        forms = ("stored",)
    looked, found = False, []
    for form in forms:
        value = site.value(place, form)
        if value is None:
            continue
        looked = True
        if rule.of_elements:
            value /= max(site.layer["elements"], 1)
        if rule.violated_by(value):
            layer = None if place.field.scope == "network" else site.layer["layer"]
            then = site.then(place.field, form) if place.change else None
            now = value_of(place.field, form, site.layer, site.network)
            name = place.name(form)
            finding = Finding(rule.text, site.path, site.network["name"], layer, name, value, then)
            found.append(replace(finding, sentence=_sentence(rule, name, value, now, then)))
    return looked, found


def _unpaired(rule: Rule, comparison: Comparison) -> Iterator[Finding]:
    for site, sentence in [
        *((site, "is not in the baseline") for site in comparison.new),
        *((site, "is in the baseline, but no longer here") for site in comparison.missing),
    ]:
        network, layer = site.network["name"], site.layer["layer"]
        if rule.applies_to(network, layer):
            name = rule.place.name(rule.place.form or "")
            yield Finding(rule.text, site.path, network, layer, name, None, None, sentence)


def _sentence(rule: Rule, name: str, value: float, now: float | None, then: float | None) -> str:
    unit: str = "ratio" if rule.place.change else rule.place.field.unit
    text = f"{name} = {in_unit(value, 'share' if rule.of_elements else unit)}"
    if rule.place.change:
        text += f" ({figure(then, 4)} before, {figure(now, 4)} now)"
    return text


def in_unit(value: float, unit: str) -> str:
    """A figure in words, with its unit."""
    if unit == "share":
        return f"{100 * value:.3g}%"
    if math.isinf(value):
        return "without bound" if value > 0 else "without bound (something overflows)"
    suffix = {"ratio": "x", "dB": " dB"}.get(unit, "")
    return figure(value, 5) + suffix


def finding_lines(findings: Sequence[Finding], rules: int) -> list[str]:
    """The findings in words: how many rules are violated, then each with its layers. Nothing if none is."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    if not by_rule:
        return []
    several = len({finding.path for finding in findings}) > 1
    lines = [f"eqlr: {len(by_rule)} of {rules} {'rule' if rules == 1 else 'rules'} violated"]
    for rule, found in by_rule.items():
        lines.append(f"  {printable(rule)}")
        for finding in found:
            place = [finding.path] if several else []
            place += [finding.network, finding.layer or "(the network)"]
            lines.append(f"    {printable(' '.join(place))}: {finding.sentence}")
    return lines
