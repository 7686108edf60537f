"""NVlabs/stylegan3 (`training/networks_stylegan3.py`), configurations T and R.

    FullyConnectedLayer     w = v * lr / sqrt(in),   b_eff = b * lr
    SynthesisInput          w = v / sqrt(C), written in the code and stated nowhere
    SynthesisLayer, to-RGB  1 / sqrt(in * k * k) on the styles
    SynthesisLayer, others  no constant: weights and styles are normalised before they are used

`magnitude_ema ** -0.5` multiplies the weights of all synthesis layers at run time and stays where it is. The to-RGB
layer is the one without resampling filters. The discriminator is StyleGAN2's (`nvidia_stylegan2.py`).

A loaded object can be told that its weights are plain by setting its gains to 1, except where the code computes the
constant as it runs: in SynthesisInput and in the to-RGB layer.

StyleGAN-XL (autonomousvision, MIT) has the same synthesis. Its mapping embeds a class (`mapping.embed`, a plain
embedding), projects it (`mapping.embed_proj`, activated), and averages w per class.
"""

from dataclasses import replace

from eqlr_tools.families.family import Family, Signature, View
from eqlr_tools.families.nvidia_stylegan2 import DISCRIMINATOR, FULLY_CONNECTED, GAINS, with_stated
from eqlr_tools.families.rules import conv, linear
from eqlr_tools.families.stylegan3_names import NVIDIA, XL

_LAYER = r"(?:.+\.)?L\d+_\d+_\d+"

SYNTHESIS = (
    linear(r"(?:synthesis\.)?input\.weight", bias=None),
    conv(rf"{_LAYER}\.weight", beside="{layer}.up_filter", self_normalised=True),
    conv(rf"{_LAYER}\.weight", stated=GAINS),
)

LOAD_BACK = "after loading, set weight_gain and bias_gain of its modules to 1"


def computed_at_run_time(view: View, prefix: str) -> dict[str, str]:
    """The layers of SYNTHESIS that have no attribute for their constant."""
    return {
        r"(?:synthesis\.)?input\.weight": "SynthesisInput divides by the root of its channels in its code",
        rf"{_LAYER}\.weight": "the to-RGB layer computes its constant in its code",
    }


FAMILY = Family(
    id="nvidia-stylegan3",
    title="StyleGAN3 (T and R) by NVIDIA",
    architecture="stylegan3",
    upstream="NVlabs/stylegan3",
    signatures=(
        Signature(
            r"(?:synthesis\.)?L0_\d+_\d+\.magnitude_ema",
            0,
            also=(r"(?:synthesis\.)?input\.freqs", r"(?:synthesis\.)?L0_\d+_\d+\.affine\.weight"),
            what="alias-free synthesis layers",
        ),
    ),
    rules=with_stated(*FULLY_CONNECTED, *SYNTHESIS, *DISCRIMINATOR),
    namings=NVIDIA,
    load_back=LOAD_BACK,
    fixed=computed_at_run_time,
)

STYLEGAN_XL = replace(
    FAMILY,
    id="stylegan-xl",
    title="StyleGAN-XL, class-conditional",
    upstream="autonomousvision/stylegan-xl",
    signatures=(
        replace(
            FAMILY.signatures[0],
            also=(*FAMILY.signatures[0].also, r"mapping\.embed_proj\.weight"),
            what="alias-free synthesis layers behind a projected class embedding",
        ),
    ),
    namings=XL,
    over=("nvidia-stylegan3",),
)
