"""What the user can choose about an exported graph."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from eqlr_tools.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

MIN_OPSET, DEFAULT_OPSET, MAX_OPSET = 13, 18, 24
BF16_OPSET = 22
"""The first whose convolutions take bfloat16."""


class Precision(StrEnum):
    """`mixed` is fp16 except for the layers whose weights or styles would suffer."""

    fp32 = "fp32"
    fp16 = "fp16"
    mixed = "mixed"
    bf16 = "bf16"


class Noise(StrEnum):
    """Where a generator's noise comes from: the file's own maps, nowhere, further inputs, a random number generator."""

    const = "const"
    none = "none"
    input = "input"
    random = "random"


class Latent(StrEnum):
    """What a generator starts from. `w+` is one w per layer."""

    z = "z"
    w = "w"
    w_plus = "w+"


class Resampling(StrEnum):
    """How a network changes sizes, where its file does not say."""

    fir = "fir"
    bilinear = "bilinear"


class Image(StrEnum):
    """`float` is (samples, channels, height, width) around [-1, 1]; `uint8` is (samples, height, width, channels)."""

    float = "float"
    uint8 = "uint8"


@dataclass(frozen=True)
class Options:
    """The choices, each with its default. `keep_fp32` names the layers that `mixed` leaves in single precision."""

    precision: Precision = Precision.fp32
    opset: int = DEFAULT_OPSET
    noise: Noise = Noise.const
    latent: Latent = Latent.z
    image: Image = Image.float
    split: bool = False
    keep_fp32: frozenset[str] = frozenset()

    @property
    def half_type(self) -> np.dtype[Any]:
        """The type of sixteen bits that the layers use which are not in single precision."""
        import ml_dtypes  # here, since the command line needs the names of the choices and no arrays
        import numpy as np

        return np.dtype(ml_dtypes.bfloat16) if self.precision is Precision.bf16 else np.dtype(np.float16)

    def __post_init__(self) -> None:
        if not MIN_OPSET <= self.opset <= MAX_OPSET:
            raise UsageError(f"--opset {self.opset} is not between {MIN_OPSET} and {MAX_OPSET}")
        if self.precision is Precision.bf16 and self.opset < BF16_OPSET:
            raise UsageError(f"convolutions take bfloat16 from opset {BF16_OPSET} on", hint=f"--opset {BF16_OPSET}")
        if self.split and self.latent is Latent.w:
            object.__setattr__(self, "latent", Latent.z)
