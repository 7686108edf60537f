"""Many tensors examined, by one process or several: the same pieces and the same answers either way.

A tensor of up to `PIECE` elements is one task. A larger one is counted in pieces, whose counts add up, and is looked at
again where counting was not enough when they are complete. The biggest tasks come first, so that none is left at the
end that all processes but one have to wait for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from eqlr_tools.checkpoints.memory import keep_freed_memory
from eqlr_tools.checkpoints.sources import survives_fork
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.counters import count_tensor
from eqlr_tools.ranges.counting import Counts
from eqlr_tools.ranges.examining import Question, examine
from eqlr_tools.ranges.fast import load
from eqlr_tools.ranges.statistics import Statistics

PIECE = 1 << 23

_PARALLEL_FROM_BYTES = 1 << 26
"""Below 64 MiB starting processes costs more than they save."""

_BYTES_OF_A_TENSOR = 1 << 16
"""Whatever its size, the figures of a tensor take as long as counting so much."""

_Piece = tuple[int, tuple[int, int] | None]


@dataclass(frozen=True)
class Subject:
    """A tensor, and what is asked about it."""

    tensor: Tensor
    question: Question


def examine_all(
    subjects: Sequence[Subject],
    progress: Callable[[int], None] = lambda _: None,
    jobs: int | None = None,
    *,
    accelerated: bool = True,
) -> list[list[Statistics]]:
    """Examine every subject; `progress` gets bytes done. `jobs` processes at most, by default as many as pay.

    `accelerated` False leaves numba alone, also where it is installed.
    """
    keep_freed_memory()
    tensors = [subject.tensor for subject in subjects]
    nbytes = sum(tensor.nbytes for tensor in tensors)
    loops = load(nbytes, {tensor.dtype for tensor in tensors}) if accelerated else None
    pieces = _pieces(subjects)
    open_pieces = Counter(index for index, _ in pieces)
    counts: dict[int, Counts] = {}
    results: dict[int, list[Statistics]] = {}

    def work(piece: _Piece) -> Counts | list[Statistics]:
        index, span = piece
        subject = subjects[index]
        if span is None:
            return examine(subject.tensor, subject.question, loops=loops)
        question = subject.question
        return count_tensor(subject.tensor, question.scale, question.channels, span, loops)

    for index, span, answer in _answers(work, pieces, _jobs(subjects, jobs)):
        subject = subjects[index]
        progress(_size((index, span), subjects) * subject.tensor.dtype.itemsize)
        if isinstance(answer, Counts):
            counts[index] = counts[index] + answer if index in counts else answer
            open_pieces[index] -= 1
            if open_pieces[index] == 0:
                results[index] = examine(subject.tensor, subject.question, counts.pop(index))
        else:
            results[index] = answer
    return [results[index] for index in range(len(subjects))]


def _answers(
    work: Callable[[_Piece], Counts | list[Statistics]], pieces: list[_Piece], jobs: int
) -> Iterator[tuple[int, tuple[int, int] | None, Counts | list[Statistics]]]:
    if jobs == 1:
        for index, span in pieces:
            yield index, span, work((index, span))
        return
    from eqlr_tools.ranges.workers import spread_over

    for place, answer in spread_over(work, pieces, jobs):
        yield *pieces[place], answer


def _jobs(subjects: Sequence[Subject], wanted: int | None) -> int:
    work = sum(subject.tensor.nbytes + _BYTES_OF_A_TENSOR for subject in subjects)
    if wanted == 1 or (wanted is None and work < _PARALLEL_FROM_BYTES):
        return 1
    from eqlr_tools.ranges.workers import available_cpus, can_fork

    shareable = can_fork() and all(survives_fork(subject.tensor.storage.source) for subject in subjects)
    return (wanted or available_cpus()) if shareable else 1


def _pieces(subjects: Sequence[Subject]) -> list[_Piece]:
    pieces: list[_Piece] = []
    for index, subject in enumerate(subjects):
        numel = subject.tensor.numel
        if numel <= PIECE or not subject.tensor.is_contiguous:
            pieces.append((index, None))
        else:
            pieces += [(index, (first, min(first + PIECE, numel))) for first in range(0, numel, PIECE)]
    return sorted(pieces, key=lambda piece: -_size(piece, subjects))


def _size(piece: _Piece, subjects: Sequence[Subject]) -> int:
    index, span = piece
    return subjects[index].tensor.numel if span is None else span[1] - span[0]
