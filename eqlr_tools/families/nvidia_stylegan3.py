"""NVlabs/stylegan3 (`training/networks_stylegan3.py`), configurations T and R.

    FullyConnectedLayer     w = v * lr / sqrt(in),   b_eff = b * lr
    SynthesisInput          w = v / sqrt(C), written in the code and stated nowhere
    SynthesisLayer, to-RGB  1 / sqrt(in * k * k) on the styles
    SynthesisLayer, others  no constant: weights and styles are normalised before they are used

`magnitude_ema ** -0.5` multiplies the weights of all synthesis layers at run time and stays where it is. The to-RGB
layer is the one without resampling filters. The discriminator is StyleGAN2's (`nvidia_stylegan2.py`).
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.nvidia_stylegan2 import FULLY_CONNECTED, GAINS
from eqlr_tools.families.rules import conv, linear

_LAYER = r"(?:.+\.)?L\d+_\d+_\d+"

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
    rules=(
        *FULLY_CONNECTED,
        linear(r"(?:synthesis\.)?input\.weight", bias=None),
        conv(rf"{_LAYER}\.weight", beside="{layer}.up_filter", self_normalised=True),
        conv(rf"{_LAYER}\.weight", stated=GAINS),
    ),
    load_back="set weight_gain and bias_gain of every layer to 1 in the loaded object; "
    "SynthesisInput has its constant in the code",
)
