"""`--plot`: the histograms alone, as a drawing. SVG is written here; PNG is drawn by pillow from the same shapes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from eqlr_tools.errors import UsageError
from eqlr_tools.reports.baseline import Json, forms_of
from eqlr_tools.reports.depth import in_depth
from eqlr_tools.reports.report import figure, printable

_PANEL_WIDTH, _PANEL_HEIGHT, _GAP = 236, 118, 20
_MARGIN, _HEADING = 24, 34
_LEAST_COLUMNS = 4
_INK, _MUTED, _LINE, _PAPER = "#1c2330", "#5b6472", "#c4cad3", "#ffffff"
COLORS = {"stored": "#b3541e", "effective": "#1f6feb"}
_FILLS = {"stored": "#f1c7a8", "effective": "#a9cbf9"}
"""The fills where bars do not overlap; where they do, the outlines tell them apart."""

_MOST_PIXELS = 1 << 26


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str


@dataclass(frozen=True)
class Path2D:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    color: str
    width: float = 1.0


@dataclass(frozen=True)
class Words:
    """Text whose baseline begins (or ends, or is centred) at a point."""

    x: float
    y: float
    text: str
    size: int
    color: str
    anchor: str = "start"


Shape = Box | Path2D | Words


@dataclass(frozen=True)
class Drawing:
    """Shapes, in the order in which they are painted."""

    width: int
    height: int
    shapes: tuple[Shape, ...]


def check_plottable(path: Path) -> None:
    """Raise UsageError, before the work is done, for a suffix or a missing package that would spoil it."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"--plot {path}: a plot is a .svg or a .png file")
    if path.suffix.lower() == ".png":
        _pillow(path)


def plotted(content: Json, path: Path) -> bytes:
    """The histograms of an audit in the format of the path's suffix."""
    drawing = draw(content)
    return svg(drawing).encode("utf-8") if path.suffix.lower() == ".svg" else _png(drawing, path)


def draw(content: Json) -> Drawing:
    """Small multiples: a panel per layer, stored and effective overlaid, on one axis for each network."""
    shapes: list[Shape] = []
    y = float(_MARGIN)
    largest = max((len(network["layers"]) for file in content["files"] for network in file["networks"]), default=0)
    # A thousand panels are a sheet about twice as high as wide, and not a ribbon.
    columns = max(_LEAST_COLUMNS, round(math.sqrt(largest) / 2))
    width = 2 * _MARGIN + columns * _PANEL_WIDTH + (columns - 1) * _GAP
    for file in content["files"]:
        for network in file["networks"]:
            if not network["layers"]:
                continue
            title = f"{file['path']} · {network['name']} · {network['family']}"
            shapes.append(Words(_MARGIN, y + 14, _shortened(title, width - 2 * _MARGIN - 170, 14), 14, _INK))
            shapes += _legend(width - _MARGIN, y + 14)
            y += _HEADING
            low, high = _common_range(network["layers"])
            for index, layer in enumerate(in_depth(network["layers"])):
                row, column = divmod(index, columns)
                x = _MARGIN + column * (_PANEL_WIDTH + _GAP)
                shapes += _panel(layer, x, y + row * (_PANEL_HEIGHT + _GAP), low, high)
            y += math.ceil(len(network["layers"]) / columns) * (_PANEL_HEIGHT + _GAP) + _GAP
    return Drawing(width, int(y) + _MARGIN, tuple(shapes))


def _legend(right: float, y: float) -> Iterator[Shape]:
    for offset, form in ((150, "stored"), (75, "effective")):
        yield Box(right - offset, y - 9, 10, 10, _FILLS[form])
        yield Path2D(((right - offset, y - 9), (right - offset + 10, y - 9)), COLORS[form], 2)
        yield Words(right - offset + 15, y, form, 12, _MUTED)


def _common_range(layers: Sequence[Json]) -> tuple[int, int]:
    exponents = [e for layer in layers for _, s in forms_of(layer) for e in s["histogram"]["exponents"]]
    return (min(exponents), max(exponents) + 1) if exponents else (0, 1)


def _panel(layer: Json, x: float, y: float, low: int, high: int) -> Iterator[Shape]:
    top, bottom = y + 30, y + _PANEL_HEIGHT - 16
    per_binade = _PANEL_WIDTH / (high - low)
    yield Words(x, y + 10, _shortened(layer["layer"], _PANEL_WIDTH, 12), 12, _INK)
    rms = ", ".join(f"{form} {figure(statistics['rms'])}" for form, statistics in forms_of(layer))
    yield Words(x, y + 24, f"rms {rms}", 10, _MUTED)
    outlines = []
    for form, statistics in forms_of(layer):
        histogram = statistics["histogram"]
        highest = max(histogram["counts"], default=0)
        outline: list[tuple[float, float]] = []
        for exponent, count in zip(histogram["exponents"], histogram["counts"], strict=True):
            left = x + (exponent - low) * per_binade
            height = (bottom - top) * count / highest
            if count:
                yield Box(left, bottom - height, per_binade, height, _FILLS[form])
            outline += [(left, bottom - height), (left + per_binade, bottom - height)]
        if outline:
            closed = ((outline[0][0], bottom), *outline, (outline[-1][0], bottom))
            outlines.append(Path2D(closed, COLORS[form], 1.2))
    yield from outlines
    yield Path2D(((x, bottom), (x + _PANEL_WIDTH, bottom)), _LINE)
    for exponent, anchor in ((low, "start"), ((low + high) // 2, "middle"), (high, "end")):
        yield Words(x + (exponent - low) * per_binade, bottom + 12, f"2^{exponent}", 9, _MUTED, anchor)


def _shortened(text: str, width: float, size: int) -> str:
    """The end of a text that would be wider, taking 0.58 of its size for a character: names begin alike."""
    text = printable(text)
    room = int(width / (0.58 * size))
    return text if len(text) <= room else f"…{text[1 - room :]}"


def svg(drawing: Drawing) -> str:
    """The drawing as a standalone SVG file."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{drawing.width}" height="{drawing.height}" '
        f'viewBox="0 0 {drawing.width} {drawing.height}" font-family="system-ui, sans-serif">',
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
        *(_element(shape) for shape in drawing.shapes),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _element(shape: Shape) -> str:
    if isinstance(shape, Box):
        size = f'width="{shape.width:.2f}" height="{shape.height:.2f}"'
        return f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" {size} fill="{shape.fill}"/>'
    if isinstance(shape, Path2D):
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
        return f'<polyline points="{points}" fill="none" stroke="{shape.color}" stroke-width="{shape.width}"/>'
    place = f'x="{shape.x:.2f}" y="{shape.y:.2f}" font-size="{shape.size}" text-anchor={quoteattr(shape.anchor)}'
    return f'<text {place} fill="{shape.color}">{escape(shape.text)}</text>'


def _pillow(path: Path) -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise UsageError(
            f"--plot {path}: PNG needs the package pillow",
            hint="pip install -c constraints.txt 'eqlr-tools[plot]', or plot to a .svg file, which needs nothing",
        ) from error
    return Image, ImageDraw, ImageFont


def _png(drawing: Drawing, path: Path) -> bytes:
    image_module, draw_module, font_module = _pillow(path)
    # Twice the size, so that text is sharp on today's screens, unless viewers would refuse the picture for it.
    scale = 2 if 4 * drawing.width * drawing.height <= _MOST_PIXELS else 1
    image = image_module.new("RGB", (drawing.width * scale, drawing.height * scale), _PAPER)
    canvas = draw_module.Draw(image)
    fonts = {size: font_module.load_default(size * scale) for size in {s.size for s in _words(drawing)}}
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            left, top = shape.x * scale, shape.y * scale
            canvas.rectangle((left, top, left + shape.width * scale, top + shape.height * scale), fill=shape.fill)
        elif isinstance(shape, Path2D):
            points = [(x * scale, y * scale) for x, y in shape.points]
            canvas.line(points, fill=shape.color, width=round(shape.width * scale))
        else:
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
            place = (shape.x * scale, shape.y * scale)
            canvas.text(place, shape.text, fill=shape.color, font=fonts[shape.size], anchor=anchor)
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def _words(drawing: Drawing) -> Iterator[Words]:
    return (shape for shape in drawing.shapes if isinstance(shape, Words))
