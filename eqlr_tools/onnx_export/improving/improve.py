"""`eqlr export model.onnx out.onnx`: everything that makes a model better and leaves it the same function."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from eqlr_tools import __version__
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import NothingMatchedError, UsageError, VerificationError
from eqlr_tools.onnx_export.checking import Agreement, check_model, least_snr
from eqlr_tools.onnx_export.fold import Fold, fold_model, load_model
from eqlr_tools.onnx_export.hazards import hazardous
from eqlr_tools.onnx_export.improving.batch import fixed_batch, free_batch
from eqlr_tools.onnx_export.improving.constants import fold_constants
from eqlr_tools.onnx_export.improving.editing import Editor
from eqlr_tools.onnx_export.improving.halving import Halved, candidates, to_half
from eqlr_tools.onnx_export.improving.judging import Trial, judge, largest_values, trials
from eqlr_tools.onnx_export.improving.modulated import Left, Modulated, constant_kernels, constant_norms
from eqlr_tools.onnx_export.options import Precision
from eqlr_tools.onnx_export.runtime import Provider
from eqlr_tools.onnx_export.storing import SINGLE_FILE_BYTES, check_targets, stored

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

_HASH_BLOCK = 1 << 20


@dataclass
class Changes:
    """What was done, and what was left alone and why."""

    folds: list[Fold] = field(default_factory=list)
    constant_nodes: int = 0
    norms: int = 0
    modulated: list[Modulated] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    freed_batch: int | None = None
    batch_reason: str = ""
    halved: Halved | None = None

    @property
    def any(self) -> bool:
        parts = (self.folds, self.constant_nodes, self.norms, self.modulated, self.freed_batch, self.halved)
        return any(bool(part) for part in parts)


@dataclass(frozen=True)
class Improved:
    """The files, the changes, the agreement."""

    source: Path
    target: Path
    precision: Precision
    opset: int
    provider: Provider
    changes: Changes
    nodes: tuple[int, int]
    nbytes: int
    data_bytes: int
    agreements: tuple[Agreement, ...]
    required_snr_db: float
    build_seconds: float
    check_seconds: float


def improve(
    source: Path,
    target: Path,
    *,
    precision: Precision = Precision.fp32,
    provider: Provider = Provider.cpu,
    min_snr: float | None = None,
    force: bool = False,
    single_file_bytes: int = SINGLE_FILE_BYTES,
) -> Improved:
    """Raises NothingMatchedError if nothing can be improved, VerificationError if the result is another function."""
    if precision is Precision.bf16:
        raise UsageError("an existing model is not converted to bf16", hint="--precision fp16 or mixed")
    check_targets({"model": target}, open_checkpoint(source).files, force)
    least = least_snr(precision) if min_snr is None else min_snr
    job = _Job(source, target, precision, provider, least, force, single_file_bytes, trials(source, provider))
    built = job.built(free=True)
    try:
        return job.written(built)
    except VerificationError as error:
        if built.changes.freed_batch is None:
            raise
        return job.written(job.built(free=False, reason=error.message))


@dataclass
class _Built:
    """A model that nobody has checked yet."""

    model: ModelProto
    changes: Changes
    nodes_before: int
    seconds: float


@dataclass(frozen=True)
class _Job:
    source: Path
    target: Path
    precision: Precision
    provider: Provider
    least_snr: float
    force: bool
    single_file_bytes: int
    ran: Sequence[Trial]

    def built(self, *, free: bool, reason: str = "") -> _Built:
        """Improve the source in memory. Raises NothingMatchedError if nothing in it can be improved."""
        started = perf_counter()
        model, changes = load_model(self.source), Changes(batch_reason=reason)
        before, half = len(model.graph.node), self.precision is not Precision.fp32
        changes.folds = fold_model(model, lambda _: True)
        editor = Editor(model)
        changes.constant_nodes = fold_constants(editor)
        changes.norms = constant_norms(editor)
        changes.modulated, changes.left = constant_kernels(editor, prenormalise=half)
        fold_constants(editor)
        if half:
            changes.halved = self._halved(editor)
        batch = fixed_batch(editor) if free else None
        if batch is not None:
            free_batch(editor, batch)
            changes.freed_batch = batch
        if not changes.any:
            raise NothingMatchedError(
                f"{self.source}: nothing to improve: no scale to fold, no kernel that is computed from constants",
                hint=_what_was_left(changes),
            )
        for key, value in _metadata(self.source, self.precision).items():
            model.metadata_props.add(key=key, value=value)
        return _Built(model, changes, before, perf_counter() - started)

    def _halved(self, editor: Editor) -> Halved | None:
        largest = self._largest(editor)
        hazards = hazardous(_weights(editor)) if self.precision is Precision.mixed else {}
        halved = to_half(editor, largest, hazards)
        return halved if halved.convolutions else None

    def _largest(self, editor: Editor) -> dict[str, float]:
        """The magnitudes that the model reaches in single precision, from a copy with more outputs."""
        names = candidates(editor)
        probe = type(editor.model)()
        probe.CopyFrom(editor.model)
        known = {entry.name for entry in probe.graph.output}
        for name in names:
            if name not in known:
                probe.graph.output.add(name=name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "probe.onnx"
            with stored({"probe": probe}, {"probe": path}, force=False):
                pass
            return largest_values(path, names, self.ran, self.provider)

    def written(self, built: _Built) -> Improved:
        """Write, check, and only then give the file its name."""
        started = perf_counter()
        targets, model = {"model": self.target}, built.model
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        with stored({"model": model}, targets, force=self.force, single_file_bytes=self.single_file_bytes) as places:
            place = places["model"]
            check_model(place.path)
            agreements = judge(place.path, self.ran, self.provider, built.changes.freed_batch, self.least_snr)
        return Improved(
            self.source,
            self.target,
            self.precision,
            opset,
            self.provider,
            built.changes,
            (built.nodes_before, len(model.graph.node)),
            place.nbytes,
            place.data_bytes,
            tuple(agreements),
            self.least_snr,
            built.seconds,
            perf_counter() - started,
        )


def _weights(editor: Editor) -> dict[str, NDArray]:
    convolutions = [node for node in editor.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    weights = {node.input[1]: editor.constant(node.input[1]) for node in convolutions}
    return {name: values for name, values in weights.items() if values is not None}


def _what_was_left(changes: Changes) -> str:
    if not changes.left:
        return "eqlr explain MODEL lists the weights; --precision fp16 halves the convolutions"
    return f"left alone: {changes.left[0].name}, {changes.left[0].reason}"


def _metadata(source: Path, precision: Precision) -> dict[str, str]:
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return {
        "eqlr.version": __version__,
        "eqlr.source": source.name,
        "eqlr.source_sha256": digest.hexdigest(),
        "eqlr.precision": str(precision),
    }
