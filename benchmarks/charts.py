"""Line charts as PNG, drawn with pillow: a few panels side by side, linear or logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PALETTE = ("#3465a4", "#cc0000", "#4e9a06", "#f57900", "#75507b", "#c17d11", "#06989a", "#555753")
_ZOOM = 2
_INK, _GRID = "#2e3436", "#e4e6e3"


@dataclass(frozen=True)
class Line:
    """One series. Lines without a label are drawn but not named."""

    xs: Sequence[float]
    ys: Sequence[float]
    label: str = ""
    color: str = PALETTE[0]
    width: float = 1.4


@dataclass(frozen=True)
class Panel:
    """One chart: its lines, its words, and whether its y axis counts powers of ten."""

    title: str
    lines: Sequence[Line]
    x_title: str = ""
    y_title: str = ""
    log: bool = False
    y_range: tuple[float, float] | None = None
    legend_at: str = "top"


def draw(panels: Sequence[Panel], target: Path, *, columns: int = 2, size: tuple[int, int] = (460, 300)) -> None:
    """Write the panels, row by row, as one picture."""
    rows = math.ceil(len(panels) / columns)
    image = Image.new("RGB", (size[0] * columns * _ZOOM, size[1] * rows * _ZOOM), "white")
    pen = ImageDraw.Draw(image)
    for index, panel in enumerate(panels):
        origin = (index % columns * size[0], index // columns * size[1])
        _Chart(panel, pen, origin, size).draw()
    image.quantize(64).save(target, optimize=True)


class _Chart:
    """Places one panel: a frame inside margins, axes by the data's range."""

    def __init__(self, panel: Panel, pen: ImageDraw.ImageDraw, origin: tuple[int, int], size: tuple[int, int]) -> None:
        self.panel, self.pen = panel, pen
        self.left, self.top = origin[0] + 58, origin[1] + 30
        self.right, self.bottom = origin[0] + size[0] - 12, origin[1] + size[1] - 40
        points = [(x, y) for line in panel.lines for x, y in zip(line.xs, line.ys, strict=True) if self._drawable(y)]
        self.x_low, self.x_high = min(x for x, _ in points), max(x for x, _ in points)
        low, high = panel.y_range or (min(y for _, y in points), max(y for _, y in points))
        if panel.log:
            low, high = math.log10(low) - 0.15, math.log10(high) + 0.15
        self.y_low, self.y_high = low, high if high > low else low + 1

    def draw(self) -> None:
        self._text((self.left, self.top - 24), self.panel.title, 13)
        self._axes()
        for line in self.panel.lines:
            self._line(line)
        self._legend()
        self.pen.rectangle(self._box(self.left, self.top, self.right, self.bottom), outline=_INK, width=_ZOOM)

    def _drawable(self, y: float) -> bool:
        return math.isfinite(y) and (y > 0 or not self.panel.log)

    def _axes(self) -> None:
        for value in self._ticks():
            y = self._y(10**value if self.panel.log else value)
            self.pen.line(self._box(self.left, y, self.right, y), fill=_GRID, width=_ZOOM)
            label = f"1e{value:.0f}" if self.panel.log else f"{value:.3g}"
            self._text((self.left - 6, y - 7), label, 11, anchor="ra")
        for x in _round_values(self.x_low, self.x_high):
            self._text((self._x(x), self.bottom + 4), f"{x:.0f}", 11, anchor="ma")
        self._text(((self.left + self.right) / 2, self.bottom + 20), self.panel.x_title, 11, anchor="ma")
        self._text((self.right - 4, self.top - 22), self.panel.y_title, 11, anchor="ra")

    def _ticks(self) -> list[float]:
        if self.panel.log:
            step = max(1, math.ceil((self.y_high - self.y_low) / 8))
            return [float(v) for v in range(math.ceil(self.y_low), math.floor(self.y_high) + 1, step)]
        return _round_values(self.y_low, self.y_high)

    def _line(self, line: Line) -> None:
        points = [
            (self._x(x) * _ZOOM, self._y(y) * _ZOOM) for x, y in zip(line.xs, line.ys, strict=True) if self._drawable(y)
        ]
        self.pen.line(points, fill=line.color, width=round(line.width * _ZOOM), joint="curve")

    def _legend(self) -> None:
        named = [line for line in self.panel.lines if line.label]
        left = self.right - 190
        for row, line in enumerate(named):
            y = self.top + 6 + 14 * row if self.panel.legend_at == "top" else self.bottom - 18 - 14 * row
            self.pen.line(self._box(left, y + 6, left + 16, y + 6), fill=line.color, width=3 * _ZOOM)
            self._text((left + 22, y), line.label, 11)

    def _x(self, value: float) -> float:
        return self.left + (self.right - self.left) * (value - self.x_low) / (self.x_high - self.x_low or 1)

    def _y(self, value: float) -> float:
        place = math.log10(value) if self.panel.log else value
        share = (place - self.y_low) / (self.y_high - self.y_low)
        return self.bottom - (self.bottom - self.top) * min(max(share, 0.0), 1.0)

    def _box(self, *places: float) -> tuple[float, ...]:
        return tuple(place * _ZOOM for place in places)

    def _text(self, place: tuple[float, float], text: str, points: int, anchor: str = "la") -> None:
        font = ImageFont.load_default(points * _ZOOM)
        self.pen.text((place[0] * _ZOOM, place[1] * _ZOOM), text, fill=_INK, font=font, anchor=anchor)


def _round_values(low: float, high: float) -> list[float]:
    """Four to eight values at round distances inside a range."""
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = max((factor * power for factor in (1.0, 2.0, 5.0) if factor * power <= raw), default=power)
    return [place * step for place in range(math.ceil(low / step), math.floor(high / step) + 1)]
