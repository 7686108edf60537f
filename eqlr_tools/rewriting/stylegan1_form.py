"""What a family's code computes beside its tensors (`Naming.form`), compared between source and target.

Forms are StyleGAN1's: its ports agree in their tensors and differ in where a bias is blurred, how sizes are doubled,
what is activated. A target whose code computes something else cannot express the network, unless it stores the form.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eqlr_tools.families.naming import Naming
from eqlr_tools.networks.stylegan1 import FORM, NO_BLUR, defaults_of
from eqlr_tools.rewriting.canonical import CanonicalNetwork

_SENTENCES = {
    "bilinear": ("repeats pixels to double a size", "interpolates to double a size"),
    "bias_before_blur": ("adds an up-convolution's bias behind the blur", "blurs the bias of an up-convolution too"),
    "activated_before_blur": ("blurs what an up-convolution returns", "activates what an up-convolution returns first"),
    "constant_activated": ("leaves the constant as it is", "activates the constant"),
    "mapping_slope": ("has another slope in the mapping's activation", "has leaky ReLU in the mapping"),
    "mapping_ends_linear": ("activates the last mapping layer", "leaves the last mapping layer linear"),
    "tanh": ("returns the image as it is", "returns tanh of the image"),
    "fromrgb_linear": ("activates from-RGB", "leaves from-RGB linear"),
    "fc_linear": ("activates the first dense layer", "leaves the first dense layer linear"),
    "pooled_after_activation": ("takes means before the activation", "takes means after the activation"),
    "group_size": ("takes the deviation of groups of another size", "takes the deviation of groups of another size"),
}
"""What a network does whose entry is smaller than another's, and larger."""

_HARMLESS = {
    "norm_eps": "instance norm adds {} to the variance here and {} there",
    "shared_noise": "noise maps are drawn per size and no longer per layer, or the other way round",
    "bare_start": "an image of 4x4 is made otherwise by the target's code",
    "truncated_places": "truncation is applied to other layers by the target's code",
}
"""Entries that no image depends on to speak of, or none of the file's tensors; what is noted of them."""

GIVEN_UP = tuple(_SENTENCES)
"""What a user may accept of it, by name."""


def differences(network: CanonicalNetwork, naming: Naming) -> Iterator[tuple[str, str]]:
    """(name, sentence) for everything that the target's code would compute otherwise."""
    for name, mine, theirs in _unequal(network, naming):
        if name in _SENTENCES and not (name == "bias_before_blur" and _never_blurs(network)):
            less, more = _SENTENCES[name]
            pair = (less, more) if mine < theirs else (more, less)
            yield name, f"its code {pair[0]}, and the target's {pair[1]}"


def notes(network: CanonicalNetwork, naming: Naming) -> list[str]:
    """Sentences on differences that do not matter."""
    found = [
        _HARMLESS[name].format(f"{mine:g}", f"{theirs:g}")
        for name, mine, theirs in _unequal(network, naming)
        if name in _HARMLESS
    ]
    return [f"network {network.recognition.network.name}: {sentence}" for sentence in found]


def _unequal(network: CanonicalNetwork, naming: Naming) -> Iterator[tuple[str, float, float]]:
    """The entries that differ, as numbers."""
    if naming.architecture != "stylegan1" or stores_form(network, naming):
        return
    for name, default in defaults_of(naming.role).items():
        part = f"{FORM}{name}"
        mine = float(network.values(part)) if part in network.parts else float(default)
        theirs = float(naming.form.get(name, default))
        if not np.isclose(mine, theirs, rtol=1e-6, atol=0.0):
            yield name, mine, theirs


def stores_form(network: CanonicalNetwork, naming: Naming) -> bool:
    """True if the target's files say of themselves what they compute."""
    return any(slot.canonical.startswith(FORM) for slot in naming.slots(network.depth))


def _never_blurs(network: CanonicalNetwork) -> bool:
    return np.array_equal(network.values("blur"), NO_BLUR)
