"""A checkpoint's network to a checked ONNX file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools import __version__
from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.errors import UsageError
from eqlr_tools.onnx_export.checking import Agreement, Trial, check_file, compare, least_snr, require
from eqlr_tools.onnx_export.choices import Choices
from eqlr_tools.onnx_export.hazards import hazardous
from eqlr_tools.onnx_export.options import Options, Precision
from eqlr_tools.onnx_export.runtime import Provider
from eqlr_tools.onnx_export.storing import SINGLE_FILE_BYTES, check_targets, stored
from eqlr_tools.onnx_export.subject import Subject, subject_of
from eqlr_tools.onnx_export.user_module import module_subject, parse_shapes, torch_model

if TYPE_CHECKING:
    from onnx import ModelProto

    from eqlr_tools.onnx_export.graph import Graph
    from eqlr_tools.rewriting.selection import Selection

_HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class Written:
    """One model, what goes in and out, and its figures. Its data has bytes if it is a file of its own."""

    part: str
    path: Path
    nbytes: int
    data_bytes: int
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


@dataclass(frozen=True)
class Common:
    """What every export takes: what runs the check, its bar, and how files are written. `say` is told what happens."""

    provider: Provider = Provider.cpu
    min_snr: float | None = None
    force: bool = False
    say: Callable[[str], None] = lambda text: None
    single_file_bytes: int = SINGLE_FILE_BYTES


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # Of numbers too large the comparison tells.
def export(
    checkpoint: Checkpoint,
    target: Path,
    selection: Selection,
    options: Options,
    choices: Choices,
    common: Common,
) -> Export:
    """Emit, check and write. Raises VerificationError, and writes nothing, if the graph computes something else."""
    common.say("reading the network")
    started = perf_counter()
    subject = subject_of(checkpoint, selection, choices)
    kept = hazardous(subject.network.half_weights()) if options.precision is Precision.mixed else {}
    options = replace(options, keep_fp32=frozenset(kept))
    graphs = subject.network.graphs(options)
    metadata = _metadata(checkpoint, subject, options)
    models = {part: graph.model({**metadata, "eqlr.part": part}) for part, graph in graphs.items()}
    emitted = _Emitted(checkpoint, subject, options, graphs, models, kept, perf_counter() - started)
    return _checked_and_written(emitted, target, common)


def export_module(
    checkpoint: Checkpoint,
    target: Path,
    selection: Selection,
    options: Options,
    factory: str,
    shapes: Sequence[str],
    common: Common,
) -> Export:
    """The same for a module of the user's own, through torch's exporter. Raises as `export` does."""
    if options != Options(opset=options.opset):
        raise UsageError("a module of your own is exported in fp32 as it stands; --model goes with --opset alone")
    common.say("exporting by torch")
    started = perf_counter()
    subject, module = module_subject(checkpoint, selection, factory, parse_shapes(shapes))
    graphs = subject.network.graphs(options)
    metadata = _metadata(checkpoint, subject, options)
    models = {part: torch_model(module, graph, metadata) for part, graph in graphs.items()}
    emitted = _Emitted(checkpoint, subject, options, graphs, models, {}, perf_counter() - started)
    return _checked_and_written(emitted, target, common)


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


def _checked_and_written(emitted: _Emitted, target: Path, common: Common) -> Export:
    options, graphs, models = emitted.options, emitted.graphs, emitted.models
    targets = {part: target if len(graphs) == 1 else _part_path(target, part) for part in graphs}
    check_targets(targets, emitted.checkpoint.files, common.force)
    started = perf_counter()
    least = least_snr(options.precision) if common.min_snr is None else common.min_snr
    agreements: list[Agreement] = []
    network = emitted.subject.network
    common.say(f"writing {target.name}")
    with stored(models, targets, force=common.force, single_file_bytes=common.single_file_bytes) as places:
        wrote = perf_counter() - started
        for part, place in places.items():
            check_file(place.path, options.opset)
            trial = Trial(part, graphs[part], network, options)
            agreements += compare(trial, place.path, common.provider, least, common.say)
        require(agreements, least)
        seconds = perf_counter() - started - wrote
    files = tuple(
        Written(
            part,
            targets[part],
            places[part].nbytes,
            places[part].data_bytes,
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
        common.provider,
        emitted.seconds + wrote,
        seconds,
    )


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
