"""From a checkpoint to the network that is exported: which one, what it is, and what the file does not say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.errors import AmbiguousError, UsageError
from eqlr_tools.families.registry import Recognition
from eqlr_tools.networks.gfpgan import Resampling
from eqlr_tools.networks.stylegan2 import latents, resolutions
from eqlr_tools.onnx_export.gfpgan import GFPGAN
from eqlr_tools.onnx_export.network import Fact, OnnxNetwork
from eqlr_tools.onnx_export.progan import ProGAN
from eqlr_tools.onnx_export.stylegan2 import StyleGAN2
from eqlr_tools.onnx_export.stylegan2_discriminator import StyleGAN2Discriminator
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AVERAGED_LATENTS = 10_000


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


@dataclass(frozen=True)
class Choices:
    """What the user says where the file is silent. `clamp` None means: what the file says; infinity: none."""

    clamp: float | None = None
    resampling: Resampling | None = None
    resolution: int | None = None
    alpha: float | None = None


def exported_architectures() -> frozenset[tuple[str, str]]:
    """The (architecture, role) pairs that have a graph."""
    return frozenset(_MAKERS)


def subject_of(checkpoint: Checkpoint, selection: Selection, choices: Choices) -> Subject:
    """The network to export. Raises UsageError if there is none, AmbiguousError if it is not clear which."""
    recognitions = recognise_all(checkpoint, selection)
    found = [(r, canonical_network(r)) for r in recognitions]
    known = [(r, c) for r, c in found if c is not None and (c.naming.architecture, c.naming.role) in _MAKERS]
    if not known:
        raise _refusal(checkpoint, recognitions)
    recognition, canonical = _chosen(checkpoint, known)
    if canonical.naming.role == "discriminator" and len(recognitions) > 1:
        # Somebody who names no network means the generator, and must not get something else instead.
        raise _refusal(checkpoint, [other for other in recognitions if other is not recognition])
    if canonical.naming.architecture != "progan" and (choices.resolution or choices.alpha is not None):
        raise UsageError(f"{checkpoint.path}: --resolution and --alpha are about ProGAN", hint="leave them out")
    maker = _MAKERS[canonical.naming.architecture, canonical.naming.role]
    network, facts, notes = maker(canonical, choices)
    if len(known) > 1:
        others = ", ".join(r.network.name for r, _ in known if r is not recognition)
        notes.insert(0, f"network {recognition.network.name} is exported; --network NAME takes another of {others}")
    if recognition.doubt:
        notes.append(recognition.note)
    family = recognition.layout.id if recognition.layout else recognition.family
    naming = canonical.naming
    return Subject(
        recognition.network.name, family, naming.architecture, naming.role, network, facts | network.facts, tuple(notes)
    )


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


def _stylegan2(canonical: CanonicalNetwork, choices: Choices) -> tuple[OnnxNetwork, dict[str, Fact], list[str]]:
    parameters = {name: canonical.values(name) for name in canonical.parts}
    notes = []
    if "mapping.w_avg" not in parameters:
        parameters["mapping.w_avg"] = _average(parameters)
        notes.append(
            f"the file holds no average w; that of {_AVERAGED_LATENTS:,} seeded latents is used for truncation"
        )
    network = StyleGAN2(parameters, _limit(canonical, choices))
    multiplier = canonical.lr_multiplier
    return network, {"mapping lr multiplier": multiplier} if multiplier is not None else {}, notes


def _discriminator(canonical: CanonicalNetwork, choices: Choices) -> tuple[OnnxNetwork, dict[str, Fact], list[str]]:
    parameters = {name: canonical.values(name) for name in canonical.parts}
    if any(name.startswith("mapping.") for name in parameters):
        raise UsageError(
            f"network {canonical.recognition.network.name} is a conditional discriminator, which is not exported",
            hint="--network NAME takes another network",
        )
    return StyleGAN2Discriminator(parameters, _limit(canonical, choices)), {}, []


def _gfpgan(canonical: CanonicalNetwork, choices: Choices) -> tuple[OnnxNetwork, dict[str, Fact], list[str]]:
    parameters = {name: canonical.values(name) for name in canonical.parts}
    resampling: Resampling = choices.resampling or ("fir" if canonical.recognition.equalized else "bilinear")
    other = "bilinear" if resampling == "fir" else "fir"
    note = f"resampling is taken as {resampling}, which no file says; if the pictures are wrong, --resampling {other}"
    return GFPGAN(parameters, resampling), {}, [] if choices.resampling else [note]


_PROGAN_FORMS = {"aladdin-progan": {"tanh": True, "input_normalised": False}}
"""What a family's code does that no tensor says."""


def _progan(canonical: CanonicalNetwork, choices: Choices) -> tuple[OnnxNetwork, dict[str, Fact], list[str]]:
    parameters = {name: canonical.values(name) for name in canonical.parts}
    sizes = resolutions(parameters, "")
    resolution = choices.resolution or sizes[-1]
    if resolution not in sizes:
        raise UsageError(f"--resolution {resolution}: the network has {', '.join(map(str, sizes))}")
    notes = [] if choices.resolution else ["exported at its largest size; --resolution N takes one that was trained"]
    alpha = 1.0 if choices.alpha is None else choices.alpha
    return ProGAN(parameters, resolution, alpha, **_PROGAN_FORMS[canonical.family.id]), {}, notes


def _limit(canonical: CanonicalNetwork, choices: Choices) -> float | None:
    """The clamp that the user says, else the file; infinity means none."""
    clamp = _clamp(canonical) if choices.clamp is None else choices.clamp
    return clamp if clamp is not None and math.isfinite(clamp) else None


def _average(parameters: dict[str, NDArray]) -> NDArray:
    """The mean w over latents (and labels), as the training code keeps it."""
    rng = np.random.default_rng(0)
    label = None
    embedded = 0
    if "mapping.label.weight" in parameters:
        embedded, labels = parameters["mapping.label.weight"].shape
        label = np.eye(labels)[rng.integers(labels, size=_AVERAGED_LATENTS)]
    width = parameters["mapping.fc0.weight"].shape[1] - embedded
    average: NDArray = latents(parameters, rng.standard_normal((_AVERAGED_LATENTS, width)), label).mean(axis=0)
    return average


def _clamp(canonical: CanonicalNetwork) -> float | None:
    """`conv_clamp` of NVIDIA's layers, which their pickles keep."""
    attributes = canonical.recognition.network.module_attributes.values()
    values = [module.get("conv_clamp") for module in attributes]
    return next((float(value) for value in values if isinstance(value, int | float)), None)


_Maker = Callable[[CanonicalNetwork, Choices], tuple[OnnxNetwork, dict[str, Fact], list[str]]]
_MAKERS: dict[tuple[str, str], _Maker] = {
    ("stylegan2", "generator"): _stylegan2,
    ("stylegan2", "discriminator"): _discriminator,
    ("gfpgan", "generator"): _gfpgan,
    ("progan", "generator"): _progan,
}
