"""Ctrl-C is never lost, wherever it falls.

It raises KeyboardInterrupt as always. Raised inside a finalizer or a callback, Python drops the exception after a word
on stderr, and the work would go on; so it is remembered, too, and raised again at the next step of the work.
"""

from __future__ import annotations

import signal
from types import FrameType

INTERRUPTED = 130
"""The exit code: 128 and the number of the signal."""

SENTENCE = "eqlr: interrupted; nothing was left behind"

_seen = False


def remember_interrupts() -> None:
    """Take over Python's own handler of SIGINT. Whoever has set another one, or ignores the signal, keeps it."""
    global _seen
    _seen = False
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _interrupted)
        except ValueError:  # Not the main thread, where the signal never falls.
            return


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt if one was raised before and came to nothing."""
    if _seen:
        raise KeyboardInterrupt


def _interrupted(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt
