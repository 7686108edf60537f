"""akanimax/pro_gan_pytorch and BMSG-GAN (MIT).

    EqualizedConv2d, EqualizedLinear    w = v * sqrt(2) / sqrt(in * k * k)
    EqualizedConvTranspose2d            w = v * sqrt(2) / sqrt(in)          v stored (in, out, k, k), k left out

The transposed convolution is the first layer of the generator and stands in for the dense layer on a 1x1 input, which
is why its fan-in leaves the kernel out (the author, in issue 44). Gain sqrt(2) everywhere, to-RGB included; biases as
stored. The layers subclass torch's, so a network that was trained without equalization has the very same names:
version 3 writes `use_eql` into the file, for older files the user has to say.
"""

from eqlr_tools.families.family import Family, Question, Rules, Signature, View
from eqlr_tools.families.progan_names import AKANIMAX
from eqlr_tools.families.rules import conv, switched_off
from eqlr_tools.scaling import SQRT2, channel_fan_in

_ID = "akanimax-progan"
_FROM_RGB = r"(?:from_rgb|rgb_to_features|fromRGBs)\.0\.(?:module\.|0\.)?weight"


def _rules(view: View, prefix: str) -> Rules:
    generator = any(name.startswith(f"{prefix}rgb_converters.") for name in view.shapes)
    older = any(name.startswith(f"{prefix}initial_block.") for name in view.shapes)
    block = "initial_block" if older else r"layers\.0"
    first = conv(
        rf"{block}\.(?:module\.)?conv_1\.weight",
        kind="conv_transpose2d",
        gain=SQRT2,
        fan_in=channel_fan_in,
        layout="IOkk",
    )
    return (
        *((first,) if generator else ()),
        conv(r"(?:layers\.\d+|initial_block|final_block)\.(?:module\.)?conv_\d\.weight", gain=SQRT2),
        conv(r"(?:rgb_converters|from_rgb|rgb_to_features|fromRGBs)\.\d+\.(?:module\.|0\.)?weight", gain=SQRT2),
        conv(r"final_converter\.(?:module\.)?weight", gain=SQRT2),
    )


def _question(view: View, prefix: str) -> Question | None:
    if view.said("use_eql") is True:
        return None
    return Question(
        "was it trained with equalized layers (use_eql=True)? A plain network of this code has the same names",
        (f"{_ID}: equalized, as the code does by default", "plain: use_eql=False, or baked"),
        f"--family {_ID} or --family plain",
    )


FAMILY = Family(
    id=_ID,
    title="pro_gan_pytorch and BMSG-GAN by akanimax",
    architecture="progan",
    upstream="akanimax/pro_gan_pytorch",
    signatures=(
        Signature(
            r"(?:layers\.0|initial_block)\.conv_1\.weight",
            4,
            also=(r"rgb_converters\.0\.weight",),
            what="the generator's blocks and rgb converters",
        ),
        Signature(
            r"(?:layers\.0\.(?:module\.)?|final_block\.)conv_1\.weight",
            4,
            also=(_FROM_RGB,),
            what="the discriminator's blocks and rgb converters",
        ),
    ),
    rules=_rules,
    doubt=switched_off("use_eql"),
    switch="use_eql",
    namings=AKANIMAX,
    question=_question,
    load_back="construct the network with use_eql=False",
)
