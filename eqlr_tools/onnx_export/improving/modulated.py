"""Convolutions whose kernels are made for every sample become convolutions with constant kernels.

As published, StyleGAN2 multiplies its kernels by a sample's style and divides them by their norm, and a batch becomes
one convolution whose number of groups is the batch. Of such kernels

    K_noikl = W_oikl s_ni d_no        W constant, s and d of any origin

the convolution is linear in both s and d, and `W` is all that has to be its weight:

    K_n * x_n  =  d_n (W * (s_n x_n))

The norm in d needs no kernels either: sum_ikl K_noikl^2 = sum_i s_ni^2 sum_kl W_oikl^2, a product of matrices. Where
a kernel of one pixel makes a few channels (to RGB), modulating it costs less than modulating the image.

In half precision s is divided by its largest magnitude per sample and W per output channel by
max|W_o| sqrt(fan_in), and d multiplied by both, in single precision: see `onnx_export/modulation.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.onnx_export.improving.editing import Editor, attribute
from eqlr_tools.onnx_export.improving.factors import Factor, Product, product

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto

_KERNEL = ("n", "o", "i", "k", "l")
_FEW_CHANNELS = 4
_REDUCTIONS = ("ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceMean")


@dataclass(frozen=True)
class Modulated:
    """A convolution that got a constant weight, or became a product of matrices, and the weight's shape."""

    name: str
    operator: str
    became: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Left:
    """A convolution that keeps its computed weight, and why."""

    name: str
    operator: str
    reason: str


def constant_norms(editor: Editor) -> int:
    """Let the norms of modulated kernels be computed from styles and constants. Returns how many there were."""
    count = sum(_norm(editor, node) for node in list(editor.graph.node) if node.op_type in _REDUCTIONS)
    editor.finish()
    return count


def constant_kernels(editor: Editor, *, prenormalise: bool) -> tuple[list[Modulated], list[Left]]:
    """Rewrite every convolution with a computed weight that is understood."""
    done: list[Modulated] = []
    left: list[Left] = []
    for node in list(editor.graph.node):
        if node.op_type not in ("Conv", "ConvTranspose") or editor.is_constant(node.input[1]):
            continue
        found = _Rewriter(editor, node, prenormalise).run()
        (done if isinstance(found, Modulated) else left).append(found)  # type: ignore[arg-type]
    editor.finish()
    return done, left


def _norm(editor: Editor, node: NodeProto) -> bool:
    """Sums of squares over all that one output channel of a kernel has."""
    squared = node.input[0]
    if node.op_type in ("ReduceSum", "ReduceMean"):
        inner = _square_root_of(editor, squared)
        if inner is None:
            return False
        squared = inner
    sizes, axes = editor.sizes(squared), _reduced(editor, node)
    if sizes is None or axes is None or len(sizes) < 4:
        return False
    labels = [f"a{axis}" for axis in range(len(sizes))]
    whole = product(editor, squared, [[label] for label in labels], dict(zip(labels, sizes, strict=True)))
    over = {labels[axis] for axis in axes}
    style, rest = _style_labels(whole, over)
    if style is None or not whole.constants:
        return False
    order = [*sorted(rest), style, *sorted(over - {style})]
    weights = whole.constant_part(editor, order)
    if weights is None:
        return False
    lengths = {label: sizes[int(label[1:])] for label in labels}
    weights = np.broadcast_to(weights, [lengths[label] for label in order])
    squares = np.square(weights).reshape(math.prod(lengths[label] for label in rest), lengths[style], -1).sum(axis=2)
    if node.op_type == "ReduceMean":
        squares = squares / math.prod(lengths[label] for label in over)
    name, kind = node.name or node.output[0], editor.element_type(node.output[0])
    values = None
    for factor in whole.computed:
        flat = editor.reshape(factor.name, [-1, lengths[style]], f"{name}/style")
        power = editor.add("Mul", [flat, flat], f"{name}/style_squared")
        if factor.inverse:
            power = editor.add("Reciprocal", [power], f"{name}/inverse")
        values = power if values is None else editor.add("Mul", [values, power], f"{name}/product")
    assert values is not None
    total = editor.add("MatMul", [values, editor.add_constant(f"{name}/squares", squares.T, kind)], f"{name}/power")
    if node.op_type == "ReduceL2":
        total = editor.add("Sqrt", [total], f"{name}/norm")
    shape = [-1, *(editor.sizes(node.output[0]) or ())[1:]]  # Its first axis has the samples: their number is free.
    editor.replace(node.output[0], editor.reshape(total, shape, f"{name}/as_before"))
    return True


def _style_labels(whole: Product, over: set[str]) -> tuple[str | None, set[str]]:
    """The label along which the style varies, and the labels of output channels; None if it is another thing."""
    seen = [factor.labels for factor in whole.computed]
    channels = {label for labels in seen for label in labels & over}
    samples = {label for labels in seen for label in labels - over}
    rest = {label for factor in whole.constants for label in factor.labels} - over - samples
    if len(channels) != 1 or len(samples) > 1 or not all(labels & over for labels in seen):
        return None, set()
    return channels.pop(), rest


def _square_root_of(editor: Editor, name: str) -> str | None:
    """x, where the value is x * x or x to the power of 2."""
    node = editor.producers.get(name)
    if node is None:
        return None
    if node.op_type == "Mul" and node.input[0] == node.input[1]:
        return str(node.input[0])
    exponent = editor.constant(node.input[1]) if node.op_type == "Pow" else None
    return str(node.input[0]) if exponent is not None and exponent.size == 1 and float(exponent.flat[0]) == 2 else None


def _reduced(editor: Editor, node: NodeProto) -> list[int] | None:
    rank = len(editor.shape(node.input[0]) or ())
    listed = attribute(node, "axes")
    if listed is None and len(node.input) > 1:
        constant = editor.constant(node.input[1])
        listed = None if constant is None else constant.tolist()
    return None if not listed else [axis % rank for axis in listed]


class _Rewriter:
    """One convolution. `transposed` kernels are (in, out, k, k)."""

    def __init__(self, editor: Editor, node: NodeProto, prenormalise: bool) -> None:
        self.editor, self.node, self.prenormalise = editor, node, prenormalise
        self.name = node.name or node.output[0]
        self.transposed = node.op_type == "ConvTranspose"
        self.samples = int(attribute(node, "group", 1))
        self.kind = editor.element_type(node.output[0])

    def run(self) -> Modulated | Left:
        editor, node = self.editor, self.node
        image, kernel = editor.sizes(node.input[0]), editor.sizes(node.input[1])
        if image is None or kernel is None or len(kernel) != 4 or image[0] != 1:
            return self._left("sizes that are not known, or no batch of one")
        if len(node.input) > 2 and node.input[2]:
            return self._left("a bias besides its computed weight")
        first = ("n", "i") if self.transposed else ("n", "o")
        second = "o" if self.transposed else "i"
        lengths = dict(
            zip((*first, second, "k", "l"), (self.samples, kernel[0] // self.samples, *kernel[1:]), strict=True)
        )
        whole = product(editor, node.input[1], [first, (second,), ("k",), ("l",)], lengths)
        styles = [factor for factor in whole.computed if not factor.labels <= {"n", "o"}]
        norms = [factor for factor in whole.computed if factor not in styles]
        for factor in whole.computed:
            if not (factor.labels <= {"n", "i"} or factor.labels <= {"n", "o"}):
                made_by = editor.producers.get(factor.name)
                operator = made_by.op_type if made_by is not None else "an input of the model"
                return self._left(f"a kernel that comes from {operator}, not a constant times styles")
        weight = whole.constant_part(editor, _KERNEL[1:])
        if weight is None or not whole.constants or not whole.computed:
            return self._left("a kernel with no constant part")
        weight = np.array(np.broadcast_to(weight, [lengths[label] for label in _KERNEL[1:]]))
        self._emit(weight, styles, norms, (image[1] // self.samples, *image[2:]))
        became = (
            "a product of matrices" if styles and self._is_colour(weight) else f"a {node.op_type} of constant weight"
        )
        return Modulated(self.name, node.op_type, became, weight.shape)

    def _left(self, reason: str) -> Left:
        return Left(self.name, self.node.op_type, reason)

    def _emit(self, weight: NDArray, styles: list[Factor], norms: list[Factor], image: tuple[int, ...]) -> None:
        editor, name = self.editor, self.name
        out, into, height, width = weight.shape
        x = self._image(image)
        style = self._combined(styles, into, "style")
        if self._is_colour(weight) and style is not None:
            y = self._colour(x, style, weight, image)
        else:
            if style is not None and self.prenormalise:
                norms_of_weight = np.maximum(
                    np.abs(weight).max(axis=(1, 2, 3)) * math.sqrt(into * height * width), 1e-15
                )
                weight = weight / norms_of_weight[:, None, None, None]
                style, scale = self._prenormalised(style, into, norms_of_weight)
            else:
                scale = None
            if style is not None:
                x = editor.add("Mul", [x, style], f"{name}/modulate")
            y = self._convolved(x, weight)
            if scale is not None:
                y = self._scaled(y, norms, out, scale)
                norms = []
        demodulation = self._combined(norms, out, "demodulation")
        if demodulation is not None:
            y = editor.add("Mul", [y, demodulation], f"{name}/demodulate")
        self._hand_on(y, out)

    def _scaled(self, y: str, norms: list[Factor], out: int, scale: str) -> str:
        demodulation = self._combined(norms, out, "demodulation")
        if demodulation is not None:
            scale = self.editor.add("Mul", [demodulation, scale], f"{self.name}/demodulation_scaled")
        return self.editor.add("Mul", [y, scale], f"{self.name}/demodulate")

    def _prenormalised(self, style: str, channels: int, norms: NDArray) -> tuple[str, str]:
        """The style divided by its largest magnitude, and what that and the weight's division have to be undone by."""
        editor, name = self.editor, self.name
        # (samples, in, 1, 1) as (samples, 1, in, 1): pooling finds the largest in every opset and keeps the samples.
        row = editor.reshape(editor.add("Abs", [style], f"{name}/abs"), [-1, 1, channels, 1], f"{name}/style_row")
        largest = editor.add("GlobalMaxPool", [row], f"{name}/max")
        smallest = editor.add_constant(f"{name}/smallest", np.array(1e-15), self.kind)
        largest = editor.add("Max", [largest, smallest], f"{name}/largest_style")
        small = editor.add("Div", [style, largest], f"{name}/normalised_style")
        back = editor.add_constant(f"{name}/weight_norms", norms[None, :, None, None], self.kind)
        return small, editor.add("Mul", [largest, back], f"{name}/undo")

    def _is_colour(self, weight: NDArray) -> bool:
        plain = all(int(stride) == 1 for stride in attribute(self.node, "strides", [1, 1]))
        unpadded = not any(attribute(self.node, "pads", [0]))
        return (
            weight.shape[0] <= _FEW_CHANNELS
            and weight.shape[2:] == (1, 1)
            and plain
            and unpadded
            and not self.transposed
        )

    def _colour(self, x: str, style: str, weight: NDArray, image: tuple[int, ...]) -> str:
        editor, name = self.editor, self.name
        out, into = weight.shape[:2]
        row = editor.reshape(style, [-1, 1, into], f"{name}/style_row")
        kernel = editor.add(
            "Mul", [row, editor.add_constant(f"{name}/weight", weight[:, :, 0, 0], self.kind)], f"{name}/modulate"
        )
        pixels = editor.reshape(x, [-1, into, image[1] * image[2]], f"{name}/pixels")
        colour = editor.add("MatMul", [kernel, pixels], f"{name}/matmul")
        return editor.reshape(colour, [-1, out, *image[1:]], f"{name}/image")

    def _convolved(self, x: str, weight: NDArray) -> str:
        editor, name = self.editor, self.name
        stored = weight.transpose(1, 0, 2, 3) if self.transposed else weight
        kept = [entry for entry in self.node.attribute if entry.name != "group"]
        y = editor.add(self.node.op_type, [x, editor.add_constant(f"{name}/weight", stored, self.kind)], f"{name}/conv")
        editor.producers[y].attribute.extend(kept)
        return y

    def _image(self, image: tuple[int, ...]) -> str:
        """The input with one sample per row: what was there before samples were laid side by side, if it is known."""
        editor, name = self.editor, self.node.input[0]
        constant = editor.constant(name)
        if constant is not None:
            rows = constant.reshape(self.samples, *image)
            if np.array_equal(np.broadcast_to(rows[:1], rows.shape), rows):
                return editor.add_constant(f"{self.name}/image", rows[:1])
        node = editor.producers.get(name)
        if node is not None and node.op_type == "Reshape":
            name = str(node.input[0])
        same = editor.sizes(name) == (self.samples, *image)
        return name if same else editor.reshape(name, [-1, *image], f"{self.name}/image")

    def _hand_on(self, y: str, out: int) -> None:
        """To a Reshape as it is, which takes the same elements in the same order; to others side by side as before."""
        editor, old = self.editor, self.node.output[0]
        sizes = editor.sizes(old)
        assert sizes is not None
        if self.samples > 1 and old not in editor.outputs:
            for user in [user for user in editor.users.get(old, []) if user.op_type == "Reshape"]:
                target = editor.sizes(user.output[0])
                if target == (self.samples, out, *sizes[2:]):
                    editor.replace(user.output[0], y)
                elif target is not None:
                    editor.replace(user.output[0], editor.reshape(y, target, f"{user.name or user.output[0]}/again"))
        if self.samples == 1:
            editor.replace(old, y)
        else:
            editor.replace(old, editor.reshape(y, [1, *sizes[1:]], f"{self.name}/side_by_side"))

    def _combined(self, factors: list[Factor], channels: int, what: str) -> str | None:
        """The product of factors as (samples, channels, 1, 1)."""
        editor, result = self.editor, None
        for factor in factors:
            value = factor.name
            if editor.element_type(value) != self.kind:
                value = editor.add("Cast", [value], f"{self.name}/{what}_cast", to=self.kind)
            value = editor.reshape(
                value, [-1, channels if factor.labels & {"i", "o"} else 1, 1, 1], f"{self.name}/{what}"
            )
            if factor.inverse:
                value = editor.add("Reciprocal", [value], f"{self.name}/{what}_inverse")
            result = value if result is None else editor.add("Mul", [result, value], f"{self.name}/{what}_product")
        return result
