"""A local HTTP server of files, with ranges, that cuts connections and refuses as it is told."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Served:
    """What is served, what goes wrong at each further request of a path, and what was asked.

    A fault is an HTTP status, ``cut:n`` (the connection closes after n bytes), ``whole`` (a range
    is ignored) or empty.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)  # path -> ETag, where it has one
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def ranges(self, path: str) -> list[str | None]:
        """Return the ranges that were asked of a path, in order."""
        return [span for name, span in self.asked if name == path]


@contextmanager
def serving(files: dict[str, bytes] | None = None) -> Iterator[Served]:
    """Serve files on a port of this machine."""
    served = Served(dict(files or {}))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, span = self.path.lstrip("/"), self.headers.get("Range")
            served.asked.append((name, span))
            faults = served.faults.get(name, [])
            fault = faults.pop(0) if faults else ""
            if fault.isdigit() or name not in served.files:
                return self.send_error(int(fault or 404))
            content = served.files[name]
            first = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
            tag = served.tags.get(name)
            if fault == "whole" or self.headers.get("If-Range", tag) != tag:
                first = 0
            if first and first >= len(content):
                return self.send_error(416)
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(content) - first))
            if tag is not None:
                self.send_header("ETag", tag)
            self.end_headers()
            body = content[first:]
            self.wfile.write(body[: int(fault[4:])] if fault.startswith("cut:") else body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
