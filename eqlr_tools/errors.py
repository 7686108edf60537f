"""The errors this package raises on purpose. Each says what is wrong, where, and what to try next."""

from __future__ import annotations

from typing import ClassVar


class EqlrError(Exception):
    """Base of every error a user can cause. `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def locate(self, place: str) -> None:
        """Add to the message where in the file that is."""
        self.message = f"{self.message}, at {place}"
        self.args = (self.message,)


class UnreadableError(EqlrError):
    """The file is damaged, truncated, of an unknown container, or not there."""


class DamagedError(UnreadableError):
    """The file contradicts itself: no program writes one like that."""

    def __init__(self, message: str, *, hint: str = "the file is damaged or was altered; get it again") -> None:
        super().__init__(message, hint=hint)


class ForbiddenGlobalError(UnreadableError):
    """A pickle asks for something that plain data never needs. Nothing was executed."""


class UsageError(EqlrError):
    """Options that contradict each other or the file."""


class AmbiguousError(EqlrError):
    """The file allows several readings, and the message names the flag that decides."""


class InexpressibleError(EqlrError):
    """The target family has no place for something that the source has, and nothing may be lost on the way."""


class OutputError(EqlrError):
    """The output cannot be written: it exists, no space, no permission, same as the source."""


class NothingMatchedError(EqlrError):
    """The command ran and found nothing to do."""

    exit_code: ClassVar[int] = 3


class VerificationError(EqlrError):
    """What was written does not compute what the source computes; it has been removed."""

    exit_code: ClassVar[int] = 1
