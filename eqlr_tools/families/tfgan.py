"""tensorflow-gan's progressive GAN and magenta's GANSynth (Apache-2.0): `layers.py`, custom_conv2d and custom_dense.

    y = conv(x, v) * c + b,   c = sqrt(2 / ((1 + slope ** 2) * fan_in)),   fan_in = product of all axes but the last

The output is scaled before the bias, so w = c * v and the bias is as stored. The slope is 0 for hidden layers, which
is gain sqrt(2), and 1 for to-RGB and the logits, which is gain 1. Kernels are (k, k, in, out) and (in, out).
"""

from eqlr_tools.families.family import Family, Rule, Signature
from eqlr_tools.families.nvidia_tf import leading_fan_in
from eqlr_tools.families.progan_framework_names import TFGAN
from eqlr_tools.scaling import SQRT2

_BLOCK = r"(?:.+/)?progressive_gan_block_\d+/"
_CONV = r"progressive_gan_block_\d+/conv0/"
_END = r"(?P<end>:0|)"


def _kernel(pattern: str, inner: str, rank: int, gain: float) -> Rule:
    return Rule(
        rf"(?P<layer>(?P<scope>{pattern})/{inner})/kernel{_END}",
        "linear" if rank == 2 else "conv2d",
        leading_fan_in,
        gain,
        bias="{scope}/bias{end}",
        rank=(rank,),
        layout="IO" if rank == 2 else "kkIO",
    )


FAMILY = Family(
    id="tfgan-progan",
    title="ProGAN of TensorFlow-GAN, and GANSynth",
    architecture="progan",
    upstream="tensorflow/gan",
    scales_output=True,
    signatures=(
        Signature(rf"{_CONV}conv2d/kernel{_END}", 4, also=(rf"{_CONV}bias{_END}",), what="its blocks"),
        Signature(
            rf"\w*logits/dense/kernel{_END}", 2, also=(rf".+/{_CONV}bias{_END}",), what="a score beside its blocks"
        ),
    ),
    namings=TFGAN,
    rules=(
        _kernel(rf"{_BLOCK}to_rgb", r"conv2d(?:_\d+)?", 4, 1.0),
        _kernel(rf"{_BLOCK}(?:conv\d+|from_rgb)", r"conv2d(?:_\d+)?", 4, SQRT2),
        _kernel(r"(?:.+/)?\w*logits", r"dense(?:_\d+)?", 2, 1.0),
    ),
)
