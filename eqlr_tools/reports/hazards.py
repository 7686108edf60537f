"""Hazards in words: what half precision would do to a layer, the worst first."""

from __future__ import annotations

from typing import Any

from eqlr_tools.reports.report import Marked

_WORTH_SAYING = 1e-3
"""A share of subnormal or flushed weights below this changes no layer's output noticeably."""


def fp16_words(statistics: dict[str, Any]) -> Marked | None:
    """The worst that half precision would do to a layer; None if nothing."""
    nonfinite = _nonfinite(statistics)
    if nonfinite:
        return nonfinite
    worst = _worst(statistics["hazards"]["fp16"])
    accumulation = statistics["accumulation"]
    if accumulation and accumulation["exceeds_fp16"] and (worst is None or worst.level == "warn"):
        return Marked("sums overflow", "warn")
    return worst


def format_words(statistics: dict[str, Any], form: str) -> Marked:
    """What a format would do to a layer, and its signal-to-noise ratio."""
    nonfinite = _nonfinite(statistics)
    if nonfinite:
        return nonfinite
    hazard = statistics["hazards"][form]
    worst = _worst(hazard) or Marked("ok", "good")
    return Marked(
        f"{worst.text}, {hazard['snr_db']:.0f} dB" if hazard["snr_db"] is not None else worst.text, worst.level
    )


def _nonfinite(statistics: dict[str, Any]) -> Marked | None:
    words = {"NaN": statistics["nans"], "Inf": statistics["infinities"]}
    text = ", ".join(f"{count:,} {word}" for word, count in words.items() if count)
    return Marked(text, "bad") if text else None


def _worst(hazard: dict[str, Any]) -> Marked | None:
    if hazard["overflow"]:
        return Marked(f"{share(hazard['overflow_share'])} overflow", "bad")
    for name in ("flushed", "subnormal"):
        if hazard[f"{name}_share"] >= _WORTH_SAYING:
            return Marked(f"{share(hazard[f'{name}_share'])} {name}", "warn")
    return None


def share(value: float) -> str:
    """A share in percent; one that is not zero never reads as zero."""
    return "<0.01%" if 0 < value < 1e-4 else f"{100 * value:.2g}%" if value < 0.0995 else f"{100 * value:.0f}%"
