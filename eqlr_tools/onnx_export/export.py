"""A checkpoint's network to a checked ONNX file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools import __version__
from eqlr_tools.checkpoints.atomic import check_target, new_file
from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.errors import UsageError, VerificationError
from eqlr_tools.onnx_export.checking import Agreement, check_file, compare, least_snr, require, snr_db
from eqlr_tools.onnx_export.choices import Choices
from eqlr_tools.onnx_export.options import Options, Precision
from eqlr_tools.onnx_export.runtime import Provider
from eqlr_tools.onnx_export.subject import Subject, subject_of
from eqlr_tools.onnx_export.user_module import module_subject, parse_shapes, torch_model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from eqlr_tools.onnx_export.graph import Graph
    from eqlr_tools.rewriting.selection import Selection

_HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class Written:
    """One file, what goes in and out, and its figures."""

    part: str
    path: Path
    nbytes: int
    nodes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Export:
    """What was exported, from what was inferred, and how it compares."""

    source: Path
    subject: Subject
    options: Options
    files: tuple[Written, ...]
    agreements: tuple[Agreement, ...]
    required_snr_db: float
    kept_fp32: Mapping[str, str]
    provider: Provider
    build_seconds: float
    check_seconds: float


def export(
    checkpoint: Checkpoint,
    target: Path,
    selection: Selection,
    options: Options,
    choices: Choices,
    *,
    provider: Provider = Provider.cpu,
    min_snr: float | None = None,
    force: bool = False,
) -> Export:
    """Emit, check and write. Raises VerificationError, and writes nothing, if the graph computes something else."""
    started = perf_counter()
    subject = subject_of(checkpoint, selection, choices)
    kept = hazardous(subject.network.half_weights()) if options.precision is Precision.mixed else {}
    options = replace(options, keep_fp32=frozenset(kept))
    graphs = subject.network.graphs(options)
    metadata = _metadata(checkpoint, subject, options)
    models = {part: graph.model({**metadata, "eqlr.part": part}) for part, graph in graphs.items()}
    emitted = _Emitted(checkpoint, subject, options, graphs, models, kept, perf_counter() - started)
    return _checked_and_written(emitted, target, provider, min_snr, force)


def export_module(
    checkpoint: Checkpoint,
    target: Path,
    selection: Selection,
    options: Options,
    factory: str,
    shapes: Sequence[str],
    *,
    provider: Provider = Provider.cpu,
    min_snr: float | None = None,
    force: bool = False,
) -> Export:
    """The same for a module of the user's own, through torch's exporter. Raises as `export` does."""
    if options != Options(opset=options.opset):
        raise UsageError("a module of your own is exported in fp32 as it stands; --model goes with --opset alone")
    started = perf_counter()
    subject, module = module_subject(checkpoint, selection, factory, parse_shapes(shapes))
    graphs = subject.network.graphs(options)
    metadata = _metadata(checkpoint, subject, options)
    models = {part: torch_model(module, graph, metadata) for part, graph in graphs.items()}
    emitted = _Emitted(checkpoint, subject, options, graphs, models, {}, perf_counter() - started)
    return _checked_and_written(emitted, target, provider, min_snr, force)


@dataclass(frozen=True)
class _Emitted:
    """Graphs and models by part, before anybody has checked them."""

    checkpoint: Checkpoint
    subject: Subject
    options: Options
    graphs: Mapping[str, Graph]
    models: Mapping[str, ModelProto]
    kept_fp32: Mapping[str, str]
    seconds: float


def _checked_and_written(
    emitted: _Emitted, target: Path, provider: Provider, min_snr: float | None, force: bool
) -> Export:
    options, graphs, models = emitted.options, emitted.graphs, emitted.models
    targets = {part: target if len(graphs) == 1 else _part_path(target, part) for part in graphs}
    for path in targets.values():
        check_target(path, emitted.checkpoint.files, force)
    started = perf_counter()
    least = least_snr(options.precision) if min_snr is None else min_snr
    agreements: list[Agreement] = []
    for part, model in models.items():
        check_file(model, options.opset)
        agreements += compare(part, graphs[part], model, emitted.subject.network, options, provider)
    require(agreements, least)
    seconds = perf_counter() - started
    sizes = _write(models, targets, force)
    files = tuple(
        Written(
            part,
            targets[part],
            sizes[part],
            len(models[part].graph.node),
            tuple(port.name for port in graph.inputs),
            tuple(port.name for port in graph.outputs),
        )
        for part, graph in graphs.items()
    )
    return Export(
        emitted.checkpoint.path,
        emitted.subject,
        options,
        files,
        tuple(agreements),
        least,
        emitted.kept_fp32,
        provider,
        emitted.seconds,
        seconds,
    )


def hazardous(weights: Mapping[str, NDArray]) -> dict[str, str]:
    """The layers whose weights half precision would spoil, and how: overflow, or rounding that is heard."""
    least, found = least_snr(Precision.fp16), {}
    for layer, values in weights.items():
        with np.errstate(over="ignore"):
            stored = values.astype(np.float16).astype(np.float64)
        ratio = snr_db(stored, values)
        if not ratio >= least:
            found[layer] = f"its weights keep {ratio:.0f} dB in fp16"
    return found


def _part_path(target: Path, part: str) -> Path:
    return target.with_name(f"{target.stem}.{part}{target.suffix}")


def _metadata(checkpoint: Checkpoint, subject: Subject, options: Options) -> dict[str, str]:
    digest = hashlib.sha256()
    with open(checkpoint.path, "rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return {
        "eqlr.version": __version__,
        "eqlr.source": checkpoint.path.name,
        "eqlr.source_sha256": digest.hexdigest(),
        "eqlr.network": subject.name,
        "eqlr.family": subject.family,
        "eqlr.architecture": f"{subject.architecture} {subject.role}",
        "eqlr.precision": str(options.precision),
        "eqlr.noise": str(options.noise),
    }


def _write(models: Mapping[str, ModelProto], targets: Mapping[str, Path], force: bool) -> dict[str, int]:
    """Write all files, read each back, and only then give them their names."""
    sizes = {}
    with ExitStack() as stack:
        for part, model in models.items():
            try:
                data = model.SerializeToString()
            except ValueError as error:
                raise UsageError(
                    f"{targets[part]}: the model is larger than 2 GB, which one file cannot hold"
                ) from error
            sizes[part] = len(data)
            file = stack.enter_context(new_file(targets[part], partial(_require_same, data), force))
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
    return sizes


def _require_same(data: bytes, path: Path) -> None:
    if path.read_bytes() != data:
        raise VerificationError(f"{path}: what was read back is not what was written", hint="is the disk sound?")
