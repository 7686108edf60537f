"""rosinality's StyleGAN2 layers in networks that have no name here (StyleGAN descendants at large).

    ModulatedConv2d   `X.conv.weight` (1, out, in, k, k), beside its style `X.conv.modulation.weight`
    ConvLayer         `X.N.weight`, no bias of its own: `X.N+1.bias` is in the activation behind it, or `X.N-1.kernel`
                      blurs in front of it; if `X.N+1.kernel` blurs behind it, it is transposed, with fan_in in * k * k
    mapping           `style.N`

The arithmetic is that of `rosinality_stylegan2.py`. A to-RGB layer is told by its name. Linear layers elsewhere may be
torch's or EqualLinear, which have the same names, and so may convolutions without an activation: they are left as they
are, unless they have the size of equalized ones, which is asked about.
"""

from eqlr_tools.families.family import Family, Overrides, Question, Rule, Rules, Signature, View
from eqlr_tools.families.plain import plain_layers
from eqlr_tools.families.rules import SCALES, conv, linear, mapping, modulated
from eqlr_tools.families.statistics import has_equalized_size
from eqlr_tools.scaling import dense_fan_in, transposed_fan_in

_STYLE = "{layer}.modulation.weight"
_KINDS = ("linear", "conv2d", "conv_transpose2d")


def _convolutions(view: View, prefix: str) -> list[Rule]:
    """ConvLayers are told by what stands in the same Sequential."""
    rules = []
    for name, shape in view.shapes.items():
        block, _, last = name.removesuffix(".weight").rpartition(".")
        if len(shape) != 4 or not (name.startswith(prefix) and name.endswith(".weight") and block and last.isdigit()):
            continue
        before, behind = f"{block}.{int(last) - 1}", f"{block}.{int(last) + 1}"
        blurred = f"{behind}.kernel" in view.shapes
        activated = f"{behind}.bias" in view.shapes and f"{behind}.weight" not in view.shapes
        if f"{block}.{last}.bias" in view.shapes or not (blurred or activated or f"{before}.kernel" in view.shapes):
            continue
        layer = f"{block}.{last}".removeprefix(prefix).replace(".", r"\.")
        kind, fan_in = ("conv_transpose2d", transposed_fan_in) if blurred else ("conv2d", dense_fan_in)
        layout = "IOkk" if blurred else ""
        rules.append(conv(rf"(?P<layer>{layer})\.weight", kind=kind, fan_in=fan_in, layout=layout, bias=None))
    return rules


def _rules(view: View, prefix: str) -> Rules:
    return (
        mapping(r"(?:.+\.)?style\.\d+\.weight", stated=SCALES),
        modulated(r"(?P<layer>(?:.+\.)?to_\w+(?:\.\d+)?\.conv)\.weight", demodulated=False, beside=_STYLE),
        modulated(r"(?P<layer>.+\.conv)\.weight", beside=_STYLE),
        linear(r".+\.conv\.modulation\.weight"),
        *_convolutions(view, prefix),
    )


def _question(view: View, prefix: str) -> Question | None:
    """Half a network baked is none: layers of equalized size that nothing else tells are for the user to decide on."""
    told = {layer.weight for layer in FAMILY.layers(view, prefix, Overrides())}
    alike = [layer for layer in plain_layers(view, told) if layer.kind in _KINDS and layer.weight.startswith(prefix)]
    large = [layer.name for layer in alike if has_equalized_size(view, layer)]
    if not large:
        return None
    more = f" and {len(large) - 1} more" if len(large) > 1 else ""
    return Question(
        f"it has rosinality's modulated layers, and {large[0]}{more} of equalized size, which may be equalized or not",
        (
            f"--family {FAMILY.id}: they are plain, and left as they are",
            "--families FILE.py: a family of your own says which are equalized (docs/add-a-family.md)",
        ),
        f"--family {FAMILY.id} or --families FILE.py",
    )


FAMILY = Family(
    id="rosinality-layers",
    title="rosinality's StyleGAN2 layers in a network without a name here",
    architecture="any",
    upstream="rosinality/stylegan2-pytorch",
    signatures=(
        Signature(
            r"(?:.+\.)?conv\.weight", 5, also=(r"(?:.+\.)?conv\.modulation\.weight",), what="modulated convolutions"
        ),
    ),
    rules=_rules,
    generic=True,
    question=_question,
    advice="linear layers outside its mapping and styles are left as they are: nothing tells plain ones from equalized",
)
