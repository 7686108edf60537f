"""rosinality's StyleGAN2 and its two siblings, BasicSR and mmagic, against the canonical names.

All three number the layers alike and differ in what the parts are called. Their up-convolutions run as transposed
convolutions on the kernel as it stands, so both kernel axes run backwards against the canonical correlation. Filters
of upsampling layers are stored times 4. The average latent, where there is one, lies beside the state dict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eqlr_tools.families.code_widths import colours, one_deviation, one_latent_width, one_style_width
from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.training import Training, registered

ARCHITECTURE = "stylegan2"


@dataclass(frozen=True)
class _Words:
    """What the parts are called. Suffixes are appended to a layer's path; a part without a name is not stored."""

    mapping: str
    mapping_weight: str
    constant: str
    first: str
    others: str
    weight: str
    style_weight: str
    style_bias: str
    strength: str
    noise: str
    blur: str = ""
    upsample: str = ""
    label: tuple[str, str] | None = None
    inner_average: str = ""


_ROSINALITY = _Words(
    mapping="style.{}",
    mapping_weight="weight",
    constant="input.input",
    first="conv1",
    others="convs.{}",
    weight="conv.weight",
    style_weight="conv.modulation.weight",
    style_bias="conv.modulation.bias",
    strength="noise.weight",
    noise="noises.noise_{}",
    blur="conv.blur.kernel",
    upsample="upsample.kernel",
)
_BASICSR = _Words(
    mapping="style_mlp.{}",
    mapping_weight="weight",
    constant="constant_input.weight",
    first="style_conv1",
    others="style_convs.{}",
    weight="modulated_conv.weight",
    style_weight="modulated_conv.modulation.weight",
    style_bias="modulated_conv.modulation.bias",
    strength="weight",
    noise="noises.noise{}",
)
_MMAGIC = _Words(
    mapping="style_mapping.{}",
    mapping_weight="linear.weight_orig",
    constant="constant_input.input",
    first="conv1",
    others="convs.{}",
    weight="conv.weight_orig",
    style_weight="conv.style_modulation.linear.weight_orig",
    style_bias="conv.style_modulation.bias",
    strength="noise_injector.weight",
    noise="injected_noise_{}",
    blur="conv.blur.kernel",
    upsample="upsample.kernel",
    label=("embed.linear.weight_orig", "embed.bias"),
    inner_average="w_avg",
)


def _generator(words: _Words) -> Callable[[Depth], Iterator[Slot]]:
    def slots(depth: Depth) -> Iterator[Slot]:
        yield from _mapping(words, depth)
        yield Slot("synthesis.const", words.constant, "1 c h w -> c h w")
        yield from _styled(words, "synthesis.b4.conv1", words.first, 0)
        yield from _colour(words, "synthesis.b4.torgb", "to_rgb1")
        for index, resolution in enumerate(depth.blocks):
            block = f"synthesis.b{resolution}"
            yield from _styled(words, f"{block}.conv0", words.others.format(2 * index), 2 * index + 1, up=True)
            yield from _styled(words, f"{block}.conv1", words.others.format(2 * index + 1), 2 * index + 2)
            yield from _colour(words, f"{block}.torgb", f"to_rgbs.{index}", up=True)

    return slots


def _mapping(words: _Words, depth: Depth) -> Iterator[Slot]:
    labels = words.label if depth.labels else None
    if labels:
        yield Slot("mapping.label.weight", labels[0])
        yield Slot("mapping.label.bias", labels[1])
    # Element 0 of the Sequential normalises z; a conditional mmagic network does that outside.
    first = 0 if labels else 1
    for i in range(depth.mapping_layers):
        layer = words.mapping.format(i + first)
        yield Slot(f"mapping.fc{i}.weight", f"{layer}.{words.mapping_weight}")
        yield Slot(f"mapping.fc{i}.bias", f"{layer}.bias")
    if words.inner_average:
        # A buffer of every conditional network, and of others only if these are constructed so.
        yield Slot("mapping.w_avg", words.inner_average, optional=True, read_only=not labels)
    if not labels:
        yield Slot("mapping.w_avg", "latent_avg", optional=True, outside=True)


def _styled(words: _Words, canonical: str, layer: str, number: int, *, up: bool = False) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{layer}.{words.weight}", "1 o i h w -> o i h w", "h w" if up else "")
    yield Slot(f"{canonical}.bias", f"{layer}.activate.bias")
    yield Slot(f"{canonical}.style.weight", f"{layer}.{words.style_weight}")
    yield Slot(f"{canonical}.style.bias", f"{layer}.{words.style_bias}")
    yield Slot(f"{canonical}.noise_strength", f"{layer}.{words.strength}", "1 -> ")
    yield Slot(f"{canonical}.noise", words.noise.format(number), "1 1 h w -> h w", optional=True)
    if up and words.blur:
        yield Slot("fir", f"{layer}.{words.blur}", scale=0.25, optional=True)


def _colour(words: _Words, canonical: str, layer: str, *, up: bool = False) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{layer}.{words.weight}", "1 o i h w -> o i h w")
    yield Slot(f"{canonical}.bias", f"{layer}.bias", "1 c 1 1 -> c")
    yield Slot(f"{canonical}.style.weight", f"{layer}.{words.style_weight}")
    yield Slot(f"{canonical}.style.bias", f"{layer}.{words.style_bias}")
    if up and words.upsample:
        yield Slot("fir", f"{layer}.{words.upsample}", scale=0.25, optional=True)


def _discriminator(
    body: str, conv: str, dense: str, *, kernels: bool, labels: bool = False
) -> Callable[[Depth], Iterator[Slot]]:
    """`conv` and `dense` are what follows the number of a convolution and a linear layer in its Sequential. Where it
    may have `labels`, they are mapped as in NVIDIA's code, with its names and layers."""

    def slots(depth: Depth) -> Iterator[Slot]:
        if labels and depth.labels:
            layers = {"label": "embed", **{f"fc{i}": f"fc{i}" for i in range(depth.mapping_layers)}}
            for ours, theirs in layers.items():
                yield Slot(f"mapping.{ours}.weight", f"mapping.{theirs}.weight")
                yield Slot(f"mapping.{ours}.bias", f"mapping.{theirs}.bias")
        yield from _conv(f"b{depth.resolution}.fromrgb", f"{body}.0", 0, conv)
        for index, resolution in enumerate(reversed(depth.blocks), start=1):
            block, stored = f"b{resolution}", f"{body}.{index}"
            yield from _conv(f"{block}.conv0", f"{stored}.conv1", 0, conv)
            yield from _conv(f"{block}.conv1", f"{stored}.conv2", 1, conv)
            yield Slot(f"{block}.skip.weight", f"{stored}.skip.1.{conv}")
            if kernels:
                yield Slot("fir", f"{stored}.conv2.0.kernel", optional=True)
                yield Slot("fir", f"{stored}.skip.0.kernel", optional=True)
        yield from _conv("b4.conv", "final_conv", 0, conv)
        for number, layer in enumerate(("b4.fc", "b4.out")):
            yield Slot(f"{layer}.weight", f"final_linear.{number}.{dense}")
            yield Slot(f"{layer}.bias", f"final_linear.{number}.bias")

    return slots


def _conv(canonical: str, stored: str, number: int, conv: str) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.{number}.{conv}")
    yield Slot(f"{canonical}.bias", f"{stored}.{number + 1}.bias")


_ROSINALITY_ORDER = registered(
    """
    weight bias style input conv1 to_rgb1 conv2 skip convs to_rgbs final_conv final_linear conv modulation noise
    activate
    """
)
_BASICSR_ORDER = registered(
    """
    weight bias style_mlp constant_input style_conv1 to_rgb1 style_convs to_rgbs modulated_conv modulation activate
    conv_body conv1 conv2 skip final_conv final_linear
    """
)
_MMAGIC_ORDER = registered(
    """
    bias weight_orig weight embed fc linear mapping style_mapping constant_input input conv1 to_rgb1 conv2 skip convs
    to_rgbs conv style_modulation noise_injector activate final_conv final_linear
    """,
    first=r"mapping\..+\.weight",
)


_STATES = "BasicSR reads optimizers from a file of its own, training_states/N.state, with epoch and iter beside them"

ROSINALITY = (
    Naming(
        ARCHITECTURE,
        "generator",
        _generator(_ROSINALITY),
        ("g",),
        ("g_ema",),
        training=Training(_ROSINALITY_ORDER, ("g_optim",)),
        widths=(colours(3), one_latent_width),
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _discriminator("convs", "weight", "weight", kernels=True),
        ("d",),
        training=Training(_ROSINALITY_ORDER, ("d_optim",)),
        widths=(colours(3), one_deviation),
    ),
)
BASICSR = (
    Naming(
        ARCHITECTURE,
        "generator",
        _generator(_BASICSR),
        ("params",),
        ("params_ema",),
        training=Training(_BASICSR_ORDER, ("optimizers", 0), remark=_STATES),
        widths=(colours(3), one_latent_width),
    ),
    # BasicSR keeps the discriminator in a file of its own, under `params`; beside a generator it has to have another
    # name, and the option `param_key_d` finds it. So does it the optimizers, in a list that has the generator's first.
    Naming(
        ARCHITECTURE,
        "discriminator",
        _discriminator("conv_body", "weight", "weight", kernels=False),
        ("params_d",),
        alone=("params",),
        training=Training(_BASICSR_ORDER, ("optimizers", 1), remark=_STATES),
        widths=(colours(3), one_deviation),
    ),
)
MMAGIC = (
    Naming(
        ARCHITECTURE,
        "generator",
        _generator(_MMAGIC),
        ("state_dict", "generator."),
        ("state_dict", "generator_ema."),
        training=Training(_MMAGIC_ORDER, ("optimizer", "generator")),
        widths=(one_style_width,),
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _discriminator("convs", "conv.weight_orig", "linear.weight_orig", kernels=True, labels=True),
        ("state_dict", "discriminator."),
        training=Training(_MMAGIC_ORDER, ("optimizer", "discriminator")),
        widths=(one_deviation,),
    ),
)
