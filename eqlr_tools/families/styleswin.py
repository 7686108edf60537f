"""microsoft/StyleSwin (MIT): a transformer generator in which only the styles are equalized.

    EqualLinear       w = v * lr_mul / sqrt(in),    b_eff = b * lr_mul

The mapping network (`style.N`, lr_mul 0.01) and the AdaIN styles (`norm1.style`, `norm2.style`, lr_mul 1) are layers of
this kind. Attention (`qkv`, `proj`), `mlp`, `reduction` and to-RGB are plain torch layers. The discriminator is the
wavelet one of rosinality's SWAGAN (`rosinality_stylegan2.py`); with spectral norm nothing in it is equalized.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.rules import SCALES, linear, mapping

FAMILY = Family(
    id="styleswin",
    title="StyleSwin: equalized mapping and styles, plain transformer",
    architecture="styleswin",
    upstream="microsoft/StyleSwin",
    signatures=(
        Signature(
            r"layers\.0\.blocks\.0\.norm1\.style\.weight",
            2,
            also=(r"style\.1\.weight",),
            what="AdaIN styles in transformer blocks",
        ),
    ),
    rules=(
        mapping(r"style\.\d+\.weight", stated_multiplier("lr_mlp"), stated=SCALES),
        linear(r"layers\.\d+\.blocks\.\d+\.norm[12]\.style\.weight"),
    ),
)
