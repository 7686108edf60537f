"""Rewrites of rosinality's StyleGAN2 under other names; the arithmetic is the same (`rosinality_stylegan2.py`).

ppeetteerrs/stylegan2-torch (MIT)          weight (1, out, in, k, k) and `affine` in one module, `mapping.N`
adriansahlman/stylegan2_pytorch            `X.layer.weight` inside a wrapper that holds the bias `X.bias`, which it
                                           multiplies by lr; modulation is `dense.layer`, FIR `filter.filter_kernel`. A
                                           generator's resnet projection upsamples, stored (in, out, 1, 1).
                                           `weight_scale=False` leaves weights and biases times lr_mul
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.rewrites_names import ADRIANSAHLMAN as ADRIANSAHLMAN_NAMES
from eqlr_tools.families.rewrites_names import PPEETTEERRS as PPEETTEERRS_NAMES
from eqlr_tools.families.rules import conv, linear, mapping, modulated, switched_off
from eqlr_tools.scaling import transposed_fan_in

PPEETTEERRS = Family(
    id="stylegan2-torch",
    title="stylegan2-torch (ppeetteerrs)",
    architecture="stylegan2",
    upstream="ppeetteerrs/stylegan2-torch",
    signatures=(
        Signature(
            r"up_convs\.0\.weight",
            5,
            also=(r"up_convs\.0\.affine\.weight", r"mapping\.1\.weight"),
            what="the generator",
        ),
        Signature(
            r"final_relu\.weight",
            2,
            also=(r"blocks\.1\.down_conv\.1\.weight", r"final_linear\.weight"),
            what="the discriminator",
        ),
    ),
    rules=(
        mapping(r"mapping\.\d+\.weight", stated_multiplier("lr_mlp_mult")),
        modulated(r"to_rgbs\.\d+\.weight", demodulated=False, bias="{layer}.bias"),
        modulated(r"(?:up_)?convs\.\d+\.weight", bias="{layer}.leaky_relu.bias"),
        linear(r".+\.affine\.weight"),
        linear(r"final_(?:relu|linear)\.weight"),
        conv(r"(?:blocks|final_conv)\..+\.weight", bias=None),
    ),
    namings=PPEETTEERRS_NAMES,
)

ADRIANSAHLMAN = Family(
    id="adriansahlman-stylegan2",
    title="stylegan2_pytorch (adriansahlman)",
    architecture="stylegan2",
    upstream="adriansahlman/stylegan2_pytorch",
    signatures=(
        Signature(
            r".+\.dense\.layer\.weight",
            2,
            also=(r".+\.layer\.weight", r".+\.dense\.bias"),
            what="a modulated convolution in its wrapper",
        ),
        Signature(
            r"(?:.+\.)?layer\.weight",
            4,
            also=(r".+\.filter\.filter_kernel", r".+\.bias"),
            what="a convolution in its wrapper",
        ),
        Signature(
            r"(?:G_mapping\.)?main\.0\.layer\.weight",
            2,
            also=(r"(?:G_mapping\.)?main\.1\.layer\.weight", r"(?:G_mapping\.)?main\.0\.bias"),
            what="the mapping network",
        ),
    ),
    rules=(
        mapping(
            r"(?P<layer>(?P<outer>(?:.*G_mapping\.)?main\.\d+)\.layer)\.weight",
            stated_multiplier("mapping_lr_mul", "lr_mul"),
            bias="{outer}.bias",
        ),
        linear(r"(?P<layer>(?P<outer>.+)\.layer)\.weight", bias="{outer}.bias"),
        conv(r"(?P<layer>(?P<outer>.+?)\.layer(?:\.layer)?)\.weight", bias="{outer}.bias"),
        conv(
            r"(?P<layer>(?P<block>.+)\.projection)\.weight",
            kind="conv_transpose2d",
            fan_in=transposed_fan_in,
            layout="IOkk",
            beside="{block}.conv_block.0.layer.layer.filter.filter_kernel",
        ),
        conv(r".+\.projection\w*(?:\.\d+)?\.weight"),
    ),
    namings=ADRIANSAHLMAN_NAMES,
    doubt=switched_off("weight_scale"),
    switch="weight_scale",
    arguments="kwargs",
    keep_multiplier=True,
    load_back="construct the network with weight_scale=False; it still applies lr_mul, which bake --to original leaves "
    "to it, as it writes the argument into the file's kwargs",
)
