"""ProGAN's generator (Karras et al., 2018): the canonical names of its parameters, and what is computed from them.

Every tensor is *effective*: run-time constants are multiplied in.

    generator, with R = 4, 8, ... resolution          shape
    b4.label.weight                                   (classes, n)             appended to z; only where labels are
    b4.input.weight                                   (16 C, z)                output in order channel, row, column
    b4.input.bias or .bias_map                        (C,) or (16 C,)          per channel, or per channel and pixel
    b4.conv0.weight, .bias                            (C, C, 3, 3), (C,)       a further layer, in few projects
    b4.conv.weight, .bias                             (C, C, 3, 3), (C,)
    b{R}.conv0, .conv1 .weight, .bias                 (C', C, 3, 3), (C',)     from R = 8 on
    b{R}.torgb.weight, .bias                          (3, C, 1, 1), (3,)       of the last size at least
    lod                                               ()                       sizes that are not in use yet

Projects agree on this and differ in what no tensor says, which is `Form`. While a size is faded in, the image is
`alpha` times its own and the rest that of the size before, enlarged. A BMSG-GAN's generator has the same parameters
and shows the image of every size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from eqlr_tools.networks.arguments import argument
from eqlr_tools.networks.arrays import SLOPE, correlate, doubled, leaky_relu, normalised
from eqlr_tools.networks.stylegan2 import resolutions

if TYPE_CHECKING:
    from numpy.typing import NDArray

Parameters = Mapping[str, "NDArray"]


@dataclass(frozen=True)
class Form:
    """What a project's generator computes that no tensor says; the defaults are the paper's.

    z is divided by its root mean square (`latent_normalised`), and so is every pixel behind each activation, or, if
    `norm_first`, before it; whether that holds for the input layer too differs (`input_normalised`), whose pixels may
    all have one divisor (`input_whole`). `by_deviation` divides by the standard deviation instead, which leaves the
    mean in. `eps` stands under the root, or is added to it (`eps_outside`). `faded` is the share of the size before,
    where the file says.
    """

    slope: float = SLOPE
    normalised: bool = True
    latent_normalised: bool = True
    input_normalised: bool = True
    input_whole: bool = False
    norm_first: bool = False
    by_deviation: bool = False
    eps: float = 1e-8
    eps_outside: bool = False
    bilinear: bool = False
    tanh: bool = False
    tanh_at_4: bool = True
    faded: float = 0.0

    def ends_in_tanh(self, size: int) -> bool:
        """True if the image of this size does; some projects return the smallest one as it is."""
        return self.tanh and (self.tanh_at_4 or size > 4)


PAPER = Form()
Kind = TypeVar("Kind")


def formed(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """A form from its arguments, which a file may hold as numbers. Raises UsageError for other ones."""
    usual = vars(kind())
    return kind(**{name: argument(name, usual[name], value) for name, value in values.items() if name in usual})


def generate(
    p: Parameters,
    z: NDArray,
    label: NDArray | None = None,
    *,
    resolution: int | None = None,
    alpha: float = 1.0,
    form: Form = PAPER,
) -> NDArray:
    """Images of a size, the largest by default."""
    sizes = resolutions(p, "")
    last = resolution or sizes[-1]
    features = dict(_features(p, z, label, form, last))
    image = _convolved(p, f"b{last}.torgb", features[last])
    if alpha != 1.0 and last > sizes[0]:
        before = _convolved(p, f"b{last // 2}.torgb", features[last // 2])
        image = alpha * image + (1 - alpha) * doubled(before, bilinear=form.bilinear)
    return np.tanh(image) if form.ends_in_tanh(last) else image


def _features(p: Parameters, z: NDArray, label: NDArray | None, form: Form, last: int) -> Iterator[tuple[int, NDArray]]:
    """What the to-RGB layer of each size sees, up to the last one that is wanted."""
    x = _input(p, z, label, form)
    for layer in ("b4.conv0", "b4.conv"):
        if f"{layer}.weight" in p:
            x = _activated(_convolved(p, layer, x), form)
    yield 4, x
    for size in resolutions(p, "")[1:]:
        if size > last:
            return
        x = _activated(_convolved(p, f"b{size}.conv0", doubled(x, bilinear=form.bilinear)), form)
        x = _activated(_convolved(p, f"b{size}.conv1", x), form)
        yield size, x


def _input(p: Parameters, z: NDArray, label: NDArray | None, form: Form) -> NDArray:
    x = _normalised(z, form) if form.latent_normalised else z
    if "b4.label.weight" in p and label is not None:
        x = np.concatenate([x, label @ p["b4.label.weight"]], axis=1)
    x = x @ p["b4.input.weight"].T
    x += p["b4.input.bias_map"] if "b4.input.bias_map" in p else p["b4.input.bias"].repeat(16)
    if form.input_whole:
        return _activated(x, form, normal=form.input_normalised).reshape(len(z), -1, 4, 4)
    return _activated(x.reshape(len(z), -1, 4, 4), form, normal=form.input_normalised)


def _activated(x: NDArray, form: Form, *, normal: bool | None = None) -> NDArray:
    if not (form.normalised if normal is None else normal):
        return leaky_relu(x, 1.0, form.slope)
    if form.norm_first:
        return leaky_relu(_normalised(x, form), 1.0, form.slope)
    return _normalised(leaky_relu(x, 1.0, form.slope), form)


def _normalised(x: NDArray, form: Form) -> NDArray:
    return normalised(x, form.eps, outside=form.eps_outside, by_deviation=form.by_deviation)


def _convolved(p: Parameters, layer: str, x: NDArray) -> NDArray:
    weight = p[f"{layer}.weight"]
    out: NDArray = correlate(x, weight, padding=weight.shape[2] // 2) + p[f"{layer}.bias"][:, None, None]
    return out
