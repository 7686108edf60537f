"""facebookresearch/pytorch_GAN_zoo (BSD-3-Clause): `custom_layers.py`, ConstrainedLayer.

    y = (conv(x, v) + b) * c,     c = lr * sqrt(2 / fan_in)

The *output* is scaled, bias included, so `w = c * v` and `b_eff = c * b`. The wrapped layer is called `module`, and
that `.module.` inside a name is the signature of the family; files of its first months lack it, because the wrapper
hid it in its state dict, and are told by the names around it. In the StyleGAN of the same code the mapping has lr 0.01,
and the noise modulators are plain although they are wrapped too.

`equalizedlR=False` makes plain layers of both networks of its ProGAN, and of the discriminator that its StyleGAN has
too; the generator of its StyleGAN equalizes always.
"""

from eqlr_tools.families.family import Family, Rule, Signature, View
from eqlr_tools.families.multipliers import MultiplierRule, inferred_multiplier
from eqlr_tools.families.progan_names import FB_GAN_ZOO as PROGAN_NAMES
from eqlr_tools.families.rules import switched_off
from eqlr_tools.families.stylegan1_ports import FB_GAN_ZOO
from eqlr_tools.scaling import SQRT2, dense_fan_in

_WRAPPED = "a ConstrainedLayer around its `module`"
_UNWRAPPED = "the layers of this code, before their wrapper wrote its name"
_SCALED = (
    r"(?:formatLayer|decisionLayer|conv0|groupScale(?:0|Zero)\.\d+|(?:to|from)RGBLayers\.\d+|scaleLayers\.\d+\.\d+|"
    r"(?:adain\d+|scaleLayers\.\d+\.\d+)\.styleModulator)"
)


def _scaled(pattern: str, rank: int, lr: float | MultiplierRule = 1.0) -> Rule:
    """A layer whose output is multiplied; what it wraps is called `module`, or has no name of its own."""
    return Rule(
        rf"(?P<layer>{pattern})(?P<inner>(?:\.module)?)\.weight",
        "linear" if rank == 2 else "conv2d",
        dense_fan_in,
        gain=SQRT2,
        lr_multiplier=lr,
        bias="{layer}{inner}.bias",
        bias_rule="scale",
        rank=(rank,),
    )


def _fixed(view: View, prefix: str) -> dict[str, str]:
    styled = any(".styleModulator." in name for name in view.shapes if name.startswith(prefix))
    return {r".+": "the generator of its StyleGAN is equalized whatever equalizedlR says"} if styled else {}


FAMILY = Family(
    id="fb-gan-zoo",
    title="ProGAN and StyleGAN of pytorch_GAN_zoo",
    architecture="progan",
    upstream="facebookresearch/pytorch_GAN_zoo",
    scales_output=True,
    doubt=switched_off("equalizedlR"),
    switch="equalizedlR",
    fixed=_fixed,
    load_back="construct the network with equalizedlR=False",
    namings=(*PROGAN_NAMES, *FB_GAN_ZOO),
    signatures=(
        Signature(r"scaleLayers\.0\.0\.module\.weight", 4, what=_WRAPPED),
        Signature(r"formatLayer\.module\.weight", 2, what=_WRAPPED),
        Signature(r"groupScaleZero\.0\.module\.weight", 4, what=_WRAPPED),
        Signature(r"groupScale0\.0\.module\.weight", 4, what=_WRAPPED),
        Signature(r"mapping\.FC\.\d+\.module\.weight", 2, what=_WRAPPED),
        Signature(r"decisionLayer\.module\.weight", 2, what=_WRAPPED),
        Signature(
            r"formatLayer\.weight", 2, also=(r"groupScale0\.0\.weight", r"toRGBLayers\.0\.weight"), what=_UNWRAPPED
        ),
        Signature(
            r"decisionLayer\.weight",
            2,
            also=(r"groupScaleZero\.0\.weight", r"fromRGBLayers\.0\.weight"),
            what=_UNWRAPPED,
        ),
        Signature(
            r"mapping\.FC\.0\.weight", 2, also=(r"adain00\.styleModulator\.weight", r"baseScale0"), what=_UNWRAPPED
        ),
    ),
    rules=(
        _scaled(r"mapping\.FC\.\d+", 2, inferred_multiplier),
        _scaled(_SCALED, 2),
        _scaled(_SCALED, 4),
    ),
)
