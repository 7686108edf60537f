"""The audit of one large checkpoint, cut into calls for many workers: ranges of layers, and spans of large tensors.

Every worker opens the checkpoint itself, which reads headers only, and finds the layers in the same order. Counts of
spans are added up as they arrive; what has to be looked at again then is one more call.
"""

from __future__ import annotations

from collections.abc import Sequence

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import UnreadableError
from eqlr_tools.fleet.tasks import Call, Record, stamp_of
from eqlr_tools.ranges.audit import LayerRange, layer_range, network_ranges, subject_of, wanted_layers
from eqlr_tools.ranges.counters import count_tensor
from eqlr_tools.ranges.counting import Counts
from eqlr_tools.ranges.examining import examine
from eqlr_tools.ranges.pieces import PIECE
from eqlr_tools.ranges.training import Training, training_of
from eqlr_tools.reports.audit import audit_json
from eqlr_tools.rewriting.selection import Selection, recognise_all, refuse_undecided

LARGE_BYTES = 1 << 28
"""Checkpoints from 256 MiB on are cut: below that, sending the work around costs more than it saves."""

Span = tuple[int, int]


class Audited:
    """A checkpoint as one worker sees it: its wanted layers in a fixed order."""

    def __init__(self, path: str, stamp: str | None, chosen: Selection, exact_quantiles: bool) -> None:
        if stamp_of(path) != stamp:
            raise UnreadableError(f"{path}: changed while it was audited", hint="audit it again when it is complete")
        self.checkpoint = open_checkpoint(path)
        self.recognitions = recognise_all(self.checkpoint, chosen)
        refuse_undecided(self.checkpoint, self.recognitions)
        self.training: Training = training_of(self.checkpoint)
        self.exact_quantiles = exact_quantiles
        self.layers = wanted_layers(self.recognitions, chosen.wants)

    def range_of(self, place: int, counts: Counts | None = None) -> LayerRange:
        """The range of a layer; `counts` are those of its weight, if they are known."""
        recognition, layer = self.layers[place]
        subject = subject_of(recognition, layer, exact_quantiles=self.exact_quantiles)
        return layer_range(recognition, layer, examine(subject.tensor, subject.question, counts), self.training)

    def count(self, place: int, span: Span) -> Counts:
        subject = subject_of(*self.layers[place])
        return count_tensor(subject.tensor, subject.question.scale, subject.question.channels, span)


Address = tuple[str, str | None, Selection, bool]
"""What `Audited` is made from, and all that travels to a worker."""


_opened: list[tuple[Address, Audited]] = []
"""The checkpoint that this worker had last: a worker gets many calls about the same one."""


def _audited(address: Address) -> Audited:
    for known, audited in _opened:
        if known == address:
            return audited
    audited = Audited(*address)
    _opened[:] = [(address, audited)]
    return audited


def ranges_of(address: Address, places: Sequence[int]) -> list[LayerRange]:
    """The ranges of whole layers."""
    audited = _audited(address)
    return [audited.range_of(place) for place in places]


def counts_of(address: Address, place: int, span: Span) -> Counts:
    """The counts of a part of a layer's weight."""
    return _audited(address).count(place, span)


def range_from(address: Address, place: int, counts: Counts) -> LayerRange:
    """The range of a layer that has been counted."""
    return _audited(address).range_of(place, counts)


class AuditInPieces:
    """The audit as calls. Tensors are cut where one process cuts them, too, so that sums agree to the bit."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._audited = Audited(*address)
        self._ranges: dict[int, LayerRange] = {}
        self._counts: dict[int, Counts] = {}
        self._open_spans: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """Bytes that the audit reads."""
        return sum(recognition.network.tensors[layer.weight].nbytes for recognition, layer in self._audited.layers)

    def first(self) -> list[Call]:
        """Spans of the tensors that are larger than a piece, then the other layers, several to a call."""
        calls: list[Call] = []
        group: list[int] = []
        elements = 0
        for place, (recognition, layer) in enumerate(self._audited.layers):
            tensor = recognition.network.tensors[layer.weight]
            if tensor.numel > PIECE and tensor.is_contiguous:
                firsts = range(0, tensor.numel, PIECE)
                self._open_spans[place] = len(firsts)
                spans = [(first, min(first + PIECE, tensor.numel)) for first in firsts]
                calls[:0] = [Call(counts_of, (self._address, place, span)) for span in spans]
                continue
            if group and elements + tensor.numel > PIECE:
                calls.append(Call(ranges_of, (self._address, tuple(group))))
                group, elements = [], 0
            group.append(place)
            elements += tensor.numel
        return [*calls, Call(ranges_of, (self._address, tuple(group)))] if group else calls

    def take(self, call: Call, answer: list[LayerRange] | LayerRange | Counts) -> list[Call]:
        """Keep an answer. When the last span of a tensor is in, its counts are looked at once more."""
        if isinstance(answer, Counts):
            place = call.arguments[1]
            self._counts[place] = self._counts[place] + answer if place in self._counts else answer
            self._open_spans[place] -= 1
            if self._open_spans[place]:
                return []
            return [Call(range_from, (self._address, place, self._counts.pop(place)))]
        if isinstance(answer, LayerRange):
            self._ranges[call.arguments[1]] = answer
        else:
            self._ranges |= dict(zip(call.arguments[1], answer, strict=True))
        return []

    def content(self) -> Record:
        """What `audit_work` has as a record's content."""
        audited = self._audited
        ranges = [self._ranges[place] for place in range(len(audited.layers))]
        networks = network_ranges(audited.recognitions, audited.layers, ranges)
        return {"networks": audit_json([(audited.checkpoint.path, networks)])["files"][0]["networks"]}


def audit_in_pieces(path: str, chosen: Selection, exact_quantiles: bool) -> AuditInPieces | None:
    """The audit of a checkpoint in pieces, if it is large enough. An index is small, and its shards may be large."""
    stamp = stamp_of(path)
    if stamp is None or not (path.endswith(".json") or int(stamp.partition(":")[0]) >= LARGE_BYTES):
        return None
    pieces = AuditInPieces((path, stamp, chosen, exact_quantiles))
    return pieces if pieces.nbytes >= LARGE_BYTES else None
