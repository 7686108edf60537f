"""The figures of an audit by name: what `--fail-on` and `--sort` may speak of, and where each stands in the JSON.

A field is looked up in the published JSON (`eqlr.audit/1`), never in the objects behind it, so that a rule means the
same for the audit that has just run and for a baseline that was written last month.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["magnitude", "signed", "count", "share", "ratio", "dB"]
Scope = Literal["weights", "layer", "network"]

FORMS = ("stored", "effective")
CHANGES = ("drift", "ratio")
_QUANTILES = ("0.001", "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99", "0.999")
_FORMATS = {"fp16": "fp16", "bf16": "bf16", "fp8_e4m3": "fp8 e4m3", "fp8_e5m2": "fp8 e5m2"}


@dataclass(frozen=True)
class Field:
    """One figure. `path` leads to it inside its scope; `low_is_worse` says which end `--sort` shows first."""

    name: str
    unit: Unit
    what: str
    path: tuple[str, ...] = ()
    scope: Scope = "weights"
    low_is_worse: bool = False

    @property
    def has_forms(self) -> bool:
        """True if there is one figure of stored and one of effective weights."""
        return self.scope == "weights" or (self.scope == "network" and not self.path)

    @property
    def comparable(self) -> bool:
        """True if now divided by then says something: not for signed figures, not for decibels."""
        return self.unit not in ("signed", "dB")


def _fields() -> Iterator[Field]:
    yield Field("rms", "magnitude", "root mean square")
    yield Field("std", "magnitude", "standard deviation")
    yield Field("mean", "signed", "mean")
    yield Field("min", "signed", "smallest value")
    yield Field("max", "signed", "largest value")
    yield Field("min_nonzero", "magnitude", "smallest magnitude that is not zero", low_is_worse=True)
    yield Field("abs_max", "magnitude", "largest magnitude")
    yield Field("binades", "magnitude", "powers of two between min_nonzero and abs_max")
    yield Field("kurtosis", "magnitude", "fourth standardised moment, 3 for a normal distribution")
    yield Field("zeros", "count", "how many weights are zero")
    yield Field("nans", "count", "how many are NaN")
    yield Field("infinities", "count", "how many are infinite")
    yield Field("nonfinite", "count", "NaN and infinities together")
    yield Field("adam_steps_per_rms", "magnitude", "Adam steps of lr 1e-3 that move a weight by one rms")
    yield Field("channel_spread", "ratio", "largest over smallest abs max of the output channels")
    for name, title in _FORMATS.items():
        place = ("hazards", name)
        yield Field(f"{name}_overflow", "share", f"share that {title} cannot hold", (*place, "overflow_share"))
        yield Field(f"{name}_flushed", "share", f"share that becomes zero in {title}", (*place, "flushed_share"))
        yield Field(f"{name}_subnormal", "share", f"share that is subnormal in {title}", (*place, "subnormal_share"))
        yield Field(f"{name}_snr_db", "dB", f"signal to noise of {title}", (*place, "snr_db"), low_is_worse=True)
    for name in ("int8_per_tensor", "int8_per_channel"):
        title = f"int8, a scale {name[5:].replace('_', ' ')}"
        snr = ("hazards", name, "snr_db")
        yield Field(f"{name}_snr_db", "dB", f"signal to noise of {title}", snr, low_is_worse=True)
    what = "abs_max times fan-in, where a layer sums up unscaled weights"
    yield Field("accumulation", "magnitude", what, ("accumulation", "bound"))
    for share in _QUANTILES:
        yield Field(f"q{share}", "signed", f"{float(share):.1%} quantile", ("quantiles", share))
    yield Field("c", "magnitude", "the layer's run-time constant", scope="layer")
    yield Field("fan_in", "count", "the layer's fan-in", scope="layer")
    yield Field("elements", "count", "the layer's weights", scope="layer")
    for name, what in [
        ("step_rms", "rms of Adam's steps, measured from the moments in the file"),
        ("relative_step", "that in units of the layer's rms"),
        ("steps_per_rms", "how many such steps make up one rms"),
    ]:
        yield Field(f"measured_{name}", "magnitude", what, ("adam_step", name), scope="layer")
    what = "largest over smallest measured_relative_step of the network's layers"
    yield Field("measured_spread", "ratio", what, ("learning_speed_spread", "measured"), scope="network")
    yield Field("learning_speed_spread", "ratio", "largest over smallest rms of the network's layers", scope="network")


FIELDS = {field.name: field for field in _fields()}


def value_of(field: Field, form: str, layer: dict[str, Any], network: dict[str, Any]) -> float | None:
    """The figure in the JSON of a layer or network; None where there is none.

    A signal-to-noise ratio that JSON gives as null is infinite where nothing is lost, and minus infinity where
    something overflows: an error without a size.
    """
    if field.scope == "network":
        return _number(_at(network, *(field.path or (field.name, form))))
    if field.scope == "layer":
        return _number(_at(layer, *(field.path or (field.name,))))
    value = _at(layer, form, *(field.path or (field.name,)))
    if field.unit == "dB" and value is None and layer.get(form):
        return -math.inf if _at(layer, form, *field.path[:-1], "overflow") else math.inf
    return _number(value)


def change(change_kind: str, now: float | None, then: float | None) -> float | None:
    """`ratio` is now over then; `drift` is the same, or its inverse where that is larger, and so at least 1.

    A figure that appeared, vanished, or left zero has moved without bound. None where there was and is none.
    """
    if now is None and then is None:
        return None
    if now == then:
        return 1.0
    if now is None or then is None:
        return math.inf
    ratio = now / then if then else math.inf
    return ratio if change_kind == "ratio" else max(ratio, 1 / ratio if ratio else math.inf)


def _at(place: Any, *keys: str) -> Any:
    for key in keys:
        place = place.get(key) if isinstance(place, dict) else None
    return place


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
