"""Equalized learning rate as a parametrization of torch's own layers.

    w = c * v,      c = gain * lr_multiplier / sqrt(fan_in)

`v` is the parameter that is trained, `c` a buffer that is saved with it. The scale sits on the weight and not on the
input (`conv(c * x, v)`, as some projects have it) or in a pre-forward hook (as others): the weight is usually smaller
than the activations, autograd needs no copy of the scaled input, and torch's parametrizations survive `deepcopy`,
`torch.compile`, `torch.export` and sharding, which hooks that assign to `module.weight` do not (`benchmarks/nn.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from eqlr_tools.errors import NothingMatchedError, UsageError
from eqlr_tools.scaling import dense_fan_in, he_constant

Gain = float | str | tuple[str, float]
"""A number, a name that `torch.nn.init.calculate_gain` knows, or such a name with its parameter."""

PerLayer = Mapping[str, Any]
"""Globs of layer names and their values; the first that matches counts, `*` may come last as the default."""

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_LAYERS = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_ON_REQUEST = (nn.Embedding,)


class HeScale(nn.Module):
    """w = scale * v. The scale is float64 for float64 weights and float32 for all others, also when they are halved.

    A zero-dimensional tensor does not take part in type promotion: a half weight times it is half, computed in
    float32 and rounded once.
    """

    scale: Tensor

    def __init__(self, constant: float, like: Tensor) -> None:
        super().__init__()
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.register_buffer("scale", torch.tensor(constant, dtype=dtype, device=like.device))

    def forward(self, stored: Tensor) -> Tensor:
        """The effective weight."""
        return stored * self.scale

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The stored weight that gives this effective weight, to the last bit or the one before."""
        return weight / self.scale

    def extra_repr(self) -> str:
        """Show the constant in `print(module)`, unless it has no value yet."""
        return "" if self.scale.is_meta else f"scale={self.scale.item():.6g}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HeScale:
        """`half()` and `to(dtype)` move the scale, but never round it below float32."""
        before = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.scale.dtype.itemsize < 4:
            self.scale = before.to(self.scale.device)
        return self


def equalize(
    module: ModuleT,
    *,
    gain: Gain | PerLayer = 1.0,
    lr_multiplier: float | PerLayer = 1.0,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> ModuleT:
    """Give the layers of a module equalized learning rate, in place, and return it.

    Linear, Bilinear, Conv1d-3d and ConvTranspose1d-3d are taken, or of them those that an `include` glob matches;
    an Embedding only if one does. Effective weights stay what they were, to 1 ulp (exactly, where the constant is a
    power of two). Parameters keep their identity, but `weight` moves behind `bias` in their order: make optimizers
    afterwards. Biases are left alone. `gain` and `lr_multiplier` may differ by layer: `{"to_rgb*": 1, "*": "relu"}`.

    Raises NothingMatchedError if no layer matches, UsageError for a layer that cannot be equalized.
    """
    chosen = [
        (name, layer) for name, layer in module.named_modules() if _wanted(name, layer, tuple(include), tuple(exclude))
    ]
    if not chosen:
        raise NothingMatchedError(
            "no layer to equalize in this module", hint="check include and exclude; equalized_layers() lists the rest"
        )
    _refuse_unsuitable(module, chosen)
    for name, layer in chosen:
        constant = he_constant(
            fan_in(layer), _gain(_for_layer(gain, name, 1.0)), float(_for_layer(lr_multiplier, name, 1.0))
        )
        attach(layer, constant)
    return module


def bake(module: ModuleT) -> ModuleT:
    """Fold the constants into the weights, in place, and return the module: its layers are plain torch layers again.

    Raises NothingMatchedError if no layer is equalized.
    """
    layers = [(name, layer) for name, layer in module.named_modules() if _scale_of(layer) is not None]
    if not layers:
        raise NothingMatchedError("no equalized layer in this module")
    for _, layer in layers:
        _unshare_class(layer)
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        # torch registers the weight anew, behind the bias; a layer built plain has it first, and so do its files.
        others = {name: value for name, value in layer._parameters.items() if name != "weight"}
        weight = layer._parameters["weight"]
        layer._parameters.clear()
        layer._parameters.update({"weight": weight, **others})
    return module


def equalized_layers(module: nn.Module) -> dict[str, float]:
    """The equalized layers of a module by name, with their constants."""
    found = {name: _scale_of(layer) for name, layer in module.named_modules()}
    return {name: float(scale.item()) for name, scale in found.items() if scale is not None}


def fan_in(layer: nn.Module) -> int:
    """The number of products that a layer adds up for one output: per group, and by true inputs if transposed.

    For an embedding it is the row length, as `eqlr equalize` has it.
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if isinstance(layer, _TRANSPOSED):
        return weight.shape[0] // layer.groups * math.prod(weight.shape[2:])
    return dense_fan_in(weight.shape)


def attach(layer: nn.Module, constant: float) -> None:
    """Parametrize the weight of one layer by a constant."""
    parametrize.register_parametrization(layer, "weight", HeScale(constant, layer.weight))  # type: ignore[arg-type]


def _unshare_class(layer: nn.Module) -> None:
    """Give a parametrized layer a class of its own.

    torch keeps the parametrized `weight` as a property of a class made for the layer, which copies of the layer share
    (`deepcopy`, averaged models), and removing the parametrization of one deletes the property of all.
    """
    shared = type(layer)
    content = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(shared.__name__, shared.__bases__, content)


def _scale_of(layer: nn.Module) -> Tensor | None:
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    chain = layer.parametrizations["weight"]  # type: ignore[index]
    return chain[0].scale if len(chain) == 1 and isinstance(chain[0], HeScale) else None


def _wanted(name: str, layer: nn.Module, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    if not isinstance(layer, _LAYERS + _ON_REQUEST) or _scale_of(layer) is not None:
        return False
    if any(fnmatchcase(name, glob) for glob in exclude):
        return False
    if any(fnmatchcase(name, glob) for glob in include):
        return True
    return not include and isinstance(layer, _LAYERS)


def _refuse_unsuitable(module: nn.Module, chosen: Sequence[tuple[str, nn.Module]]) -> None:
    owners: dict[int, list[str]] = {}
    for name, child in module.named_modules():
        for key, parameter in child._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(f"{name}.{key}" if name else key)
    for name, layer in chosen:
        hint = f"exclude {name!r}"
        if isinstance(layer._parameters.get("weight"), nn.UninitializedParameter):
            raise UsageError(f"{name}: a lazy layer has no shape yet", hint="run the module once before")
        if parametrize.is_parametrized(layer, "weight") or not isinstance(layer._parameters.get("weight"), Tensor):
            raise UsageError(f"{name}: its weight is parametrized otherwise (weight or spectral norm?)", hint=hint)
        if not layer._parameters["weight"].is_floating_point():  # type: ignore[union-attr]
            raise UsageError(f"{name}: its weight is no floating-point tensor", hint=hint)
        if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
            raise UsageError(
                f"{name}: max_norm rewrites its weight in place, which a parametrization cannot", hint=hint
            )
        shared = owners[id(layer._parameters["weight"])]
        if len(shared) > 1:
            raise UsageError(f"{' and '.join(shared)} are one parameter, which two layers would scale twice", hint=hint)


def _for_layer(value: Any, name: str, default: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return next((chosen for glob, chosen in value.items() if fnmatchcase(name, glob)), default)


def _gain(gain: Any) -> float:
    if isinstance(gain, str):
        return float(nn.init.calculate_gain(gain))  # type: ignore[arg-type]
    if isinstance(gain, tuple):
        return float(nn.init.calculate_gain(gain[0], gain[1]))
    return float(gain)
