"""bytedance/Hammer (MIT), genforce's successor, and projects built on it (discoscene): PGGAN, StyleGAN, StyleGAN2.

    w = v * gain * lr / sqrt(in * k * k),     b_eff = b * lr

    StyleGAN2          gain 1, sqrt(2) in the activation; label embeddings lr 1, the mapping behind them its own
    StyleGAN, PGGAN    gain sqrt(2); outputs, styles and the discriminator's score 1

The layers have genforce's names (`genforce.py`) with three differences: a resampling layer keeps its filter as
`layer1.filter`, not in a module of its own; noise strengths are `layer0.noise_strength` in StyleGAN too; and the
discriminator's last dense layer is `output`, so that the dense layer with the highest number is one before it. Style
biases are stored with the 1 in StyleGAN2 alone. PGGAN's generator is genforce's, by whose name it goes; StyleGAN3 is in
`stylegan3_ports.py`. What the tensors are in NVIDIA's architectures stands in `hammer_names.py`.
"""

from eqlr_tools.families import hammer_names
from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.genforce import progressive_rules
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.rules import conv, linear, mapping, switched_off

_LRMUL = stated_multiplier("mapping_lr_mul")
_UPSTREAM = "bytedance/Hammer"
_LOAD_BACK = (
    "construct the network with use_wscale=False, and mapping_use_wscale and embedding_use_wscale where it has them; "
    "it still applies lr, which bake --to original leaves to it"
)

STYLEGAN2 = Family(
    id="hammer-stylegan2",
    title="StyleGAN2 in Hammer",
    architecture="stylegan2",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"synthesis\.(?:layer\d+\.)?filter",
            also=(r"synthesis\.layer0\.style\.weight",),
            without=(r"synthesis\.lod",),
            what="StyleGAN2's synthesis",
        ),
        Signature(
            r"layer1\.filter",
            also=(r"input0\.weight", r"output\.weight"),
            without=(r"lod",),
            what="StyleGAN2's discriminator",
        ),
    ),
    rules=(
        mapping(r"(?:mapping\.dense|mapping)\d+\.weight", _LRMUL),
        linear(r"(?:mapping\.)?embedding\.weight"),
        linear(r".+\.style\.weight"),
        linear(r"(?:synthesis\.early_layer|layer\d+|output)\.weight"),
        conv(r"synthesis\.layer\d+\.weight", kind="modulated_conv2d", demodulated=True, beside="{layer}.style.weight"),
        conv(r"(?:synthesis\.)?(?:layer|residual|input|output)\d+\.weight"),
    ),
    over=("genforce-stylegan2",),
    namings=hammer_names.STYLEGAN2,
    doubt=switched_off("use_wscale"),
    load_back=_LOAD_BACK,
    keep_multiplier=True,
)

STYLEGAN = Family(
    id="hammer-stylegan",
    title="StyleGAN in Hammer",
    architecture="stylegan1",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"synthesis\.layer0\.style\.weight",
            2,
            also=(r"synthesis\.lod", r"synthesis\.layer0\.noise_strength"),
            what="StyleGAN's synthesis",
        ),
        Signature(
            r"layer1\.filter", 4, also=(r"lod", r"input0\.weight", r"output\.weight"), what="StyleGAN's discriminator"
        ),
    ),
    rules=progressive_rules,
    over=("genforce-pggan",),
    namings=hammer_names.STYLEGAN,
    doubt=switched_off("use_wscale"),
    load_back=_LOAD_BACK,
    keep_multiplier=True,
)

PGGAN = Family(
    id="hammer-pggan",
    title="PGGAN in Hammer: its discriminator, and genforce's generator",
    architecture="progan",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"output\.weight",
            2,
            also=(r"lod", r"input0\.weight", r"layer1\.bias"),
            without=(r"layer\d+\.filter",),
            what="PGGAN's discriminator",
        ),
    ),
    rules=progressive_rules,
    over=("genforce-pggan",),
    namings=hammer_names.PGGAN,
    doubt=switched_off("use_wscale"),
    load_back=_LOAD_BACK,
    keep_multiplier=True,
)
