"""Ready layers with the paper's initialisation: v from N(0, 1), divided by the lr multiplier, biases zero.

They are torch's own layers, already equalized: `eqlr_tools.nn.bake` makes them plain, state dicts have the same names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from eqlr_tools.nn.parametrization import Gain, _gain, attach, fan_in
from eqlr_tools.scaling import he_constant


class _Equalized(nn.Module):
    """What the layers share: attach the constant once the plain layer is built, then draw the stored weight."""

    def _equalize(self, gain: Gain, lr_multiplier: float) -> None:
        self.lr_multiplier = lr_multiplier
        attach(self, he_constant(fan_in(self), _gain(gain), lr_multiplier))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the stored weight from N(0, 1 / lr_multiplier²) and set the bias to zero."""
        if "parametrizations" not in self._modules:
            return  # the plain layer's constructor calls this first; its own values would be thrown away
        nn.init.normal_(self.get_parameter("parametrizations.weight.original"), std=1.0 / self.lr_multiplier)
        if self._parameters["bias"] is not None:
            nn.init.zeros_(self._parameters["bias"])


class EqualizedLinear(_Equalized, nn.Linear):
    """`nn.Linear` with equalized learning rate; takes its arguments, `gain` and `lr_multiplier`."""

    def __init__(self, *args: Any, gain: Gain = 1.0, lr_multiplier: float = 1.0, **kwargs: Any) -> None:
        nn.Linear.__init__(self, *args, **kwargs)
        self._equalize(gain, lr_multiplier)


class EqualizedConv2d(_Equalized, nn.Conv2d):
    """`nn.Conv2d` with equalized learning rate; takes its arguments, `gain` and `lr_multiplier`."""

    def __init__(self, *args: Any, gain: Gain = 1.0, lr_multiplier: float = 1.0, **kwargs: Any) -> None:
        nn.Conv2d.__init__(self, *args, **kwargs)
        self._equalize(gain, lr_multiplier)


class EqualizedConvTranspose2d(_Equalized, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with equalized learning rate; its fan-in is by true input channels."""

    def __init__(self, *args: Any, gain: Gain = 1.0, lr_multiplier: float = 1.0, **kwargs: Any) -> None:
        nn.ConvTranspose2d.__init__(self, *args, **kwargs)
        self._equalize(gain, lr_multiplier)
