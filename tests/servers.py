"""Local servers that remote reading is tested against: HTTP with ranges, counted, and S3."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Traffic:
    """What a server was asked for."""

    url: str = ""
    requests: int = 0
    bytes_sent: int = 0
    fail_next: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)


@contextlib.contextmanager
def range_server(folder: Path) -> Iterator[Traffic]:
    """Serve a folder on loopback with HTTP ranges, counting the bytes of the answers."""
    traffic = Traffic()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            traffic.requests += 1
            path = folder / self.path.lstrip("/")
            if traffic.fail_next:
                traffic.fail_next -= 1
                self._head(503, 0)
                return
            if not path.is_file():
                self._head(404, 0)
                return
            size = path.stat().st_size
            start, end = 0, size
            wanted = self.headers.get("Range", "")
            if wanted.startswith("bytes="):
                first, _, last = wanted[6:].partition("-")
                start, end = int(first), min(int(last) + 1 if last else size, size)
            data = path.read_bytes()[start:end]
            self._head(206 if wanted else 200, len(data), f"bytes {start}-{end - 1}/{size}")
            if body:
                traffic.ranges.append((start, end))
                traffic.bytes_sent += len(data)
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(data)

        def _head(self, status: int, length: int, content_range: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("Accept-Ranges", "bytes")
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    traffic.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield traffic
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
