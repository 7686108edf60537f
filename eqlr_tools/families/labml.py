"""labmlai/annotated_deep_learning_paper_implementations (MIT): StyleGAN2, copied through blog tutorials.

    EqualizedWeight   w = v / sqrt(prod(shape[1:]))

The parameter lives in a module of its own, so that keys end in `weight.weight`; biases are `X.bias`, as stored. There
is no multiplier, and no sqrt(2) anywhere, not even in the activation.
"""

from eqlr_tools.families.bilinear_names import LABML
from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.rules import conv, linear

_WEIGHT = r"(?P<layer>.+)\.weight\.weight"

FAMILY = Family(
    id="labml-stylegan2",
    title="StyleGAN2 of the annotated deep learning paper implementations",
    architecture="stylegan2",
    upstream="labmlai/annotated_deep_learning_paper_implementations",
    signatures=(
        Signature(r"style_block\.to_style\.weight\.weight", 2, what="the generator"),
        Signature(r"from_rgb\.0\.weight\.weight", 4, what="the discriminator"),
        Signature(r"net\.0\.weight\.weight", 2, also=(r"net\.2\.weight\.weight",), what="the mapping network"),
    ),
    rules=(
        linear(_WEIGHT, baked_weight="{layer}.weight"),
        conv(_WEIGHT, baked_weight="{layer}.weight"),
    ),
    keys_are_proof=True,
    namings=LABML,
)
