"""StyleGAN1 under eqlr's own, canonical names: plain weights, as `eqlr convert --to plain` writes them.

The names and every convention stand in `networks/stylegan1.py`. Scalars called `form.*` say what the network computes
otherwise than NVIDIA's does.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.stylegan1_names import PLAIN

FAMILY = Family(
    id="stylegan1-plain",
    title="StyleGAN1 with plain weights and canonical names",
    architecture="stylegan1",
    upstream="eqlr-tools",
    signatures=(
        Signature(
            anchor=r"synthesis\.b4\.conv1\.gamma\.weight",
            rank=2,
            also=(r"synthesis\.const", r"blur"),
            what="eqlr's canonical generator",
        ),
        Signature(
            anchor=r"b4\.fc\.weight",
            rank=2,
            also=(r"blur", r"b4\.conv\.weight", r"b4\.out\.weight"),
            what="eqlr's canonical discriminator",
        ),
    ),
    equalized=False,
    over=("nvidia-stylegan2-ada",),
    namings=PLAIN,
    advice="its weights are plain already, under eqlr's canonical names",
)
