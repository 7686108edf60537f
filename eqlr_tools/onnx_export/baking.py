"""`eqlr bake model.onnx out.onnx`: fold, write beside the target, check, rename."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from eqlr_tools import __version__
from eqlr_tools.checkpoints.atomic import check_target
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import NothingMatchedError, OutputError
from eqlr_tools.onnx_export.fold import Fold, fold_model, load_model
from eqlr_tools.onnx_export.fold_check import Agreement, check_folded
from eqlr_tools.onnx_export.storing import SINGLE_FILE_BYTES, data_path, model_bytes, stored


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
    checkpoint = open_checkpoint(source)
    files = checkpoint.files
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
    constants = sum(tensor.nbytes for network in checkpoint.networks for tensor in network.tensors.values())
    if constants - model_bytes(model) > SINGLE_FILE_BYTES:
        raise OutputError(f"{target}: more than 2 GB in nodes and subgraphs, which have no data of their own")
    if model_bytes(model) > SINGLE_FILE_BYTES:
        check_target(data_path(target), files, force)
    dtypes = {fold.dtype for fold in folds}
    with stored({"model": model}, {"model": target}, force=force, single_file_bytes=SINGLE_FILE_BYTES) as places:
        agreement = check_folded(source, places["model"].path, dtypes)
    return BakedModel(source, target, tuple(folds), agreement)


def _wanted(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    if any(fnmatchcase(name, glob) for glob in exclude):
        return False
    return not include or any(fnmatchcase(name, glob) for glob in include)


def _provenance(source: Path, folds: list[Fold]) -> str:
    names = sorted(fold.weight for fold in folds)
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return json.dumps({"version": __version__, "operation": "bake", "source_sha256": digest, "folded": names})
