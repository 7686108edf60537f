"""`eqlr bake model.onnx out.onnx`: fold, write beside the target, check, rename."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from eqlr_tools import __version__
from eqlr_tools.checkpoints.atomic import check_target, new_file
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import NothingMatchedError, OutputError
from eqlr_tools.onnx_export.fold import Fold, fold_model, load_model
from eqlr_tools.onnx_export.fold_check import Agreement, check_folded

_MAX_BYTES = (1 << 31) - 1
"""What one protocol-buffer message may hold."""


@dataclass(frozen=True)
class BakedModel:
    """What was folded, and how the result was checked; `agreement` is None for a dry run."""

    source: Path
    target: Path
    folds: tuple[Fold, ...]
    agreement: Agreement | None


def bake_onnx(
    source: Path,
    target: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
) -> BakedModel:
    """Fold the constant scales in front of a model's weights. `include` and `exclude` are globs over weight names.

    Raises NothingMatchedError if there is none, VerificationError if the result is not the same function.
    """
    files = open_checkpoint(source).files
    check_target(target, files, force)
    model = load_model(source)
    folds = fold_model(model, lambda name: _wanted(name, include, exclude))
    if not folds:
        raise NothingMatchedError(
            f"{source}: no constant scale in front of a weight to fold",
            hint=f"eqlr explain {source} lists the weights; they are applied as they are stored",
        )
    if dry_run:
        return BakedModel(source, target, tuple(folds), None)
    model.metadata_props.add(key="eqlr", value=_provenance(source, folds))
    if model.ByteSize() > _MAX_BYTES:
        raise OutputError(f"{target}: more than 2 GiB, which a model without external data cannot hold")
    agreements: list[Agreement] = []
    dtypes = {fold.dtype for fold in folds}
    with new_file(target, lambda path: agreements.append(check_folded(source, path, dtypes)), force) as file:
        file.write(model.SerializeToString())
    return BakedModel(source, target, tuple(folds), agreements[0])


def _wanted(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    if any(fnmatchcase(name, glob) for glob in exclude):
        return False
    return not include or any(fnmatchcase(name, glob) for glob in include)


def _provenance(source: Path, folds: list[Fold]) -> str:
    names = sorted(fold.weight for fold in folds)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return json.dumps({"version": __version__, "operation": "bake", "source_sha256": digest, "folded": names})
