"""From a checkpoint to the network that is exported: which one, what it is, and what the file does not say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.errors import AmbiguousError, UnreadableError, UsageError
from eqlr_tools.families.registry import Recognition
from eqlr_tools.onnx_export import (
    gfpgan,
    labml_discriminator,
    progan,
    progan_discriminator,
    stylegan1,
    stylegan1_discriminator,
    stylegan2,
    stylegan2_discriminator,
    stylegan3,
)
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.network import Fact, OnnxNetwork
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_network, with_mapping
from eqlr_tools.rewriting.fitting import require_finite, require_fitting
from eqlr_tools.rewriting.selection import Selection, recognise_all, refuse_undecided


@dataclass(frozen=True)
class Subject:
    """A network that can be exported, how it was found, and what had to be supplied."""

    name: str
    family: str
    architecture: str
    role: str
    network: OnnxNetwork
    facts: dict[str, Fact]
    notes: tuple[str, ...] = ()


def exported_architectures() -> frozenset[tuple[str, str]]:
    """The (architecture, role) pairs that have a graph."""
    return frozenset(_MAKERS)


def subject_of(checkpoint: Checkpoint, selection: Selection, choices: Choices) -> Subject:
    """The network to export. Raises UsageError if there is none, AmbiguousError if it is not clear which."""
    recognitions = recognise_all(checkpoint, selection)
    found, misfits = _seen(recognitions)
    known = [(r, c) for r, c in found if c is not None and (c.naming.architecture, c.naming.role) in _MAKERS]
    if not known:
        raise misfits[0] if misfits else _refusal(checkpoint, recognitions)
    recognition, canonical = _chosen(checkpoint, known)
    refuse_undecided(checkpoint, [recognition])
    if canonical.leftover:
        raise UsageError(
            f"{checkpoint.path}: network {recognition.network.name} is a variant of {canonical.family.id} that eqlr "
            f"cannot export: {canonical.leftover[0]} is no part of the architecture",
            hint="--model package.module:factory exports any module of yours",
        )
    canonical = with_mapping(canonical, [c for _, c in found if c is not None])
    if canonical.naming.role == "discriminator" and len(recognitions) > 1:
        # Somebody who names no network means the generator, and must not get something else instead.
        raise _refusal(checkpoint, [other for other in recognitions if other is not recognition])
    if canonical.naming.architecture not in _GROWING and (choices.resolution or choices.alpha is not None):
        raise UsageError(
            f"{checkpoint.path}: --resolution and --alpha are about growing networks", hint="leave them out"
        )
    require_fitting(checkpoint.path, canonical)
    require_finite(checkpoint.path, canonical)
    made = _MAKERS[canonical.naming.architecture, canonical.naming.role](canonical, choices)
    notes = list(made.notes)
    if len(known) > 1:
        others = ", ".join(r.network.name for r, _ in known if r is not recognition)
        notes.insert(0, f"network {recognition.network.name} is exported; --network NAME takes another of {others}")
    if canonical.others:
        heads = ", ".join(sorted({f"{name.partition('.')[0]}.*" for name in canonical.others}))
        notes.append(f"{heads} are no part of the {canonical.naming.role}, and are not exported")
    if recognition.doubt:
        notes.append(recognition.note)
    family = recognition.layout.id if recognition.layout else recognition.family
    naming = canonical.naming
    return Subject(
        recognition.network.name,
        family,
        naming.architecture,
        naming.role,
        made.network,
        {**made.facts, **made.network.facts},
        tuple(notes),
    )


def _seen(
    recognitions: Sequence[Recognition],
) -> tuple[list[tuple[Recognition, CanonicalNetwork | None]], list[UnreadableError]]:
    """Each network with its canonical form if it has one, and why those have none whose names would fit."""
    found: list[tuple[Recognition, CanonicalNetwork | None]] = []
    misfits: list[UnreadableError] = []
    for recognition in recognitions:
        try:
            found.append((recognition, canonical_network(recognition)))
        except UnreadableError as error:
            misfits.append(error)
    return found, misfits


def _chosen(
    checkpoint: Checkpoint, known: Sequence[tuple[Recognition, CanonicalNetwork]]
) -> tuple[Recognition, CanonicalNetwork]:
    """The only one, else the averaged generator, else the only generator."""
    generators = [pair for pair in known if pair[1].naming.role == "generator"]
    averages = [pair for pair in generators if pair[1].is_average]
    for candidates in (known, averages, generators):
        if len(candidates) == 1:
            return candidates[0]
    names = ", ".join(recognition.network.name for recognition, _ in known)
    raise AmbiguousError(f"{checkpoint.path}: several networks can be exported: {names}", hint="--network NAME decides")


def _refusal(checkpoint: Checkpoint, recognitions: Sequence[Recognition]) -> UsageError:
    reasons = []
    for recognition in recognitions:
        family = recognition.layout
        what = f"{family.id}, architecture {family.architecture}" if family else "of no known architecture"
        reasons.append(f"{recognition.network.name} is {what}")
    architectures = sorted(f"{architecture} {role}" for architecture, role in _MAKERS)
    return UsageError(
        f"{checkpoint.path}: no network that eqlr can export: {'; '.join(reasons)}",
        hint=f"exported are: {', '.join(architectures)}; --model package.module:factory exports any module of yours",
    )


_MAKERS: dict[tuple[str, str], Callable[[CanonicalNetwork, Choices], Made]] = {
    ("stylegan2", "generator"): stylegan2.made,
    ("stylegan2", "discriminator"): stylegan2_discriminator.made,
    ("labml-stylegan2", "discriminator"): labml_discriminator.made,
    ("stylegan3", "generator"): stylegan3.made,
    ("gfpgan", "generator"): gfpgan.made,
    ("progan", "generator"): progan.made,
    ("progan", "discriminator"): progan_discriminator.made,
    ("bmsg-gan", "generator"): progan.made_multiscale,
    ("bmsg-gan", "discriminator"): progan_discriminator.made_multiscale,
    ("stylegan1", "generator"): stylegan1.made,
    ("stylegan1", "discriminator"): stylegan1_discriminator.made,
}
_GROWING = ("progan", "bmsg-gan", "stylegan1")
"""Those whose files hold several sizes."""
