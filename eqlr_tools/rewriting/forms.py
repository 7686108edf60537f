"""What two projects compute differently from the same tensors: said by name, or kept beside them.

A target cannot express another form than that of its code, unless its code has a setting for it, which the user is
told, or the target keeps the form as scalars, as eqlr's own names do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from eqlr_tools.families.code_widths import deviation_maps
from eqlr_tools.families.naming import Naming
from eqlr_tools.families.views import NetworkView
from eqlr_tools.networks import progan, progan_discriminator
from eqlr_tools.networks.stylegan1 import WHOLE_BATCH
from eqlr_tools.rewriting.canonical import CanonicalNetwork

FORMS: dict[tuple[str, str], type[Any]] = {
    ("progan", "generator"): progan.Form,
    ("progan", "discriminator"): progan_discriminator.Form,
    ("bmsg-gan", "generator"): progan.Form,
    ("bmsg-gan", "discriminator"): progan_discriminator.Form,
}

_PHRASES = {
    "slope": "the slope of its leaky ReLU",
    "normalised": "dividing pixels by their root mean square",
    "latent_normalised": "dividing z by its root mean square",
    "input_normalised": "dividing the pixels of the first layer by their root mean square",
    "input_whole": "dividing all pixels of the first layer by one number",
    "norm_first": "normalising before the activation",
    "by_deviation": "dividing by the standard deviation instead of the root mean square",
    "bilinear": "bilinear enlarging",
    "tanh": "a tanh at the end",
    "rgb_activated": "an activation behind from-RGB layers",
    "pool_first": "averaging pixels before the second activation of a block",
    "group_size": "the number of samples whose deviation is taken",
    "consecutive": "groups of consecutive samples",
    "handed_on": "deviations that go to other samples than they come from",
    "rest_alone": "a group of its own for the rest of a batch",
    "unbiased": "the unbiased deviation",
    "deviation_eps": "the number added to variances",
    "per_pixel": "a deviation for each pixel",
    "of_image": "the deviation of the image instead of the features",
    "eps": "the number added to mean squares",
    "eps_outside": "adding it to the root",
    "faded": "the share of the size before the last",
}
_OF_DEVIATION = "group_size consecutive handed_on rest_alone unbiased deviation_eps per_pixel of_image".split()
_SLIGHT = ("eps", "eps_outside", "deviation_eps")
"""Differences of about 1e-6 in usual activations."""


_SAME = 1e-6
"""Forms that were kept as single precision numbers agree to this."""


def form_of(network: CanonicalNetwork) -> Any:
    """The form of a network; None for architectures that have only one."""
    kind = FORMS.get((network.naming.architecture, network.naming.role))
    return progan.formed(kind, network.form) if kind else None


def form_losses(network: CanonicalNetwork, naming: Naming) -> Iterator[str]:
    """What the network computes and the target's code does not, whatever its settings."""
    for name, here, there in _differences(network, naming):
        if name not in naming.settings and name not in _SLIGHT:
            yield f"{_PHRASES[name]} is {_shown(name, here)} in its code and {_shown(name, there)} in the target's"


def form_notes(network: CanonicalNetwork, naming: Naming) -> Iterator[str]:
    """Which settings the target's code needs, and differences that hardly matter."""
    name = network.recognition.network.name
    if _takes_no_deviation(network) and "group_size" in naming.settings:
        group_size = naming.settings["group_size"].name
        yield f"network {name}: it takes no deviation within the batch: construct the target with {group_size} 0"
    for argument, here, there in _differences(network, naming):
        setting = naming.settings.get(argument)
        ours, theirs = _shown(argument, here), _shown(argument, there)
        if setting:
            how = f"construct the target with {setting.name} accordingly"
            yield f"network {name}: {_PHRASES[argument]} must be {ours}: {how}"
        else:
            yield f"network {name}: {_PHRASES[argument]} is {ours} in its code and {theirs} there"


def form_values(network: CanonicalNetwork, naming: Naming) -> dict[str, np.ndarray]:
    """The scalars that a target stores which keeps the form, by argument."""
    form = form_of(network) if naming.keeps_form else None
    return {name: np.array(float(value)) for name, value in asdict(form).items()} if form else {}


def _differences(network: CanonicalNetwork, naming: Naming) -> Iterator[tuple[str, Any, Any]]:
    here = form_of(network)
    if here is None or naming.keeps_form:
        return
    there = asdict(progan.formed(type(here), naming.form))
    if any(slot.canonical == "lod" for slot in naming.slots(network.depth)):
        there["faded"] = here.faded  # A level of detail says it.
    if _takes_no_deviation(network):
        there |= {name: vars(here)[name] for name in _OF_DEVIATION}
    for name, value in asdict(here).items():
        if name in _PHRASES and not math.isclose(value, there[name], rel_tol=_SAME) and _matters(name, here):
            yield name, value, there[name]


def _takes_no_deviation(network: CanonicalNetwork) -> bool:
    """True for a ProGAN discriminator whose last convolution sees no channel more than what arrives there."""
    kind = (network.naming.architecture, network.naming.role)
    shapes = {name: part.tensor.shape for name, part in network.parts.items()}
    return kind == ("progan", "discriminator") and deviation_maps(shapes) == 0


def _matters(name: str, form: Any) -> bool:
    if name in ("norm_first", "by_deviation", "eps", "eps_outside") and isinstance(form, progan.Form):
        return form.normalised
    return True


def _shown(name: str, value: Any) -> str:
    if name == "group_size" and not value:
        return "that of the whole batch"  # In some code a setting of 0 would take none at all.
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value:g}"


def group_size(network: CanonicalNetwork) -> int:
    """Of how many samples StyleGAN2's discriminator takes the deviation: as the file states, else as its code does.

    NVIDIA's pickles hold it in the module that takes it; in TensorFlow's it is an argument. None is the whole batch.
    """
    source = network.recognition.network
    modules = source.module_attributes.items()
    stated = [module["group_size"] for path, module in modules if path.endswith("mbstd") and "group_size" in module]
    said = stated[0] if stated else NetworkView(source).said("mbstd_group_size")
    if stated and said is None:
        return WHOLE_BATCH
    return said if isinstance(said, int) and said > 0 else network.naming.deviation_of


def group_notes(network: CanonicalNetwork, naming: Naming) -> Iterator[str]:
    """The groups of a StyleGAN2 discriminator, where the target's code has others by default."""
    kind = (naming.architecture, naming.role)
    here, there = group_size(network), naming.deviation_of
    if kind == ("stylegan2", "discriminator") and here != there:
        name = network.recognition.network.name
        mine, default = ("the whole batch" if n == WHOLE_BATCH else f"groups of {n} samples" for n in (here, there))
        yield f"network {name}: it takes the deviation of {mine}: construct the target so, for its default is {default}"
