"""NVlabs/imaginaire (`layers/weight_norm.py`, ScaledLR): the one lineage that writes its constants into the file.

    w = weight_ori * weight_scale,     b_eff = bias_ori * bias_scale

with weight_scale = lr / sqrt(fan_in) and bias_scale = lr as scalar buffers; fan_in = shape[1] * prod(kernel), which
for a transposed convolution is the output channels. The buffers are there also where a layer has no bias. Layers that
have spectral norm on top (`weight_u`) are left alone: their weight is not a multiple of what is stored.
"""

from eqlr_tools.families.family import Family, Signature, View
from eqlr_tools.families.kinds import kind_of
from eqlr_tools.families.layer import Layer
from eqlr_tools.scaling import second_axis_fan_in


def _stored(view: View, prefix: str) -> list[Layer]:
    found = []
    for name, shape in view.shapes.items():
        path = name.removesuffix(".weight_ori")
        scale, bias_scale = f"{path}.weight_scale", f"{path}.bias_scale"
        if path == name or not name.startswith(prefix) or scale not in view.shapes or f"{path}.weight_u" in view.shapes:
            continue
        bias = next((b for b in (f"{path}.bias_ori", f"{path}.bias") if b in view.shapes), None)
        scaled = bias == f"{path}.bias_ori" and bias_scale in view.shapes
        found.append(
            Layer(
                name=path,
                kind=kind_of(path, tuple(shape), view.shapes),
                weight=name,
                shape=tuple(shape),
                scale=view.scalar(scale),
                fan_in=second_axis_fan_in(shape),
                bias=bias,
                bias_scale=view.scalar(bias_scale) if scaled else 1.0,
                baked_weight=f"{path}.weight",
                baked_bias=f"{path}.bias" if scaled else "",
                scale_tensors=tuple(n for n in (scale, bias_scale) if n in view.shapes),
                origin="stated",
                why="stored",
            )
        )
    return found


FAMILY = Family(
    id="imaginaire-scaledlr",
    title="imaginaire's ScaledLR (constants stored)",
    architecture="any",
    upstream="NVlabs/imaginaire",
    signatures=(
        Signature(r".+\.weight_ori", also=(r".+\.weight_scale",), what="its constants are stored beside the weights"),
    ),
    keys_are_proof=True,
    extra=_stored,
    load_back="construct the layers without weight_norm_type equalized_lr or scaled_lr",
)
