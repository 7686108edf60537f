"""The report of `eqlr diff`: per layer, its size in every snapshot and how far it moved, the farthest first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from eqlr_tools.ranges.audit import LayerRange
from eqlr_tools.reports.baseline import Json
from eqlr_tools.reports.fields import change
from eqlr_tools.reports.report import Cell, Column, Report, Table, figure, finite, plain
from eqlr_tools.reports.run_page import run_page
from eqlr_tools.reports.sparklines import trend
from eqlr_tools.rewriting.movement import Movement, Run, Track

SCHEMA = "eqlr.diff/1"

_BARS = 24
_MEASURED = ("rms", "abs_max")
_HEAD = [
    Column("network", 5, right=False),
    Column("layer", right=False),
    Column("weights", 1, right=False),
]
_PAIR = [
    *_HEAD,
    Column("moved", 0),
    Column("adam steps", 2),
    Column("rms before", 6),
    Column("rms after", 6),
    Column("rms ratio", 3),
    Column("abs max before", 7),
    Column("abs max after", 7),
    Column("abs max ratio", 4),
]
_TREND = [
    *_HEAD,
    Column("moved in all", 0),
    Column("adam steps", 4),
    Column("rms first", 3),
    Column("rms last", 3),
    Column("rms", 2, right=False),
    Column("moved, each", 2, right=False),
    Column("largest", 6),
]
_EACH = [*_HEAD, Column("path"), Column("rms"), Column("abs max"), Column("moved"), Column("adam steps")]
_UNITS = (
    "moved: rms of the difference in units of the rms before; adam steps: the least number of steps of lr 1e-3 "
    "for that distance"
)


def diff_report(paths: Sequence[str], run: Run) -> Report:
    """Build the report of two snapshots, or of the trend over more."""
    return _pair_report(paths, run) if len(paths) == 2 else _trend_report(paths, run)


def _pair_report(paths: Sequence[str], run: Run) -> Report:
    common = [track for track in run.tracks if None not in track.measured]
    changes = [_change(track, form) for track in common for form in track.forms]
    changes.sort(key=lambda entry: -_rank(entry["moved"]))
    content = {
        "first": paths[0],
        "second": paths[1],
        "layers": changes,
        "only_in_first": [_name(track) for track in run.tracks if track.measured[1] is None],
        "only_in_second": [_name(track) for track in run.tracks if track.measured[0] is None],
    }
    rows = [_pair_row(entry) for entry in changes]
    table = Table(_PAIR, rows, f"{paths[0]} to {paths[1]}", [_summary(changes, "moved"), _UNITS])
    return Report(SCHEMA, plain(content), [table], _remarks(paths, run))


def _change(track: Track, form: str) -> Json:
    entry: Json = {**_name(track), "weights": form}
    for name in _MEASURED:
        before, after = (_figure(measured, form, name) for measured in track.measured)
        entry[name] = {"before": before, "after": after, "ratio": change("ratio", after, before)}
    return entry | _move(track.moves[0].get(form))


def _trend_report(paths: Sequence[str], run: Run) -> Report:
    layers = [_course(track, form) for track in run.tracks for form in track.forms]
    layers.sort(key=lambda entry: -_rank(entry["moved_in_all"]))
    content = {
        "snapshots": list(paths),
        "layers": layers,
        "missing": [
            {**_name(track), "snapshot": path}
            for track in run.tracks
            for path, measured in zip(paths, track.measured, strict=True)
            if measured is None
        ],
    }
    title = f"{paths[0]} to {paths[-1]}, {len(paths)} snapshots"
    table = Table(_TREND, [_trend_row(entry) for entry in layers], title, [_summary(layers, "moved_in_all"), _UNITS])
    data = Table(_EACH, [row for entry in layers for row in _each_row(entry, paths)])
    own = run_page(content, table)
    return Report(SCHEMA, plain(content), [table], _remarks(paths, run), data=data, page=own)


def _course(track: Track, form: str) -> Json:
    """A layer's figures in every snapshot, and its movements: one between any two neighbours, one in all."""
    entry: Json = {**_name(track), "weights": form}
    for name in _MEASURED:
        entry[name] = [_figure(measured, form, name) for measured in track.measured]
    moves = [_move(move.get(form)) for move in track.moves]
    entry |= {key: [move[key] for move in moves] for key in ("moved", "adam_steps")}
    return entry | {f"{key}_in_all": value for key, value in _move(track.in_all.get(form)).items()}


def _move(movement: Movement | None) -> Json:
    if movement is None:
        return {"moved": None, "adam_steps": None}
    return {"moved": movement.relative, "adam_steps": movement.adam_steps}


def _figure(measured: LayerRange | None, form: str, name: str) -> float | None:
    statistics = None if measured is None else measured.effective if form == "effective" else measured.stored
    value: float | None = getattr(statistics, name, None)
    return value


def _pair_row(entry: Json) -> list[Cell]:
    figures = [entry[name][key] for name in _MEASURED for key in ("before", "after", "ratio")]
    return [*_head(entry), *map(finite, (entry["moved"], _steps(entry["adam_steps"]), *figures))]


def _trend_row(entry: Json) -> list[Cell]:
    sizes = [value for value in entry["rms"] if value is not None]
    moves = [value for value in entry["moved"] if value is not None]
    return [
        *_head(entry),
        finite(entry["moved_in_all"]),
        finite(_steps(entry["adam_steps_in_all"])),
        finite(sizes[0] if sizes else None),
        finite(sizes[-1] if sizes else None),
        trend(entry["rms"], _BARS),
        trend(entry["moved"], _BARS),
        finite(max(moves, default=None)),
    ]


def _each_row(entry: Json, paths: Sequence[str]) -> Iterator[list[Cell]]:
    """A row for each snapshot, with the way that leads to it."""
    for place, path in enumerate(paths):
        moves = [entry[key][place - 1] if place else None for key in ("moved", "adam_steps")]
        yield [*_head(entry), path, *map(finite, (entry["rms"][place], entry["abs_max"][place], *moves))]


def _head(entry: Json) -> list[Cell]:
    return [entry["network"], entry["layer"], entry["weights"]]


def _steps(value: float | None) -> float | None:
    """Steps are counted; below a hundred the fraction still says something."""
    return round(value) if value is not None and math.isfinite(value) and value >= 100 else value


def _rank(moved: float | None) -> float:
    """A layer that left zero comes first, one that could not be compared last."""
    return -1.0 if moved is None or math.isnan(moved) else moved


def _summary(entries: Sequence[Json], key: str) -> str:
    still = sum(entry[key] == 0 for entry in entries)
    largest = max((_rank(entry[key]) for entry in entries), default=0.0)
    size = f"{figure(largest)} rms" if math.isfinite(largest) else "without bound, from zero"
    return f"{len(entries)} weights compared, {still} did not move, the largest movement {size}"


def _remarks(paths: Sequence[str], run: Run) -> list[str]:
    """What is missing where, whole networks in one line; what could not be compared, and what was left out of it."""
    lines = []
    for place, path in enumerate(paths):
        here = {track.network for track in run.tracks if track.measured[place] is not None}
        absent = [track for track in run.tracks if track.measured[place] is None]
        gone = dict.fromkeys(track.network for track in absent if track.network not in here)
        names = [f"network {name}" for name in gone]
        names += [f"{track.network} {track.layer}" for track in absent if track.network in here]
        lines += [f"not in {path}: {name}" for name in names]
    for track in run.tracks:
        lines += [f"{track.network} {track.layer}: {problem}" for problem in track.problems]
        moves = [move for each in (*track.moves, track.in_all) for move in each.values()]
        skipped = max((move.skipped for move in moves), default=0)
        if skipped:
            lines.append(f"{track.network} {track.layer}: {skipped:,} weights are NaN or infinite and were left out")
    return lines


def _name(track: Track) -> Json:
    return {"network": track.network, "layer": track.layer}
