"""NVlabs/edm2 (CC BY-NC-SA): magnitude-preserving layers, the cousin of equalized learning rate.

    MPConv   w = v / (1e-4 + |v_row| / sqrt(fan_in)) * gain / sqrt(fan_in),   row by row, in float32

There are no biases. `gain` is 1 but for two kinds of layers, which are called with a learned scalar: `emb_linear` with
`emb_gain`, `out_conv` with `out_gain`. Those are parameters of their own, 0 before training, and a bake leaves them
where they are: baked weight times stored gain is what the layer applies.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.rules import conv, linear

_EPSILON = 1e-4

FAMILY = Family(
    id="nvidia-edm2",
    title="EDM2, magnitude preserving: every row has its own constant",
    architecture="diffusion",
    upstream="NVlabs/edm2",
    signatures=(
        Signature(
            r"(?:unet\.)?out_gain",
            0,
            also=(r".*\.emb_gain", r".*\.conv_res0\.weight"),
            what="magnitude-preserving layers",
        ),
    ),
    rules=(
        linear(r"(?:.+\.)?(?:emb_noise|emb_label|emb_linear|logvar_linear)\.weight", bias=None, row_epsilon=_EPSILON),
        conv(
            r"(?:.+\.)?(?:\d+x\d+_conv|conv_res[01]|conv_skip|attn_qkv|attn_proj|out_conv)\.weight",
            bias=None,
            row_epsilon=_EPSILON,
        ),
    ),
    advice="each row of a weight has its own constant; the learned gains (emb_gain, out_gain) stay parameters, which "
    "multiply the layers as before",
)
