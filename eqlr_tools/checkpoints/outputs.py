"""What the writers write: a tree whose leaves are `Output`s, and how it is flattened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME, DType
from eqlr_tools.checkpoints.fingerprints import BLOCK_BYTES
from eqlr_tools.checkpoints.sources import MemorySource
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.checkpoints.trees import Path, dotted

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Transform(Protocol):
    """Arithmetic on a block of bit patterns. Equal transforms do equal arithmetic."""

    def __call__(self, bits: NDArray, dtype: DType) -> NDArray: ...


@dataclass(frozen=True, eq=False)
class Output:
    """One tensor to be written: where its bits come from and what happens to them on the way."""

    tensor: Tensor
    transform: Transform | None = None

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def nbytes(self) -> int:
        return self.tensor.nbytes

    def blocks(self, span: tuple[int, int] | None = None) -> Iterator[NDArray]:
        for block in self.tensor.blocks(BLOCK_BYTES, span):
            yield self.transform(block, self.dtype) if self.transform else block

    def is_alias_of(self, other: Output) -> bool:
        """True when both are the same view of the same storage, treated alike."""
        mine, theirs = self.tensor, other.tensor
        return (
            mine.storage is theirs.storage
            and (mine.dtype, mine.shape, mine.strides, mine.offset)
            == (theirs.dtype, theirs.shape, theirs.strides, theirs.offset)
            and self.transform == other.transform
        )


def aliases_among(outputs: dict[str, Output]) -> dict[str, str]:
    """The names that are one tensor with an earlier name, and that name."""
    seen: dict[int, list[tuple[str, Output]]] = {}
    aliases = {}
    for name, output in outputs.items():
        group = seen.setdefault(id(output.tensor.storage), [])
        first = next((other for other, candidate in group if output.is_alias_of(candidate)), None)
        if first is not None:
            aliases[name] = first
        group.append((name, output))
    return aliases


def constant_tensor(values: NDArray, dtype_name: str) -> Tensor:
    """A tensor that is in no file yet, such as a scale."""
    dtype = BY_NAME[dtype_name]
    data = np.ascontiguousarray(dtype.bits(values)).tobytes()
    shape = tuple(values.shape)
    return Tensor(Storage(MemorySource("new tensor", data), 0, len(data)), dtype, shape, contiguous_strides(shape))


def flatten(tree: Any, sole_network: Path) -> dict[str, Output]:
    """Flat names for all outputs of a tree: dotted paths, less the wrapper of the only network."""
    flat: dict[str, Output] = {}
    for path, leaf in leaves(tree):
        flat[flat_name(path, sole_network)] = leaf
    return flat


def flat_name(path: Path, sole_network: Path) -> str:
    """The name of a tree path in a flat container."""
    if sole_network and path[: len(sole_network)] == sole_network:
        path = path[len(sole_network) :]
    return dotted(path)


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Output]]:
    """All outputs of a tree with their paths, in order. Shared containers are visited through every path."""
    if isinstance(tree, Output):
        yield path, tree
    elif isinstance(tree, dict):
        for key, child in tree.items():
            yield from leaves(child, (*path, key))
    elif isinstance(tree, list | tuple):
        for index, child in enumerate(tree):
            yield from leaves(child, (*path, index))
