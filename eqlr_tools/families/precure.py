"""curegit/precure-stylegan-ada: StyleGAN2 in Chainer, `stylegan/layers/`; its first files, `stylegan/links/`.

    EqualizedLinear, EqualizedConvolution2D    y = conv(c * x, v) + b,   c = gain / sqrt(in * k * k)

so w = c * v, and the bias is as stored. The gain is sqrt(2); styles, the label embedding and the discriminator's last
layer have 1. The modulated convolutions, to-RGB included, apply their weights as stored: not every layer of a StyleGAN
is equalized. Images and features are enlarged bicubically, convolutions padded with their edges, and nothing stands for
the sqrt(2) behind activations: no other project's code computes these networks. A Chainer link names its arrays `w` and
`b`; a chain of torch-like links (the first files) `W` and `b`.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.rules import conv, linear
from eqlr_tools.scaling import SQRT2

_S = r"[./]"
_W = rf"(?P<sep>{_S})[wW]"
_BIAS = "{layer}{sep}b"

FAMILY = Family(
    id="precure-stylegan2",
    title="StyleGAN2 in Chainer (precure-stylegan-ada)",
    architecture="stylegan2",
    upstream="curegit/precure-stylegan-ada",
    signatures=(
        Signature(
            rf"synthesizer{_S}init{_S}(?:style1{_S}linear|s1{_S}s{_S}linear){_W}",
            2,
            also=(rf"mapper{_S}mlp{_S}0{_S}(?:linear{_S})?[wW]",),
            what="style transformations behind a mapper",
        ),
        Signature(
            rf"main{_S}0{_S}conv{_S}(?:conv{_S})?[wW]",
            4,
            also=(rf"main{_S}1{_S}conv1{_S}(?:conv{_S})?[wW]", rf"main{_S}\d+{_S}linear{_S}.*[wW]"),
            what="the discriminator",
        ),
    ),
    rules=(
        linear(rf"(?P<layer>mapper{_S}(?:mlp{_S})?\d+(?:{_S}\d+)?(?:{_S}linear)?){_W}", gain=SQRT2, bias=_BIAS),
        linear(rf"(?P<layer>embedder(?:{_S}linear)?){_W}", bias=_BIAS),
        linear(rf"(?P<layer>synthesizer{_S}.+{_S}(?:style\d|s\d{_S}s){_S}linear){_W}", bias=_BIAS),
        linear(rf"(?P<layer>main{_S}\d+{_S}linear(?:{_S}linear)?){_W}", bias=_BIAS),
        conv(rf"(?P<layer>main{_S}\d+{_S}conv\d?(?:{_S}conv)?){_W}", gain=SQRT2, bias=_BIAS),
    ),
)
