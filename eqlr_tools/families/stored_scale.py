"""Small lineages that store the constant as a scalar beside the weight.

    t-ae/style-gan-pytorch                             `X.scale` () beside `X.weight`:    w = v * scale
    ptrblck, navigan, GANLatentDiscovery (ProgGAN)     `X.wscale.scale` (1,), `X.conv.weight`, `X.wscale.b`:
                                                       y = conv(x, v) * scale + b,        so w = v * scale, b as stored

A scalar called `scale` beside a weight means many things (quantisation, attention), so t-ae's is believed only where
every one of them is a He constant of its weight.
"""

import math

from eqlr_tools.families.family import Family, Signature, View
from eqlr_tools.families.kinds import kind_of
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.progan_names import WSCALE as WSCALE_NAMES
from eqlr_tools.families.stylegan1_ports import TAE as TAE_NAMES
from eqlr_tools.scaling import SQRT2, dense_fan_in, transposed_fan_in

_GAINS = (1.0, SQRT2, SQRT2 / 4)
_MULTIPLIERS = (1.0, 0.1, 0.01)
_ROUNDED = 2.0**-8
"""What bfloat16 leaves of a constant, twice over."""


def _is_he_constant(scale: float, shape: tuple[int, ...]) -> bool:
    if not (scale > 0 and math.isfinite(scale)):
        return False
    fans = {dense_fan_in(shape), transposed_fan_in(shape)}
    wanted = (gain * lr / math.sqrt(fan) for gain in _GAINS for lr in _MULTIPLIERS for fan in fans if fan)
    return any(math.isclose(scale, constant, rel_tol=_ROUNDED) for constant in wanted)


def _pairs(view: View, prefix: str) -> list[tuple[str, str]]:
    """(weight, scale) names of the layers that have both."""
    names = (name for name in view.shapes if name.startswith(prefix) and name.endswith(".scale"))
    pairs = ((name.removesuffix("scale") + "weight", name) for name in names if view.shapes[name] == ())
    return [(weight, scale) for weight, scale in pairs if len(view.shapes.get(weight, ())) >= 2]


def _no_constants(view: View, prefix: str) -> str:
    pairs = _pairs(view, prefix)
    if not pairs:
        return "no scalar of that name stands beside a weight"
    for weight, scale in pairs:
        if not _is_he_constant(view.scalar(scale), tuple(view.shapes[weight])):
            return f"{scale} is no He constant of {weight}"
    return ""


def _layer(view: View, path: str, weight: str, scale: str, bias: str) -> Layer:
    shape = tuple(view.shapes[weight])
    return Layer(
        name=path,
        kind=kind_of(path, shape, view.shapes),
        weight=weight,
        shape=shape,
        scale=view.scalar(scale),
        bias=bias if bias in view.shapes else None,
        baked_weight=weight,
        scale_tensors=(scale,),
        origin="stated",
        why="stored",
    )


def _scaled(view: View, prefix: str) -> list[Layer]:
    found = []
    for weight, scale in _pairs(view, prefix):
        path = weight.removesuffix(".weight")
        found.append(_layer(view, path, weight, scale, f"{path}.bias"))
    return found


def _wscaled(view: View, prefix: str) -> list[Layer]:
    found = []
    for scale in view.shapes:
        path = scale.removesuffix(".wscale.scale")
        weight = f"{path}.conv.weight"
        if path != scale and scale.startswith(prefix) and weight in view.shapes:
            found.append(_layer(view, f"{path}.conv", weight, scale, f"{path}.wscale.b"))
    return found


TAE = Family(
    id="tae-stylegan",
    title="StyleGAN with the scale stored (t-ae)",
    architecture="stylegan1",
    upstream="t-ae/style-gan-pytorch",
    signatures=(Signature(r".+\.scale", 0, also=(r".+\.weight",), what="a constant stored beside its weight"),),
    namings=TAE_NAMES,
    keys_are_proof=True,
    doubt=_no_constants,
    extra=_scaled,
)

WSCALE = Family(
    id="wscale-progan",
    title="ProGAN with WScale layers, the scale stored (ptrblck, navigan, GANLatentDiscovery)",
    architecture="progan",
    upstream="anvoynov/GANLatentDiscovery",
    signatures=(
        Signature(
            r".+\.wscale\.scale",
            1,
            also=(r".+\.wscale\.b", r".+\.conv\.weight"),
            what="a constant stored beside its convolution",
        ),
    ),
    keys_are_proof=True,
    extra=_wscaled,
    namings=WSCALE_NAMES,
)
