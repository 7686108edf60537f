"""The report of `eqlr explain`: what every family said, and each layer's formula with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.families.family import Verdict
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.registry import Recognition, inference
from eqlr_tools.reports.report import Column, Report, Table, shape_text
from eqlr_tools.reports.scan import network_json

_LAYERS = [
    Column("network", 5, right=False),
    Column("layer", right=False),
    Column("kind", 3, right=False),
    Column("shape", 4),
    Column("fan in", 6),
    Column("weight", 1, right=False),
    Column("bias", 2, right=False),
]
_VERDICTS = [
    Column("family", 1, right=False),
    Column("answer", 2, right=False),
    Column("because it", right=False, prose=True),
]


def explain_report(checkpoint: Checkpoint, recognitions: Sequence[Recognition]) -> Report:
    """Build the report of one checkpoint; layer tables first, then the answers of all families."""
    tables = []
    for recognition in recognitions:
        name = recognition.network.name
        told = "" if recognition.note == inference(recognition.equalized) else recognition.note
        title = f"network {name}: {recognition.family}" + (f" ({told})" if told else "")
        tables.append(Table(_LAYERS, [_layer_row(name, layer) for layer in recognition.layers], title))
    for recognition in recognitions:
        rows = [[v.family, "yes" if v.matched else "no", v.sentence] for v in _matched_first(recognition)]
        tables.append(Table(_VERDICTS, rows, f"network {recognition.network.name}: what each family says"))
    lines = [f"{checkpoint.path}: {checkpoint.container}, {len(checkpoint.loose)} tensors outside its networks"]
    for recognition in recognitions:
        lines += _remarks(recognition)
    content = {
        "path": str(checkpoint.path),
        "container": checkpoint.container,
        "networks": [_json(recognition) for recognition in recognitions],
    }
    return Report("eqlr.explain/1", content, tables, lines)


def _matched_first(recognition: Recognition) -> list[Verdict]:
    """The answers, those first that a reader looks for."""
    return sorted(recognition.verdicts, key=lambda verdict: not verdict.matched)


def _remarks(recognition: Recognition) -> list[str]:
    """What a reader should know before the tables: an open question, what was inferred, the way back."""
    name, question, layout = recognition.network.name, recognition.question, recognition.layout
    inferred = inference(recognition.equalized) if question is None else ""
    lines = [f"network {name}: {inferred}"] if inferred else []
    if question is not None:
        looks = f" looks like {layout.id}" if layout else ""
        lines += [f"network {name}{looks}: {question.text}", *(f"  {candidate}" for candidate in question.candidates)]
        lines.append(f"  answer with {question.answer}")
    if layout and recognition.load_back and question is None:
        lines.append(f"network {name}: to load it baked in {layout.upstream}: {recognition.load_back}")
    return lines


def bias_text(layer: Layer) -> str:
    """How the bias is used."""
    if layer.bias is None:
        return "none"
    return "b" if layer.bias_scale == 1.0 else f"{layer.bias_scale:.6g}·b"


def _layer_row(network: str, layer: Layer) -> list[str | int | None]:
    known = layer.scale is not None or layer.equalized
    formula = layer.formula if known else f"re-parametrised ({layer.kind})"
    return [network, layer.name, layer.kind, shape_text(layer.shape), layer.fan_in or None, formula, bias_text(layer)]


def _json(recognition: Recognition) -> dict[str, Any]:
    return {
        **network_json(recognition),
        "question": _question_json(recognition),
        "load_back": recognition.load_back or None,
        "verdicts": [{"family": v.family, "matched": v.matched, "sentence": v.sentence} for v in recognition.verdicts],
        "layers": [layer_json(layer) for layer in recognition.layers],
    }


def _question_json(recognition: Recognition) -> dict[str, Any] | None:
    question = recognition.question
    if question is None:
        return None
    return {"text": question.text, "candidates": list(question.candidates), "answer": question.answer}


def layer_json(layer: Layer) -> dict[str, Any]:
    """A layer's constants, as `explain` and `audit` give them."""
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "weight": layer.weight,
        "bias": layer.bias,
        "shape": list(layer.shape),
        "equalized": layer.equalized,
        "fan_in": layer.fan_in or None,
        "gain": layer.gain,
        "lr_multiplier": layer.lr_multiplier,
        "lr_multiplier_from": layer.origin,
        "layout": layer.layout or None,
        "c": layer.scale,
        "bias_scale": layer.bias_scale,
        "demodulated": layer.demodulated,
        "formula": layer.formula,
    }
