"""The discriminators of ProGAN and BMSG-GAN as ONNX graphs, from `networks/progan_discriminator.py`.

A convolution whose result is averaged over 2x2 pixels before the activation is one convolution of stride 2 whose 4x4
kernel is the mean of four shifted copies: 16 multiplications per pixel of the result instead of 36.

BMSG-GAN's takes the image at every size: `image` is the largest, `image_4`, `image_8` and so on are the others.

In half precision the convolutions above 4x4 pixels run in fp16, and what follows in single: the deviation within the
batch is a small difference of squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.progan import formed
from eqlr_tools.networks.progan_discriminator import PAPER, Form, deviation_place, discriminate, discriminate_all
from eqlr_tools.networks.stylegan2 import resolutions
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.deviation import with_deviation
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Options, Precision
from eqlr_tools.onnx_export.pieces import dense, leaky_relu, mean_kernel, normalised
from eqlr_tools.onnx_export.progan import chosen_size, faded, require_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork


@dataclass(frozen=True)
class ProGANDiscriminator:
    """`parameters` are canonical and effective; `multiscale` is BMSG-GAN's, which sees every size."""

    parameters: Mapping[str, NDArray]
    resolution: int
    alpha: float = 1.0
    form: Form = PAPER
    multiscale: bool = False
    mixes_samples = True

    @property
    def sizes(self) -> list[int]:
        """The sizes up to the wanted one."""
        return [size for size in resolutions(self.parameters, "") if size <= self.resolution]

    @property
    def inputs(self) -> dict[int, str]:
        """The name of the input for each size that is seen."""
        smaller = reversed(self.sizes[:-1]) if self.multiscale else ()
        return {self.resolution: "image", **{size: f"image_{size}" for size in smaller}}

    @property
    def facts(self) -> dict[str, Fact]:
        p = self.parameters
        widths = [f"{size}:{p[f'b{size}.conv0.weight'].shape[1]}" for size in self.sizes[1:]]
        return {
            "resolution": self.resolution,
            "image channels": p[f"b{self.resolution}.fromrgb.weight"].shape[1],
            "channels": " ".join([f"4:{p['b4.fc.weight'].shape[1] // 16}", *widths]),
            "alpha": self.alpha,
        }

    def half_weights(self) -> dict[str, NDArray]:
        """The weights of the blocks above 4x4 pixels, by layer."""
        wanted = [f"b{size}.conv{n}" for size in self.sizes[1:] for n in (0, 1)]
        return {layer: self.parameters[f"{layer}.weight"] for layer in wanted}

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        if self.multiscale:
            images = {size: inputs[name] for size, name in self.inputs.items()}
            return {"logits": discriminate_all(self.parameters, images, form=self.form)}
        where = {"resolution": self.resolution, "alpha": self.alpha, "form": self.form}
        return {"logits": discriminate(self.parameters, inputs["image"], **where)}  # type: ignore[arg-type]

    def graphs(self, options: Options) -> dict[str, Graph]:
        """One graph, from `image` to `logits`. Raises UsageError for what only generators have."""
        if options.split or options.latent is not Latent.z or options.image is not Image.float:
            raise UsageError("--split, --input and --image are about generators; this network is a discriminator")
        graph = Graph("discriminator", options.opset)
        _Emitter(graph, self, options).emit()
        return {"discriminator": graph}


class _Emitter:
    """Emits the layers one after the other; values between layers are in single precision."""

    def __init__(self, graph: Graph, network: ProGANDiscriminator, options: Options) -> None:
        self.graph, self.network, self.options = graph, network, options
        self.p, self.form = network.parameters, network.form

    def emit(self) -> None:
        graph, network = self.graph, self.network
        images = {size: self._image(size, name) for size, name in network.inputs.items()}
        top = network.resolution
        x = self._from_rgb(images[top], top)
        for size in reversed(network.sizes[1:]):
            x = self._block(x, size)
            if network.multiscale:
                beside = self._from_rgb(images[size // 2], size // 2)
                x = graph.node("Concat", [beside, x], f"b{size // 2}/beside", axis=1)
            elif size == top and network.alpha != 1.0:
                small = graph.node("AveragePool", [images[top]], "fade/halved", **_POOL)
                x = faded(graph, x, self._from_rgb(small, top // 2), network.alpha)
        self._scores(x, images[top])

    def _image(self, size: int, name: str) -> str:
        return self.graph.input(name, [BATCH, self.p[f"b{size}.fromrgb.weight"].shape[1], size, size])

    def _from_rgb(self, image: str, size: int) -> str:
        x = self._conv(image, f"b{size}.fromrgb")
        return leaky_relu(self.graph, x, f"b{size}.fromrgb", self.form.slope) if self.form.rgb_activated else x

    def _block(self, x: str, size: int) -> str:
        first, second = f"b{size}.conv0", f"b{size}.conv1"
        x = self._activated(self._conv(x, first), first)
        if self.form.pool_first:
            return self._activated(self._pooled_conv(x, second), second)
        x = self._activated(self._conv(x, second), second)
        return self.graph.node("AveragePool", [x], f"b{size}/halved", **_POOL)

    def _activated(self, x: str, layer: str) -> str:
        x = normalised(self.graph, x, f"{layer}/normalise") if self.form.normalised else x
        return leaky_relu(self.graph, x, layer, self.form.slope)

    def _conv(self, x: str, layer: str) -> str:
        weight = self.p[f"{layer}.weight"]
        return self._product(x, layer, weight, pads=[weight.shape[2] // 2] * 4)

    def _pooled_conv(self, x: str, layer: str) -> str:
        kernel = mean_kernel(self.p[f"{layer}.weight"])
        return self._product(x, layer, kernel, pads=[1] * 4, strides=[2, 2])

    def _product(self, x: str, layer: str, weight: NDArray, **attributes: list[int]) -> str:
        graph, bias = self.graph, self.p[f"{layer}.bias"]
        half = self.options.precision is not Precision.fp32 and layer not in self.options.keep_fp32
        half = half and not layer.startswith("b4.") and not layer.endswith("fromrgb")
        kind = self.options.half_type if half else np.dtype(np.float32)
        with graph.computing_in(kind):
            stored = [graph.constant(f"{layer}.weight", weight), graph.constant(f"{layer}.bias", bias)]
            x = graph.cast(x, kind, f"{layer}/half") if half else x
            x = graph.node("Conv", [x, *stored], f"{layer}/conv", **attributes)
        return graph.cast(x, np.float32, f"{layer}/single") if half else x

    def _scores(self, x: str, image: str) -> None:
        graph, place = self.graph, deviation_place(self.p)
        seen = image if self.form.of_image else ""
        if place == "b4.conv":
            x = with_deviation(graph, x, seen or x, self.form)
        if "b4.conv.weight" in self.p:
            x = self._activated(self._conv(x, "b4.conv"), "b4.conv")
        if place == "b4.fc":
            x = with_deviation(graph, x, seen or x, self.form)
        flat = graph.node("Flatten", [x], "b4/flatten", axis=1)
        hidden = dense(graph, flat, self.p["b4.fc.weight"], self.p["b4.fc.bias"], "b4.fc")
        hidden = self._activated(hidden, "b4.fc")
        logits = dense(graph, hidden, self.p["b4.out.weight"], self.p["b4.out.bias"], "b4.out")
        graph.output(logits, "logits", [BATCH, len(self.p["b4.out.bias"])])


_POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The discriminator at a size."""
    require_whole(canonical)
    form = formed(Form, canonical.form)
    size = chosen_size(canonical, choices, "fromrgb", form.faded)
    return Made(ProGANDiscriminator(_parameters(canonical), size.resolution, size.alpha, form), notes=size.notes)


def made_multiscale(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """BMSG-GAN's discriminator, which has no size but the largest. Raises UsageError for another one."""
    require_whole(canonical)
    parameters = _parameters(canonical)
    largest = resolutions(parameters, "")[-1]
    if choices.alpha is not None or choices.resolution not in (None, largest):
        raise UsageError("a discriminator of BMSG-GAN sees all sizes at once: no --resolution or --alpha")
    network = ProGANDiscriminator(parameters, largest, 1.0, formed(Form, canonical.form), multiscale=True)
    return Made(network, notes=("its inputs are the image at every size, each half the size of the one before",))


def _parameters(canonical: CanonicalNetwork) -> dict[str, NDArray]:
    unused = ("lod", "every_size", "b4.unused.weight", "b4.unused.bias")
    return {name: canonical.values(name) for name in canonical.parts if name not in unused}
