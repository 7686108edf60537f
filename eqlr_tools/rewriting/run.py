"""The executor: streams a plan into a new file, has it verified, and gives it its name."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from eqlr_tools import __version__
from eqlr_tools.checkpoints.atomic import check_target, new_file, new_set, remove_stale
from eqlr_tools.checkpoints.bounded_json import MAX_VALUES, values_in
from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.complex_numbers import as_pairs, paired_names
from eqlr_tools.checkpoints.identity import identity_of
from eqlr_tools.checkpoints.opening import nest, open_checkpoint
from eqlr_tools.checkpoints.outputs import Output, aliases_among, flatten, leaves
from eqlr_tools.checkpoints.provenance import METADATA_KEY, encode_skeleton
from eqlr_tools.checkpoints.safetensors_file import MAX_HEADER_BYTES
from eqlr_tools.checkpoints.safetensors_writer import write_safetensors
from eqlr_tools.checkpoints.sharding import index_of, index_text, places_taken
from eqlr_tools.checkpoints.streaming import Piece, reads_back
from eqlr_tools.checkpoints.torch_writer import write_torch_zip
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.errors import OutputError, VerificationError
from eqlr_tools.families.registry import Recognition
from eqlr_tools.rewriting import overflow
from eqlr_tools.rewriting.distances import MAX_ULP, OVERFLOWS, Comparison, Effective, Pair, compare_all, paired
from eqlr_tools.rewriting.plan import Plan, is_flat
from eqlr_tools.rewriting.scale import Scale
from eqlr_tools.rewriting.selection import Selection, recognise_all
from eqlr_tools.rewriting.verify import Verification, verify, verify_pairs
from eqlr_tools.rewriting.witness import Witness, tensor_at

Progress = Callable[[int], None]

_MAX_METADATA_BYTES = MAX_HEADER_BYTES // 2
"""The rest of the header is for the tensors."""


@dataclass(frozen=True)
class Result:
    """What `run` did: the plan, and the verification of the file that now stands under the target's name."""

    plan: Plan
    verification: Verification


def run(plan: Plan, selection: Selection, *, force: bool = False, progress: Progress = lambda _: None) -> Result:
    """Execute a plan: write, flush, re-read, verify, rename.

    Raises OutputError if the target cannot be written, VerificationError if what was written does not compute the
    same; in both cases nothing is left behind and the source is untouched.
    """
    if plan.shards:
        remove_stale(index_of(plan.target))
    check_targets(plan, force)
    _check_space(plan)
    source = recognise_all(plan.source, selection)
    found: list[Verification] = []
    pieces: dict[Path, list[Piece]] = {}

    def check(temporary: Path) -> None:
        intact = all(reads_back(path, written) for path, written in pieces.items())
        found.append(_verify_written(plan, source, selection, temporary, intact, progress))

    if plan.shards:
        replaced = places_taken(plan.target, plan.shards) if force else []
        with new_set(index_of(plan.target), check, replaced) as folder:
            pieces |= _write_shards(plan, folder, progress)
    else:
        with new_file(plan.target, check, force) as file:
            pieces[Path(file.name)] = _write(plan, file, progress)
    return Result(plan, found[0])


def planned_bytes(plan: Plan) -> int:
    """Bytes that a run reads or writes in all, for progress: written once, then read from both files."""
    return 2 * sum(output.nbytes for _, output in leaves(plan.tree))


def check_targets(plan: Plan, force: bool) -> None:
    """Raise OutputError if a file that the plan writes, or would replace, must not be touched."""
    for path in written_files(plan):
        check_target(path, plan.source.files, force)


def written_files(plan: Plan) -> list[Path]:
    """Every file that a run writes or takes the place of."""
    return places_taken(plan.target, plan.shards) if plan.shards else [plan.target]


def _write(plan: Plan, file: BinaryIO, progress: Progress) -> list[Piece]:
    provenance = _provenance(plan)
    if is_flat(plan.target):
        outputs = flatten(plan.tree, plan.sole_network)
        metadata = _metadata(plan, provenance | _flat_extras(plan, outputs))
        return write_safetensors(file, as_pairs(outputs), metadata, progress)
    return write_torch_zip(file, plan.tree, provenance, progress)


def _write_shards(plan: Plan, folder: Path, progress: Progress) -> dict[Path, list[Piece]]:
    """Every shard says where it comes from; what is true of the whole stands in the index."""
    pieces = {}
    outputs = flatten(plan.tree, plan.sole_network)
    provenance = _provenance(plan)
    for shard in plan.shards:
        path = folder / shard.file_name
        with open(path, "x+b", buffering=0) as file:
            inside = as_pairs({name: outputs[name] for name in shard.tensors})
            pieces[path] = write_safetensors(file, inside, _metadata(plan, provenance), progress)
    metadata = _metadata(plan, provenance | _flat_extras(plan, outputs))
    (folder / index_of(plan.target).name).write_text(index_text(plan.shards, outputs, metadata), encoding="utf-8")
    return pieces


def _metadata(plan: Plan, provenance: dict[str, Any]) -> dict[str, str]:
    own = json.dumps(provenance, sort_keys=True)
    if len(own) > _MAX_METADATA_BYTES or values_in(own.encode()) > MAX_VALUES // 2:
        raise OutputError(
            f"{plan.target}: what is no tensor takes {len(own):,} bytes, which no safetensors header holds",
            hint="write a .pt instead",
        )
    return {**plan.source.metadata, METADATA_KEY: own}


def _provenance(plan: Plan) -> dict[str, Any]:
    return {
        "tool": f"eqlr-tools {__version__}",
        "operation": plan.operation,
        "family": plan.family,
        "source": plan.source.path.name,
        "source_header_sha256": _header_hash(plan),
        **identity_of(plan.source.files),
        "steps": dict(Counter(step.action for step in plan.steps)),
        **plan.provenance,
    }


def _flat_extras(plan: Plan, outputs: dict[str, Output]) -> dict[str, Any]:
    """What a flat file cannot say by itself: aliases, complex types, and nesting that names do not give back."""
    extras: dict[str, Any] = {}
    if paired := paired_names(outputs):
        extras["complex"] = paired
    aliases = aliases_among(outputs)
    if aliases:
        extras["aliases"] = aliases
    names = {id(output): name for name, output in outputs.items()}
    skeleton = encode_skeleton(plan.tree, names)
    if skeleton != encode_skeleton(nest(outputs), names):  # type: ignore[arg-type]
        extras["skeleton"] = skeleton
    return extras


def _verify_written(
    plan: Plan, source: list[Recognition], selection: Selection, temporary: Path, intact: bool, progress: Progress
) -> Verification:
    """Compare the file with the source: effective weights by ulp, everything else bit for bit.

    `intact` says that all tensors were read back as they were written.
    """
    written = open_checkpoint(temporary)
    witness = Witness(plan.tree, written, intact=intact)

    def strictly(pair: Pair) -> Pair:
        return witness.vouched(pair.held_to_copies())

    if plan.places:
        pairs = _moved(plan, source, recognise_all(written, plan.reading or Selection()))
        result = verify_pairs(pairs, strictly=strictly, progress=progress)
        places = set(plan.places.values())
    else:
        names = tuple(recognition.network.name for recognition in source)
        chosen = Selection(networks=names, overrides=selection.overrides)
        result = verify(source, recognise_all(written, chosen), strictly=strictly, progress=progress)
        places = {(r.network.path, r.network.prefix) for r in source}
    rest = compare_all(
        (strictly(item) if isinstance(item, Pair) else item for item in _copies(plan, written, places)), progress
    )
    result = Verification(result.tolerance_ulp, result.comparisons + tuple(rest), result.pairs, result.notes)
    if not result.passed:
        worst = result.failures[0]
        size = f" by {worst.max_ulp} ulp" if worst.max_ulp else ""
        raise VerificationError(
            f"{plan.target}: not written, because verification failed: {len(result.failures)} of "
            f"{len(result.comparisons)} tensors differ, first {worst.network}.{worst.name} ({worst.problem}{size})",
            hint=overflow.HINT
            if worst.problem == OVERFLOWS
            else "the source is untouched; please report this with the output of eqlr explain",
        )
    if not intact:
        raise VerificationError(
            f"{plan.target}: not written, because what was read back is not what was written",
            hint="the source is untouched; try again, and on another disk",
        )
    return result


def _moved(plan: Plan, source: list[Recognition], written: list[Recognition]) -> list[tuple[Recognition, Recognition]]:
    """Pair every network that the plan moves with the one that stands in its new place."""
    by_place = {(r.network.path, r.network.prefix): r for r in written}
    moved = [(r, plan.places[r.network.name]) for r in source if r.network.name in plan.places]
    absent = [place for _, place in moved if place not in by_place]
    if absent or len(moved) != len(plan.places):
        raise VerificationError(
            f"{plan.target}: not written, because a network is not where the plan puts it: {absent}",
            hint="the source is untouched; please report this",
        )
    return [(recognition, by_place[place]) for recognition, place in moved]


def _copies(plan: Plan, written: Checkpoint, compared: set[tuple[TreePath, str]]) -> Iterator[Pair | Comparison]:
    """What lies outside the compared networks must stand in the new file under its path, bit for bit.

    What is rescaled there, optimizer moments, is multiplied anew in float64 and compared like effective weights.
    """
    for path, output in leaves(plan.tree):
        if any(path[:-1] == place and str(path[-1]).startswith(prefix) for place, prefix in compared):
            continue
        partner = tensor_at(written.tree, path)
        name = dotted(path)
        if partner is None:
            yield Comparison("", name, False, None, problem="missing in the file that was written")
        else:
            factor = output.transform.factor if isinstance(output.transform, Scale) else 1.0
            tolerance = MAX_ULP if factor != 1.0 else 0
            yield paired("", name, Effective(output.tensor, factor), Effective(partner, 1.0), tolerance)


def _header_hash(plan: Plan) -> str:
    """SHA-256 of the names, types and shapes of the source: enough to tell which file it was, without reading it."""
    digest = hashlib.sha256()
    for step in plan.steps:
        digest.update(f"{step.network}|{step.source}|{step.dtype}|{step.shape}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _check_space(plan: Plan) -> None:
    needed = sum(output.nbytes for _, output in leaves(plan.tree))
    free = shutil.disk_usage(plan.target.parent).free
    if needed > free:
        raise OutputError(f"{plan.target}: {needed:,} bytes are needed, the disk has {free:,}", hint="free some space")
