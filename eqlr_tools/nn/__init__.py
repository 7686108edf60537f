"""Training with equalized learning rate in torch: `equalize` any module, `bake` it when it is trained.

    from eqlr_tools import nn as eqnn

    model = eqnn.equalize(model, gain="relu", exclude=["head*"])     # w = c * v, effective weights unchanged
    model = eqnn.bake(model)                                         # plain layers again, nothing left at run time

The state dict has the names that `eqlr equalize` writes, so files and modules fit each other with `strict=True`.
"""

from eqlr_tools.nn.groups import parameter_groups
from eqlr_tools.nn.layers import EqualizedConv2d, EqualizedConvTranspose2d, EqualizedLinear
from eqlr_tools.nn.parametrization import HeScale, bake, equalize, equalized_layers, fan_in

__all__ = [
    "EqualizedConv2d",
    "EqualizedConvTranspose2d",
    "EqualizedLinear",
    "HeScale",
    "bake",
    "equalize",
    "equalized_layers",
    "fan_in",
    "parameter_groups",
]
