"""Sequential reading of a source by small amounts."""

from __future__ import annotations

from dataclasses import dataclass

from eqlr_tools.checkpoints.sources import Source

_FIRST_WINDOW = 1 << 9
_WINDOW = 1 << 16
"""Reads grow to 64 KiB. They start small, because a network pickle holds hundreds of pickles of some 300 bytes."""


@dataclass
class Cursor:
    """Sequential reads through a window, so that a short read costs no system call."""

    source: Source
    position: int
    _window: bytes = b""
    _window_start: int = 0
    _next_window: int = _FIRST_WINDOW

    def take(self, count: int) -> bytes:
        start = self.position - self._window_start
        if start + count > len(self._window) or start < 0:
            if self.position + count > self.source.size:
                raise EOFError
            length = min(max(count, self._next_window), self.source.size - self.position)
            self._next_window = min(self._next_window * 4, _WINDOW)
            self._window = self.source.read(self.position, length)
            self._window_start = self.position
            start = 0
        self.position += count
        return self._window[start : start + count]

    def line(self, limit: int = _WINDOW) -> bytes:
        """The bytes up to the next newline, which is consumed. Raises ValueError if it is not within the limit."""
        start = self.position - self._window_start
        end = self._window.find(b"\n", start) if start >= 0 else -1
        length = _WINDOW
        while end < 0:
            if length > limit:
                raise ValueError("a line without end")
            self._window_start = self.position
            self._window = self.source.read(self.position, min(length, self.source.size - self.position))
            start, end = 0, self._window.find(b"\n")
            length = length * 4 if len(self._window) == length else limit + 1
        self.position += end - start + 1
        return self._window[start:end]
