"""torch's own parametrization, as `eqlr equalize` and `eqlr_tools.nn` write it: the constant is in the file.

    X.parametrizations.weight.original     v
    X.parametrizations.weight.0.scale      c, a scalar buffer;     w = c * v

Weight norm writes `original0` and `original1`, spectral norm `0._u`: neither is this. A lone `original` without the
scale is somebody else's parametrization: its constant is in code that the file does not hold.
"""

from eqlr_tools.families.family import ALL, Family, Signature, View
from eqlr_tools.families.kinds import kind_of
from eqlr_tools.families.layer import Layer

_ORIGINAL = "parametrizations.weight.original"
_SCALE = "parametrizations.weight.0.scale"


def _stored(view: View, prefix: str) -> list[Layer]:
    found = []
    for name, shape in view.shapes.items():
        head, original, behind = name.partition(_ORIGINAL)
        if not original or behind or (head and not head.endswith(".")) or head + _SCALE not in view.shapes:
            continue
        path, bias = head.removesuffix("."), f"{head}bias"
        found.append(
            Layer(
                name=path or "weight",
                kind=kind_of(path, tuple(shape), view.shapes),
                weight=name,
                shape=tuple(shape),
                scale=view.scalar(head + _SCALE),
                bias=bias if bias in view.shapes else None,
                baked_weight=f"{head}weight",
                scale_tensors=(head + _SCALE,),
                why="stored",
            )
        )
    return found


FAMILY = Family(
    id="torch-parametrize",
    title="torch parametrization with the scale stored (eqlr's own)",
    architecture="any",
    upstream="torch.nn.utils.parametrize",
    signatures=(
        Signature(
            r".*parametrizations\.weight\.0\.scale",
            0,
            also=(r".*parametrizations\.weight\.original",),
            what="the constant is stored beside the weight",
        ),
    ),
    keys_are_proof=True,
    over=(ALL,),  # Of a baked network some layers may be equalized again; the rest keeps its names, and is plain.
    extra=_stored,
)
