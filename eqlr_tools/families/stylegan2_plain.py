"""StyleGAN2 under eqlr's own, canonical names: plain weights, as `eqlr convert --to plain` writes them.

The names and every convention stand in `networks/stylegan2.py`.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.stylegan2_names import PLAIN

FAMILY = Family(
    id="stylegan2-plain",
    title="StyleGAN2 with plain weights and canonical names",
    architecture="stylegan2",
    upstream="eqlr-tools",
    signatures=(
        Signature(
            anchor=r"synthesis\.b4\.conv1\.style\.weight",
            rank=2,
            also=(r"synthesis\.const", r"synthesis\.b\d+\.torgb\.style\.weight"),
            what="eqlr's canonical generator",
        ),
        Signature(
            anchor=r"b4\.fc\.weight",
            rank=2,
            also=(r"fir", r"b4\.conv\.weight", r"b4\.out\.weight"),
            never=(r".*resample_filter",),
            what="eqlr's canonical discriminator",
        ),
    ),
    equalized=False,
    over=("nvidia-stylegan2-ada",),
    namings=PLAIN,
    advice="its weights are plain already, under eqlr's canonical names",
)
