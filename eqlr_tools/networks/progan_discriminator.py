"""The discriminators of ProGAN and BMSG-GAN: canonical names of their parameters, and what is computed from them.

Every tensor is *effective*.

    ProGAN, with R = resolution ... 8, 4              shape
    b{R}.fromrgb.weight, .bias                        (C, 3, 1, 1), (C,)       of the size that is used at least
    b{R}.conv0, .conv1 .weight, .bias                 (C', C, 3, 3), (C',)     from R = 8 on
    b4.conv.weight, .bias                             (C, C + 1, 3, 3), (C,)
    b4.fc.weight, .bias                               (F, 16 C), (F,)          input in order channel, row, column
    b4.out.weight, .bias                              (1, F), (1,)             more outputs score classes
    lod                                               ()                       sizes that are not in use yet

The channel more of b4.conv is the deviation within the batch; a project without it has C, and where b4.fc has
16 (C + 1) inputs it comes behind the convolution, which then is not used (mmgeneration keeps it as b4.unused).
While a size is faded in, its features are `alpha` times its own and the rest those of the size before, of the image
at half its size.

BMSG-GAN (Karnewar and Wang, 2020) sees the image at every size at once. Its from-RGB features of each size below the
largest stand before what comes from above; there is no fading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.arrays import SLOPE, correlate, halved, leaky_relu, normalised
from eqlr_tools.networks.stylegan2 import resolutions

if TYPE_CHECKING:
    from numpy.typing import NDArray

Parameters = Mapping[str, "NDArray"]


@dataclass(frozen=True)
class Form:
    """What a project's discriminator computes that no tensor says; the defaults are the paper's.

    `normalised`: every pixel is divided by its root mean square before each activation, from-RGB layers aside.
    `pool_first`: a block averages 2x2 pixels before its second activation and not behind it. The deviation is taken
    within groups of `group_size` samples (0: the whole batch), samples n, n + N/G, ... or, if `consecutive`, one
    after the other; `handed_on` gives the figure of the k-th group to the k-th run of samples, whoever is in it. A
    batch that they do not divide is one group, or, if `rest_alone`, the last of consecutive ones is a smaller one. It
    is averaged over channels, and over pixels unless `per_pixel`; `of_image` takes the deviation of the input itself.
    """

    slope: float = SLOPE
    normalised: bool = False
    rgb_activated: bool = True
    pool_first: bool = False
    group_size: int = 4
    consecutive: bool = False
    handed_on: bool = False
    rest_alone: bool = False
    unbiased: bool = False
    deviation_eps: float = 1e-8
    per_pixel: bool = False
    of_image: bool = False
    faded: float = 0.0


PAPER = Form()


def deviation_place(p: Parameters) -> str:
    """The layer before which the deviation is appended, from the widths: b4.conv, b4.fc or none."""
    if "b4.conv.weight" not in p:
        return "b4.fc"
    return "b4.conv" if p["b4.conv.weight"].shape[1] > incoming(p) else ""


def incoming(p: Parameters) -> int:
    """How many channels arrive at 4x4 pixels from above, or from the image if there is nothing above."""
    return len(p["b8.conv1.bias"] if "b8.conv1.bias" in p else p["b4.fromrgb.bias"])


def discriminate(
    p: Parameters, image: NDArray, *, resolution: int | None = None, alpha: float = 1.0, form: Form = PAPER
) -> NDArray:
    """Scores of images of a size, the largest by default."""
    sizes = resolutions(p, "")
    top = resolution or sizes[-1]
    x = _from_rgb(p, top, image, form)
    for size in reversed([size for size in sizes[1:] if size <= top]):
        x = _block(p, size, x, form)
        if size == top and alpha != 1.0:
            x = alpha * x + (1 - alpha) * _from_rgb(p, top // 2, halved(image), form)
    return _scores(p, x, image, form)


def discriminate_all(p: Parameters, images: Mapping[int, NDArray], *, form: Form) -> NDArray:
    """BMSG-GAN: scores of images that are there at every size."""
    sizes = resolutions(p, "")
    x = _from_rgb(p, sizes[-1], images[sizes[-1]], form)
    for size in reversed(sizes[1:]):
        x = _block(p, size, x, form)
        x = np.concatenate([_from_rgb(p, size // 2, images[size // 2], form), x], axis=1)
    return _scores(p, x, images[sizes[-1]], form)


def _from_rgb(p: Parameters, size: int, image: NDArray, form: Form) -> NDArray:
    x = _convolved(p, f"b{size}.fromrgb", image)
    return leaky_relu(x, 1.0, form.slope) if form.rgb_activated else x


def _block(p: Parameters, size: int, x: NDArray, form: Form) -> NDArray:
    x = _convolved(p, f"b{size}.conv1", _activated(_convolved(p, f"b{size}.conv0", x), form))
    return _activated(halved(x), form) if form.pool_first else halved(_activated(x, form))


def _activated(x: NDArray, form: Form) -> NDArray:
    return leaky_relu(normalised(x) if form.normalised else x, 1.0, form.slope)


def _scores(p: Parameters, x: NDArray, image: NDArray, form: Form) -> NDArray:
    place = deviation_place(p)
    seen = image if form.of_image else x
    if place == "b4.conv":
        x = with_deviation(x, seen, form)
    if "b4.conv.weight" in p:
        x = _activated(_convolved(p, "b4.conv", x), form)
    if place == "b4.fc":
        x = with_deviation(x, seen, form)
    hidden = _activated(x.reshape(len(x), -1) @ p["b4.fc.weight"].T + p["b4.fc.bias"], form)
    scores: NDArray = hidden @ p["b4.out.weight"].T + p["b4.out.bias"]
    return scores


def with_deviation(x: NDArray, seen: NDArray, form: Form) -> NDArray:
    """One more channel: the standard deviation over each group of samples. A group of one has none if `unbiased`."""
    members, served = groups(len(x), form)
    extra = np.zeros((len(x), 1, *x.shape[2:]), dtype=x.dtype)
    for group in np.unique(members):
        part = seen[members == group]
        if form.unbiased and len(part) == 1:
            continue
        deviation = np.sqrt(part.var(axis=0, ddof=int(form.unbiased)) + form.deviation_eps)
        extra[served == group] = deviation.mean(axis=0, keepdims=True) if form.per_pixel else deviation.mean()
    return np.concatenate([x, extra], axis=1)


def groups(samples: int, form: Form) -> tuple[NDArray, NDArray]:
    """The group that each sample belongs to, and the group whose figure it gets."""
    number = np.arange(samples)
    size = min(form.group_size, samples) or samples
    size = samples if samples % size and not form.rest_alone else size
    if form.consecutive:
        return number // size, number // size
    members = number % (samples // size)
    return members, number // size if form.handed_on else members


def _convolved(p: Parameters, layer: str, x: NDArray) -> NDArray:
    weight = p[f"{layer}.weight"]
    out: NDArray = correlate(x, weight, padding=weight.shape[2] // 2) + p[f"{layer}.bias"][:, None, None]
    return out
