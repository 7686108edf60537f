"""bes-dev/MobileStyleGAN.pytorch (Apache-2.0): a distilled generator.

    mapping (EqualLinear)        w = v * lr_mul / sqrt(in),   b_eff = b * lr_mul
    ModulatedConv2d              1 / sqrt(in * k * k) on the styles and inside the demodulation
    ModulatedDWConv2d            the same constant, on the product of `weight_dw` and `weight_permute`

A constant on the styles is the same as one on the weight. For the depthwise pair it goes into `weight_permute`
(out, in, 1, 1), with the kernel side of `weight_dw` in the fan-in. `modulation` is a plain nn.Linear, and `style_inv` a
buffer of the demodulation.

A checkpoint of the training also holds the teacher (`synthesis_net`), which is rosinality's, its modulations equalized,
and a discriminator, which is rosinality's too (`rosinality_stylegan2.py`).
"""

from eqlr_tools.families.family import Family, Signature, View
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.multipliers import Multiplier
from eqlr_tools.families.rules import SCALES, conv, linear, mapping, modulated
from eqlr_tools.scaling import dense_fan_in, he_constant


def _depthwise(view: View, prefix: str) -> list[Layer]:
    found = []
    for name, shape in view.shapes.items():
        path = name.removesuffix(".weight_permute")
        depthwise = view.shapes.get(f"{path}.weight_dw")
        if path == name or not name.startswith(prefix) or depthwise is None:
            continue
        if len(shape) < 2 or 0 in (*shape, *depthwise):
            continue
        fan_in = shape[1] * dense_fan_in(depthwise)
        layer = Layer(path, "modulated_conv2d", name, tuple(shape), baked_weight=name, demodulated=True)
        found.append(layer.with_constant(he_constant(fan_in), 1.0, fan_in, 1.0, Multiplier(1.0)))
    return found


FAMILY = Family(
    id="mobilestylegan",
    title="MobileStyleGAN",
    architecture="mobilestylegan",
    upstream="bes-dev/MobileStyleGAN.pytorch",
    signatures=(
        Signature(
            r"conv1\.conv\.style_inv",
            5,
            also=(r"conv1\.conv\.modulation\.weight", r"layers\.0\.conv1\.conv\.weight_dw"),
            what="modulated convolutions with a stored demodulation",
        ),
        Signature(
            r"mapping_net\.layers\.1\.weight",
            2,
            also=(r".*conv1\.conv\.modulation\.weight",),
            what="the mapping network beside the student",
        ),
    ),
    rules=(
        mapping(r"mapping_net\.layers\.\d+\.weight", stated=SCALES),
        modulated(r"synthesis_net\..*to_rgb1?\.conv\.weight", demodulated=False),
        linear(r"synthesis_net\..+\.modulation\.weight"),
        conv(r"loss\.gan_loss\..*(?:convs\..+|final_conv\.\d+)\.weight", bias=None),
        linear(r"loss\.gan_loss\..*final_linear\.\d+\.weight"),
        modulated(r"(?:.+\.)?conv\d?\.weight", beside="{layer}.modulation.weight"),
        conv(
            r"(?:.+\.)?(?:to_img1?\.conv|conv\d?\.conv|to_img1?)\.weight",
            beside="{layer}.modulation.weight",
            bias=None,
            kind="modulated_conv2d",
        ),
    ),
    extra=_depthwise,
    over=("rosinality-stylegan2",),
)
