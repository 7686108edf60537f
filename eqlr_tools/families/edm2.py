"""NVlabs/edm2 (CC BY-NC-SA): magnitude-preserving layers, the cousin of equalized learning rate.

    MPConv   w = v / (1e-4 + |v_row| / sqrt(fan_in)) * gain / sqrt(fan_in),   row by row, in float32

There are no biases. Two kinds of learned scalars multiply a layer at run time and stay where they are: `emb_gain` (for
`emb_linear`) and `out_gain` (for `out_conv`). The effective weight is no multiple of the stored one: every row has a
constant of its own, so this family is recognised and explained, and not baked.
"""

from eqlr_tools.families.family import Family, Signature

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
    equalized=False,
    advice="its weights are normalised row by row at run time (w = v / (1e-4 + |v_row|/√fan_in) / √fan_in), "
    "so no constant belongs to a layer, and there is nothing that a bake could fold in",
)
