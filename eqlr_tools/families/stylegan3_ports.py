"""StyleGAN3 in other projects: the constants are NVIDIA's (`nvidia_stylegan3.py`), the names are not.

mmgen     open-mmlab/mmgeneration and mmagic (Apache-2.0): plain layers of NVIDIA's kind, no EqualizedLR hook
hammer    bytedance/Hammer (MIT): `layer{i}.conv` holds weight and style, `layer{i}.filter` bias and filters
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.nvidia_stylegan3 import LOAD_BACK, SYNTHESIS, computed_at_run_time
from eqlr_tools.families.rules import conv, linear, mapping
from eqlr_tools.families.stylegan3_names import HAMMER, MMGEN, PLAIN

MMGEN_FAMILY = Family(
    id="mmgen-stylegan3",
    title="StyleGAN3 in mmgeneration and mmagic",
    architecture="stylegan3",
    upstream="open-mmlab/mmgeneration",
    signatures=(
        Signature(
            r"synthesis\.L0_\d+_\d+\.magnitude_ema",
            0,
            also=(r"synthesis\.input\.freqs", r"style_mapping\.fc0\.weight"),
            what="alias-free synthesis layers behind a style mapping",
        ),
    ),
    rules=(
        mapping(r"style_mapping\.fc\d+\.weight", stated_multiplier("lr_multiplier")),
        linear(r"style_mapping\.embed\.weight"),
        linear(r".+\.affine\.weight"),
        *SYNTHESIS,
    ),
    namings=MMGEN,
    over=("nvidia-stylegan3",),
    load_back=LOAD_BACK,
    fixed=computed_at_run_time,
)

HAMMER_FAMILY = Family(
    id="hammer-stylegan3",
    title="StyleGAN3 in Hammer",
    architecture="stylegan3",
    upstream="bytedance/Hammer",
    signatures=(
        Signature(
            r"synthesis\.layer0\.magnitude_ema",
            0,
            also=(r"synthesis\.early_layer\.frequency", r"synthesis\.layer0\.conv\.style\.weight"),
            what="alias-free synthesis layers, numbered",
        ),
    ),
    rules=(
        mapping(r"mapping\.dense\d+\.weight", stated_multiplier("mapping_lr_mul")),
        linear(r"mapping\.embedding\.weight"),
        linear(r"synthesis\.early_layer\.(?:affine\.)?weight"),
        linear(r"synthesis\.layer\d+\.conv\.style\.weight"),
        conv(
            r"(?P<layer>synthesis\.layer\d+)\.conv\.weight",
            bias="{layer}.filter.bias",
            beside="{layer}.filter.up_filter",
            self_normalised=True,
        ),
        conv(r"(?P<layer>synthesis\.layer\d+)\.conv\.weight", bias="{layer}.filter.bias"),
    ),
    namings=HAMMER,
    load_back="after loading, set wscale and bscale of every DenseLayer, wscale of the last layer's conv and "
    "weight_scale of the input to 1",
)

PLAIN_FAMILY = Family(
    id="stylegan3-plain",
    title="StyleGAN3 with plain weights and canonical names",
    architecture="stylegan3",
    upstream="eqlr-tools",
    signatures=(
        Signature(
            anchor=r"synthesis\.L0_\d+_\d+\.magnitude",
            rank=0,
            also=(r"synthesis\.input\.freqs", r"synthesis\.L0_\d+_\d+\.style\.weight"),
            what="eqlr's canonical generator",
        ),
    ),
    equalized=False,
    namings=PLAIN,
    advice="its weights are plain already, under eqlr's canonical names",
)
