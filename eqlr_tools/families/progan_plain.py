"""ProGAN and BMSG-GAN under eqlr's own, canonical names: plain weights, as `eqlr convert --to plain` writes them.

The names and every convention stand in `networks/progan.py` and `networks/progan_discriminator.py`. What the project
computes that no tensor says is stored too, as scalars `form.tanh`, `form.slope` and so on.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.progan_names import MULTISCALE_PLAIN, PLAIN

_ADVICE = "its weights are plain already, under eqlr's canonical names"
_UPSTREAM = "eqlr-tools"


def _signatures(also: tuple[str, ...] = (), never: tuple[str, ...] = ()) -> tuple[Signature, ...]:
    return (
        Signature(
            r"b4\.input\.weight",
            2,
            also=(r"b4\.conv\.weight", r"b\d+\.torgb\.weight", *also),
            never=never,
            what="eqlr's canonical generator",
        ),
        Signature(
            r"b4\.fc\.weight",
            2,
            also=(r"b4\.out\.weight", r"b\d+\.fromrgb\.weight", r"form\.group_size", *also),
            never=(r"blur", *never),
            what="eqlr's canonical discriminator",
        ),
    )


FAMILY = Family(
    id="progan-plain",
    title="ProGAN with plain weights and canonical names",
    architecture="progan",
    upstream=_UPSTREAM,
    signatures=_signatures(never=(r"every_size",)),
    equalized=False,
    namings=PLAIN,
    over=("nvidia-stylegan2-ada",),
    advice=_ADVICE,
)
MULTISCALE = Family(
    id="bmsg-gan-plain",
    title="BMSG-GAN with plain weights and canonical names",
    architecture="bmsg-gan",
    upstream=_UPSTREAM,
    signatures=_signatures(also=(r"every_size",)),
    equalized=False,
    namings=MULTISCALE_PLAIN,
    over=("nvidia-stylegan2-ada",),
    advice=_ADVICE,
)
