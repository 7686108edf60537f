"""StyleGAN1 (Karras et al., 2019): the canonical names of its parameters, and what is computed from them.

Every tensor is *effective*: run-time constants are multiplied in, biases included.

    generator, with R = 4, 8, ... resolution          shape
    mapping.label.weight                              (z, labels)              only conditional ones
    mapping.fc{i}.weight, .bias                       (out, in), (out,)        i from 0
    mapping.w_avg                                     (w,)
    synthesis.const                                   (C, 4, 4)
    synthesis.b{R}.conv0, .conv1
        .weight                                       (out, in, 3, 3)          b4.conv0, the constant, has none
        .bias                                         (out,)
        .noise_strength, .noise                       (out,) or (1,), (R, R)
        .gamma.weight, .gamma.bias                    (out, w), (out,)         the style's factor
        .beta.weight, .beta.bias                      (out, w), (out,)         the style's summand
    synthesis.b{R}.torgb.weight, .bias                (3, C, 1, 1), (3,)       the largest at least
    blur                                              (3, 3)
    lod                                               ()                       0: the largest size, wholly faded in

    discriminator, with R = resolution, ..., 8
    b{R}.fromrgb.weight, .bias                        (C, 3, k, k), (C,)       b4's as well; the largest at least
    b{R}.conv0, .conv1 .weight, .bias                 (C', C, 3, 3), (C',)     conv1 halves the size
    b4.conv.weight, .bias                             (C, C + 1, 3, 3), (C,)
    b4.fc.weight, .bias                               (C, 16 C), (C,)          input in order channel, row, column
    b4.out.weight, .bias                              (1, C), (1,)
    blur, lod                                         as above

A layer is: the size doubled, convolution, blur, noise, bias, leaky ReLU with slope 0.2 and no gain, instance norm,
style. Every kernel is correlated with its input. conv0 repeats every pixel and then convolves. NVIDIA's fused form of
that, from 128x128 on, is a transposed convolution with the sum of four shifted copies of the kernel, which is the
same thing with a kernel turned by 180 degrees. conv1 of the discriminator convolves the blurred image and then takes
the mean of 2x2 pixels; its fused form is just the same. The 1 around which a style's factor lies is in `gamma.bias`.

What projects do differently stands in `GeneratorForm` and `DiscriminatorForm`, since no tensor says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.networks.arguments import argument
from eqlr_tools.networks.arrays import (
    correlate,
    doubled,
    filtered,
    halved,
    leaky_relu,
    normalised,
    with_group_deviation,
)
from eqlr_tools.networks.stylegan2 import mapping_layers, resolutions

if TYPE_CHECKING:
    from numpy.typing import NDArray

Parameters = Mapping[str, "NDArray"]

BLUR = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16.0
NO_BLUR = np.outer([0.0, 1.0, 0.0], [0.0, 1.0, 0.0])
WHOLE_BATCH = 1 << 20
"""A group size of the minibatch deviation that no batch reaches."""


@dataclass(frozen=True)
class GeneratorForm:
    """What a project's generator computes; the defaults are NVIDIA's.

    `bilinear`: sizes are doubled by interpolation. `bias_before_blur`: the bias is blurred as well, which shows at the
    edges. `activated_before_blur`: one more leaky ReLU between the two. `constant_activated`: there is a leaky ReLU
    behind the constant too. `mapping_slope` is that of the mapping network, whose last layer may be linear.
    `shared_noise`: both layers of a size get the same noise. `bare_start`: an image of 4x4 shows b4.conv1 as it comes
    out of the convolution, without tanh. Truncation acts on the first `truncated_places` styles.
    """

    bilinear: bool = False
    bias_before_blur: bool = False
    activated_before_blur: bool = False
    constant_activated: bool = True
    mapping_slope: float = 0.2
    mapping_ends_linear: bool = False
    norm_eps: float = 1e-8
    tanh: bool = False
    shared_noise: bool = False
    bare_start: bool = False
    truncated_places: int = WHOLE_BATCH


@dataclass(frozen=True)
class DiscriminatorForm:
    """What a project's discriminator computes; the defaults are NVIDIA's.

    `fromrgb_linear`: no activation there. `fc_linear`: none behind b4.fc. `pooled_after_activation`: the mean of 2x2
    pixels is taken last. `group_size` is that of the minibatch deviation.
    """

    fromrgb_linear: bool = False
    fc_linear: bool = False
    pooled_after_activation: bool = False
    group_size: int = 4


FORM = "form."
"""Canonical scalars under this prefix are the form's entries, for layouts that store them."""


def form_values(form: Mapping[str, Any], parameters: Parameters) -> dict[str, Any]:
    """A form's entries that differ from NVIDIA's: those of a family, overruled by what a file stores."""
    stored = {name.removeprefix(FORM): float(value) for name, value in parameters.items() if name.startswith(FORM)}
    return {**form, **stored}


def generator_form(form: Mapping[str, Any], parameters: Parameters) -> GeneratorForm:
    """The whole form of a generator."""
    return GeneratorForm(**_typed("generator", form_values(form, parameters)))


def discriminator_form(form: Mapping[str, Any], parameters: Parameters) -> DiscriminatorForm:
    """The whole form of a discriminator."""
    return DiscriminatorForm(**_typed("discriminator", form_values(form, parameters)))


def defaults_of(role: str) -> dict[str, Any]:
    """NVIDIA's form of a generator or discriminator."""
    return asdict(GeneratorForm() if role == "generator" else DiscriminatorForm())


def _typed(role: str, values: Mapping[str, Any]) -> dict[str, Any]:
    least = {"group_size": 1.0}
    return {
        name: argument(name, default, values[name], least.get(name, 0.0))
        for name, default in defaults_of(role).items()
        if name in values
    }


def styled_layers(p: Parameters, resolution: int | None = None) -> list[str]:
    """The layers that take a style, in order, up to a size."""
    sizes = [size for size in resolutions(p) if resolution is None or size <= resolution]
    return [f"synthesis.b{size}.{conv}" for size in sizes for conv in ("conv0", "conv1")]


def generate(
    p: Parameters,
    z: NDArray,
    form: GeneratorForm,
    *,
    label: NDArray | None = None,
    psi: float = 1.0,
    noise: Mapping[str, NDArray] | None = None,
    resolution: int | None = None,
    alpha: float = 1.0,
) -> NDArray:
    """Images from latents. Computes in the dtype of `z`; parameters should have the same."""
    w = latents(p, z, form, label)
    places = truncated(p, w, psi, form, len(styled_layers(p, resolution)))
    return synthesise(p, places, form, noise=noise, resolution=resolution, alpha=alpha)


def latents(p: Parameters, z: NDArray, form: GeneratorForm, label: NDArray | None = None) -> NDArray:
    """The mapping network: z (and label) to w."""
    x = z if label is None else np.concatenate([z, label @ p["mapping.label.weight"].T], axis=1)
    x = normalised(x)
    for i in range(mapping_layers(p)):
        x = x @ p[f"mapping.fc{i}.weight"].T + p[f"mapping.fc{i}.bias"]
        if i < mapping_layers(p) - 1 or not form.mapping_ends_linear:
            x = np.where(x >= 0, x, form.mapping_slope * x)
    return x


def truncated(p: Parameters, w: NDArray, psi: float, form: GeneratorForm, places: int) -> NDArray:
    """One w per styled layer, (samples, places, w), the first of them pulled towards the average."""
    wide = np.repeat(w[:, None], places, axis=1)
    if psi != 1.0:
        near = wide[:, : form.truncated_places]
        wide[:, : form.truncated_places] = p["mapping.w_avg"] + psi * (near - p["mapping.w_avg"])
    return wide


def synthesise(
    p: Parameters,
    w: NDArray,
    form: GeneratorForm,
    *,
    noise: Mapping[str, NDArray] | None = None,
    resolution: int | None = None,
    alpha: float = 1.0,
) -> NDArray:
    """The synthesis network: w, (samples, w) or (samples, places, w), to images of a size, the largest by default.

    While a size is faded in, the image is `alpha` times its own and the rest that of the size before, enlarged.
    `noise` holds a map (samples, 1, R, R) per layer instead of the network's own; a layer without one has no noise.
    """
    layers = styled_layers(p, resolution)
    places = w if w.ndim == 3 else np.repeat(w[:, None], len(layers), axis=1)
    noise = {layer: p[f"{layer}.noise"] for layer in layers if f"{layer}.noise" in p} if noise is None else noise
    constant = p["synthesis.const"]
    x = before = np.broadcast_to(constant, (len(w), *constant.shape)).astype(w.dtype)
    for place, layer in enumerate(layers):
        first = layer.endswith("conv0")
        if first and place:
            before = x
            x = doubled(x, bilinear=form.bilinear)
        x = _convolved(p, layer, x, form, blurred=first) if place else x + _column(p, f"{layer}.bias")
        if form.bare_start and len(layers) == 2 and place:
            return _coloured(p, 4, x)
        if layer in noise and f"{layer}.noise_strength" in p:
            x = x + _column(p, f"{layer}.noise_strength") * noise[layer]
        x = leaky_relu(x, 1.0) if place or form.constant_activated else x
        x = _styled(p, layer, x, places[:, place], form.norm_eps)
    size = x.shape[2]
    image = _coloured(p, size, x)
    if alpha != 1.0 and size > 4:
        image = alpha * image + (1 - alpha) * doubled(_coloured(p, size // 2, before), bilinear=form.bilinear)
    return np.tanh(image) if form.tanh else image


def discriminate(
    p: Parameters, image: NDArray, form: DiscriminatorForm, *, resolution: int | None = None, alpha: float = 1.0
) -> NDArray:
    """Logits of images of a size, the largest by default, which `alpha` says how far it is faded in."""
    sizes = [size for size in resolutions(p, "") if resolution is None or size <= resolution]
    x = _seen(p, sizes[-1], image, form)
    for size in reversed(sizes[1:]):
        x = leaky_relu(_plainly_convolved(p, f"b{size}.conv0", x), 1.0)
        x = _plainly_convolved(p, f"b{size}.conv1", _blurred(p, x))
        x = halved(leaky_relu(x, 1.0)) if form.pooled_after_activation else leaky_relu(halved(x), 1.0)
        if size == sizes[-1] and alpha != 1.0:
            x = alpha * x + (1 - alpha) * _seen(p, size // 2, halved(image), form)
    if p["b4.conv.weight"].shape[1] > x.shape[1]:
        x = with_group_deviation(x, form.group_size)
    x = leaky_relu(_plainly_convolved(p, "b4.conv", x), 1.0)
    x = x.reshape(len(x), -1) @ p["b4.fc.weight"].T + p["b4.fc.bias"]
    x = x if form.fc_linear else leaky_relu(x, 1.0)
    logits: NDArray = x @ p["b4.out.weight"].T + p["b4.out.bias"]
    return logits


def _convolved(p: Parameters, layer: str, x: NDArray, form: GeneratorForm, *, blurred: bool) -> NDArray:
    """Convolution, blur where the size was doubled, and bias."""
    out: NDArray = correlate(x, p[f"{layer}.weight"], padding=1)
    early = not blurred or form.bias_before_blur or form.activated_before_blur
    out = out + _column(p, f"{layer}.bias") if early else out
    if blurred:
        out = _blurred(p, leaky_relu(out, 1.0) if form.activated_before_blur else out)
    return out if early else out + _column(p, f"{layer}.bias")


def _styled(p: Parameters, layer: str, x: NDArray, w: NDArray, eps: float) -> NDArray:
    """Instance norm, and the style on top."""
    gamma, beta = (w @ p[f"{layer}.{part}.weight"].T + p[f"{layer}.{part}.bias"] for part in ("gamma", "beta"))
    x = x - x.mean(axis=(2, 3), keepdims=True)
    x /= np.sqrt(np.square(x).mean(axis=(2, 3), keepdims=True) + eps)
    styled: NDArray = gamma[:, :, None, None] * x + beta[:, :, None, None]
    return styled


def _coloured(p: Parameters, size: int, x: NDArray) -> NDArray:
    image: NDArray = correlate(x, p[f"synthesis.b{size}.torgb.weight"]) + _column(p, f"synthesis.b{size}.torgb.bias")
    return image


def _seen(p: Parameters, size: int, image: NDArray, form: DiscriminatorForm) -> NDArray:
    x = _plainly_convolved(p, f"b{size}.fromrgb", image)
    return x if form.fromrgb_linear else leaky_relu(x, 1.0)


def _plainly_convolved(p: Parameters, layer: str, x: NDArray) -> NDArray:
    weight = p[f"{layer}.weight"]
    out: NDArray = correlate(x, weight, padding=weight.shape[2] // 2) + _column(p, f"{layer}.bias")
    return out


def _blurred(p: Parameters, x: NDArray) -> NDArray:
    kernel: NDArray = p.get("blur", BLUR)
    return filtered(x, kernel[::-1, ::-1], (1, 1))


def _column(p: Parameters, name: str) -> NDArray | float:
    """Per channel, against height and width; a parameter that is not there is 0."""
    return p[name][:, None, None] if name in p else 0.0
