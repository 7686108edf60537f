"""Taking a product apart: which factors a tensor is made of, and along which of its axes each of them varies.

A kernel that is computed for every sample is a product that was moved through reshapes and transpositions. Every axis
of the result gets labels, `n` and `o` for the first axis of (samples * out, in, k, k) and so on, and the labels are
followed backwards: Reshape distributes them anew, Transpose reorders them, broadcasting drops those of an axis of
length 1. What arrives at a factor says along which axes it varies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.onnx_export.improving.editing import Editor, attribute

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto

Axes = tuple[tuple[str, ...], ...]
_MAX_DEPTH = 64


@dataclass(frozen=True)
class Factor:
    """`name` is a value of the graph, `axes` the labels of each of its axes; an inverse factor divides."""

    name: str
    axes: Axes
    inverse: bool
    turned: frozenset[str]

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(label for axis in self.axes for label in axis)


@dataclass(frozen=True)
class Product:
    """A product, the length of every label, and what it is made of."""

    lengths: Mapping[str, int]
    constants: tuple[Factor, ...]
    computed: tuple[Factor, ...]

    def constant_part(self, editor: Editor, order: Sequence[str]) -> NDArray[np.float64] | None:
        """The product of the constants with one axis per label of `order`, of length 1 where nothing varies.

        None if a constant varies along a label that is not in `order`.
        """
        total = np.ones([1] * len(order))
        for factor in self.constants:
            value = self._arranged(editor, factor, order)
            if value is None:
                return None
            total = total / value if factor.inverse else total * value
        return total

    def _arranged(self, editor: Editor, factor: Factor, order: Sequence[str]) -> NDArray[np.float64] | None:
        stored = editor.constant(factor.name)
        assert stored is not None
        labels = [label for axis in factor.axes for label in axis]
        value = stored.astype(np.float64).reshape([self.lengths[label] for label in labels])
        for label in factor.turned & set(labels):
            value = np.flip(value, labels.index(label))
        for label in [label for label in labels if label not in order]:
            # A constant that was repeated for every sample: one of them is all of them.
            place = labels.index(label)
            first = value.take([0], place)
            if not np.array_equal(np.broadcast_to(first, value.shape), value):
                return None
            value = first.squeeze(place)
            labels.remove(label)
        value = value.transpose([labels.index(label) for label in order if label in labels])
        return value.reshape([self.lengths[label] if label in labels else 1 for label in order])


def product(editor: Editor, name: str, axes: Sequence[Sequence[str]], lengths: Mapping[str, int]) -> Product:
    """Take a value apart. `axes` says which labels each of its axes has."""
    kept = {label: length for label, length in lengths.items() if length > 1}
    start: Axes = tuple(tuple(label for label in axis if label in kept) for axis in axes)
    found = _Search(editor, kept).factors(Factor(name, start, False, frozenset()), _MAX_DEPTH)
    constants = tuple(factor for factor in found if editor.is_constant(factor.name))
    return Product(kept, constants, tuple(factor for factor in found if factor not in constants))


@dataclass
class _Search:
    editor: Editor
    lengths: Mapping[str, int]

    def factors(self, whole: Factor, depth: int) -> list[Factor]:
        """The factors of a value, itself if it is not made by anything that is understood."""
        node = self.editor.producers.get(whole.name)
        if node is None or self.editor.is_constant(whole.name) or depth == 0 or node.domain not in ("", "ai.onnx"):
            return [whole]
        if node.op_type in ("Mul", "Div"):
            sides = [self._broadcast(whole, name, node) for name in node.input]
            if None in sides:
                return [whole]
            left, right = (side for side in sides if side is not None)
            if node.op_type == "Div":
                right = Factor(right.name, right.axes, not right.inverse, right.turned)
            return self.factors(left, depth - 1) + self.factors(right, depth - 1)
        moved = self._moved(whole, node)
        return [whole] if moved is None else self.factors(moved, depth - 1)

    def _broadcast(self, whole: Factor, name: str, node: NodeProto) -> Factor | None:
        sizes = self.editor.sizes(name)
        if sizes is None or len(sizes) > len(whole.axes):
            return None
        behind = whole.axes[len(whole.axes) - len(sizes) :]
        axes = tuple(axis if size != 1 else () for axis, size in zip(behind, sizes, strict=True))
        return Factor(name, axes, whole.inverse, whole.turned)

    def _moved(self, whole: Factor, node: NodeProto) -> Factor | None:
        """The same factor before a node that moves elements only."""
        name, sizes = node.input[0], self.editor.sizes(node.input[0])
        axes: Axes | None = None
        turned = whole.turned
        if sizes is None:
            return None
        if node.op_type in ("Identity", "Cast"):
            axes = whole.axes
        elif node.op_type in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            axes = self._regrouped(whole.axes, sizes)
        elif node.op_type == "Transpose":
            order = attribute(node, "perm", list(reversed(range(len(sizes)))))
            axes = tuple(whole.axes[order.index(place)] for place in range(len(sizes)))
        elif node.op_type == "Expand":
            moved = self._broadcast(whole, name, node)
            axes = moved.axes if moved else None
        elif node.op_type == "Slice":
            reversed_axes = self._reversed(node, sizes)
            if reversed_axes is not None and all(len(whole.axes[axis]) <= 1 for axis in reversed_axes):
                axes = whole.axes
                turned = turned ^ {label for axis in reversed_axes for label in whole.axes[axis]}
        return None if axes is None else Factor(name, axes, whole.inverse, turned)

    def _regrouped(self, axes: Axes, sizes: tuple[int, ...]) -> Axes | None:
        """The labels, in their order, over axes of other lengths; None if a label would be cut in two."""
        labels = [label for axis in axes for label in axis]
        if math.prod(self.lengths[label] for label in labels) != math.prod(sizes):
            return None  # An axis along which nothing varies is longer than 1: it was broadcast.
        groups: list[tuple[str, ...]] = []
        for size in sizes:
            group: list[str] = []
            while labels and math.prod(self.lengths[label] for label in group) < size:
                group.append(labels.pop(0))
            if math.prod(self.lengths[label] for label in group) != size:
                return None
            groups.append(tuple(group))
        return tuple(groups)

    def _reversed(self, node: NodeProto, sizes: tuple[int, ...]) -> list[int] | None:
        """The axes that a Slice turns round, if that is all it does."""
        parts: list[Any] = [self.editor.constant(name) for name in node.input[1:]]
        if len(parts) != 4 or any(part is None for part in parts):
            return None
        found = []
        for start, end, axis, step in zip(*(part.tolist() for part in parts), strict=True):
            size = sizes[axis]
            if step == 1 and start in (0, -size) and end >= size:
                continue
            if step != -1 or start not in (-1, size - 1) or end > -size - 1:
                return None
            found.append(axis % len(sizes))
        return found
