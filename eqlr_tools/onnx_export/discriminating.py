"""What the discriminators of several architectures share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eqlr_tools.errors import UsageError
from eqlr_tools.onnx_export.options import Image, Latent, Options, Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SINGLE = ("b4.", "mapping.")
"""What follows the blocks: a small difference of squares, and dense layers."""


def refuse_generator_options(options: Options) -> None:
    """Raise UsageError for what only generators have."""
    if options.split or options.latent is not Latent.z or options.image is not Image.float:
        raise UsageError("--split, --input and --image are about generators; this network is a discriminator")


def is_half(layer: str, options: Options) -> bool:
    """True if the options put this layer into a type of sixteen bits."""
    half = options.precision is not Precision.fp32 and not layer.startswith(_SINGLE)
    return half and layer not in options.keep_fp32


def half_weights(parameters: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The weights of the blocks, by layer."""
    names = [name.removesuffix(".weight") for name in parameters if name.endswith(".weight")]
    return {name: parameters[f"{name}.weight"] for name in names if not name.startswith(_SINGLE)}
