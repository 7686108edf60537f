"""The report of `export`: what was inferred, what was written, how it compares with the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eqlr_tools.reports.report import Cell, Column, Report, Table, bytes_text, figure

if TYPE_CHECKING:
    from eqlr_tools.onnx_export.checking import Agreement
    from eqlr_tools.onnx_export.export import Export, Written

_FACTS = [Column("inferred", right=False), Column("value", right=False)]
CHECKS = [
    Column("part", 2, right=False),
    Column("output", right=False),
    Column("latents", right=False),
    Column("samples", 1),
    Column("batches", 1, right=False),
    Column("max relative"),
    Column("mean relative"),
    Column("SNR dB"),
]


def export_report(done: Export) -> Report:
    """The facts as a table, the agreement as another, and a line per file."""
    subject = done.subject
    facts: dict[str, Cell] = {
        "network": subject.name,
        "family": subject.family,
        "architecture": f"{subject.architecture} {subject.role}",
        **subject.facts,
    }
    content = {
        "source": str(done.source),
        "facts": facts,
        "notes": list(subject.notes),
        "precision": str(done.options.precision),
        "opset": done.options.opset,
        "kept_fp32": dict(done.kept_fp32),
        "files": [{**vars(file), "path": str(file.path)} for file in done.files],
        "checked": {
            "provider": str(done.provider),
            "required_snr_db": done.required_snr_db,
            "outputs": [{**vars(found), "batches": list(found.batches)} for found in done.agreements],
        },
        "build_seconds": done.build_seconds,
        "check_seconds": done.check_seconds,
    }
    lines = [f"note: {note}" for note in subject.notes]
    lines += [f"in fp32: {layer}, {reason}" for layer, reason in done.kept_fp32.items()]
    for file in done.files:
        ports = f"{', '.join(file.inputs)} → {', '.join(file.outputs)}"
        lines.append(
            f"{file.path}: {ports}; {file.nodes} nodes, {_size(file)}, {done.options.precision}, "
            f"opset {done.options.opset}"
        )
    lines += [
        f"note: the network amplifies rounding errors: in float32 the reference itself has {found.output} at "
        f"{decibels(found.attainable_db)} for {found.latents} latents"
        for found in done.agreements
        if found.attainable_db is not None
    ]
    least = min(found.snr_db for found in done.agreements if found.latents == "usual")
    amplified = any(found.attainable_db is not None for found in done.agreements)
    required = "(as far as float32 can reach)" if amplified else f"(at least {done.required_snr_db:g})"
    lines.append(
        f"checked on {done.provider} against float64: SNR {decibels(least)} {required}; "
        f"built in {done.build_seconds:.2g} s, checked in {done.check_seconds:.2g} s"
    )
    tables = [
        Table(_FACTS, [[name, value if isinstance(value, str) else figure(value)] for name, value in facts.items()]),
        Table(CHECKS, [agreement_row(found) for found in done.agreements]),
    ]
    return Report("eqlr.export/1", content, tables, lines)


def _size(file: Written) -> str:
    data = f" and {bytes_text(file.data_bytes)} in {file.path.name}.data" if file.data_bytes else ""
    return bytes_text(file.nbytes) + data


def agreement_row(found: Agreement) -> list[Cell]:
    """An output and how far it is from what is expected."""
    batches = " ".join(map(str, found.batches))
    snr = round(found.snr_db, 1)
    return [
        found.part,
        found.output,
        found.latents,
        found.samples,
        batches,
        found.max_relative,
        found.mean_relative,
        snr,
    ]


def decibels(value: float) -> str:
    """A ratio in dB; it is infinite where nothing differs."""
    return "infinite" if value == float("inf") else f"{value:.1f} dB"
