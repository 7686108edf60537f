"""Checkpoints that are somewhere else: any address that fsspec knows, read by ranges.

`https://`, `s3://`, `gs://`, `hf://`, `memory://`, members of archives (`zip://x.pt::s3://…`). A header or central
directory costs a request or two, a tensor the bytes that it has. universal_pathlib gives such addresses the methods
of `pathlib.Path`, so that nothing else in the program has to know.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from eqlr_tools.checkpoints.allowance import Allowance
from eqlr_tools.checkpoints.cached import cached_copy
from eqlr_tools.checkpoints.sources import FileSource, Source
from eqlr_tools.errors import UnreadableError

WINDOW = 1 << 16
"""Small reads are served from a window of this size: the fields of a header lie close together."""

ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5
_EXTRAS = {"s3": "s3", "s3a": "s3", "hf": "hub", "http": "http", "https": "http", "gs": "gcs", "gcs": "gcs"}

T = TypeVar("T")


def is_remote(location: object) -> bool:
    """True for an address with a protocol, other than a local file's."""
    text = str(location)
    return "://" in text and not text.startswith(("file://", "local://"))


def locate(location: str | Path) -> Path:
    """The path of a location: `pathlib`'s for local files, one with the same methods for remote ones.

    Raises UnreadableError if the protocol is unknown or the package that speaks it is not installed.
    """
    if not isinstance(location, str) or "://" not in location:
        return cast("Path", location) if is_remote(location) else Path(location)
    if not is_remote(location):
        return Path(location.partition("://")[2])
    copy = cached_copy(location)
    if copy is not None:
        return copy
    protocol = location.partition("://")[0].rpartition("::")[2]
    try:
        from upath import UPath

        path = UPath(location)
        path.fs  # noqa: B018  The file system is made, and its package imported, when it is first asked for.
    except ImportError as error:
        extra = _EXTRAS.get(protocol, protocol)
        raise UnreadableError(
            f"{location}: reading {protocol}:// needs a package that is not installed ({error})",
            hint=f"pip install -c constraints.txt 'eqlr-tools[{extra}]'",
        ) from error
    except ValueError as error:
        raise UnreadableError(f"{location}: {error}", hint="is the protocol spelled right?") from error
    return cast("Path", path)


def is_folder(path: Path) -> bool:
    """True for a directory. Web servers have none: asking one would fetch the whole file."""
    return not str(path).startswith(("http://", "https://")) and path.is_dir()


def open_source(path: Path) -> Source:
    """The bytes of a file, local or remote."""
    return RemoteSource(path) if is_remote(path) else FileSource(path)


class RemoteSource:
    """A remote file, read by ranges, with a few attempts at each."""

    def __init__(self, path: Any) -> None:
        self.name = str(path)
        self.allowance = Allowance()
        self._file_system = path.fs
        self._key = path.path
        info = self._attempt(lambda: self._file_system.info(self._key))
        if not isinstance(info.get("size"), int):
            raise UnreadableError(f"{self.name}: the server does not say how long the file is")
        self.size: int = info["size"]
        self._windows: deque[tuple[int, bytes]] = deque(maxlen=4)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.read(offset, len(buffer))

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > self.size:
            raise UnreadableError(
                f"{self.name}: the file has {self.size:,} bytes, data is expected up to byte {offset + length:,}",
                hint="it is truncated; get it again",
            )
        if length >= WINDOW:
            return self._fetch(offset, offset + length)
        for start, window in self._windows:
            if start <= offset and offset + length <= start + len(window):
                return window[offset - start : offset - start + length]
        # Directories of archives are read backwards from the end: let the last window end there.
        start = min(offset, max(self.size - WINDOW, 0))
        window = self._fetch(start, min(start + WINDOW, self.size))
        self._windows.append((start, window))
        return window[offset - start : offset - start + length]

    def _fetch(self, start: int, end: int) -> bytes:
        data = self._attempt(lambda: self._file_system.cat_file(self._key, start=start, end=end))
        if len(data) != end - start:
            raise UnreadableError(
                f"{self.name}: {end - start:,} bytes were asked for, {len(data):,} came",
                hint="the server does not serve ranges, or the file changed; download it and use the copy",
            )
        return bytes(data)

    def _attempt(self, request: Callable[[], T]) -> T:
        """Try a request a few times, waiting longer each time; what will not get better is not tried again."""
        pause = _FIRST_PAUSE_SECONDS
        for attempt in range(ATTEMPTS):
            try:
                return request()
            except FileNotFoundError as error:
                raise UnreadableError(f"{self.name}: no such file", hint="check the address") from error
            except PermissionError as error:
                raise UnreadableError(
                    f"{self.name}: access denied ({error})", hint="are the credentials of the store set?"
                ) from error
            except Exception as error:
                if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
                    raise UnreadableError(
                        f"{self.name}: no credentials ({error})", hint="set the credentials of the store"
                    ) from error
                if attempt == ATTEMPTS - 1:
                    raise UnreadableError(
                        f"{self.name}: cannot be read ({type(error).__name__}: {error})",
                        hint=f"tried {ATTEMPTS} times; is the network up?",
                    ) from error
            time.sleep(pause * (1 + random.random()))
            pause *= 2
        raise AssertionError("unreachable")
