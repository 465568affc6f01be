"""A file server on a real socket that can be told to misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from support import graphs
from support.local_server import QuietHandler, local_server

Fault = Literal["cut", "stall", "deaf", "long", "unmeasured", "misplaced"]


@dataclass
class Asked:
    """A request, and how it was answered."""

    path: str
    headers: dict[str, str]
    status: int
    sent: int = 0


@dataclass
class FileServer:
    """What is served, and what was asked for.

    Attributes:
        files: by path, leading slash included.
        faults: the next requests' misfortunes, in turn; once they are used up, all goes well.
        etags: whether files have one.
        content_type: of every file.
        status: what every request is answered instead of the file; None for none.
        encoding: the Content-Encoding that is claimed.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    etags: bool = True
    content_type: str = "application/octet-stream"
    status: int | None = None
    encoding: str | None = None
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, data: bytes) -> str:
        """Serve `data` at `path`; returns its address."""
        self.files[path] = data
        return self.url + path

    def full_downloads(self) -> int:
        return sum(asked.status == 200 and asked.sent > 0 for asked in self.asked)


class _Handler(QuietHandler):
    file_server: FileServer
    wbufsize = 2**20  # head and body go out together: whoever has the one has some of the other

    def do_GET(self) -> None:  # noqa: N802
        path = self.path.partition("?")[0]
        fault = self.file_server.faults.pop(0) if self.file_server.faults else None
        asked = Asked(path, {k.lower(): v for k, v in self.headers.items()}, 404)
        self.file_server.asked.append(asked)
        self.close_connection = True
        data = self.file_server.files.get(path)
        if fault == "deaf":
            self.file_server.closing.wait(60)
            return
        if data is None or self.file_server.status is not None:
            self.send_error(self.file_server.status or 404)
            return
        self._answer(asked, data, fault)

    def _answer(self, asked: Asked, data: bytes, fault: Fault | None) -> None:
        etag = f'"{sha256(data).hexdigest()[:16]}"' if self.file_server.etags else None
        start = 0
        asked.status = 200
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if etag is not None and asked.headers.get("if-none-match") == etag:
            asked.status = 304
        elif wanted and asked.headers.get("if-range") == etag:
            start = int(wanted[1])
            asked.status = 206 if start < len(data) else 416
        self.send_response(asked.status)
        if etag is not None:
            self.send_header("ETag", etag)
        if asked.status in {304, 416}:
            self.end_headers()
            return
        self.send_header("Content-Type", self.file_server.content_type)
        if self.file_server.encoding is not None:
            self.send_header("Content-Encoding", self.file_server.encoding)
        body = data[start:]
        if asked.status == 206:
            first = start + (fault == "misplaced")
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        if fault != "unmeasured":
            self.send_header("Content-Length", str(len(body) + (1000 if fault == "long" else 0)))
        self.end_headers()
        if fault in {"cut", "stall"}:
            body = body[: len(body) // 2]
        self.wfile.write(body)
        asked.sent = len(body)
        if fault == "stall":
            self.wfile.flush()
            self.file_server.closing.wait(60)


@contextmanager
def open_file_server() -> Iterator[FileServer]:
    file_server = FileServer()
    handler = type("Handler", (_Handler,), {"file_server": file_server})
    with local_server(handler) as port:
        file_server.url = f"http://127.0.0.1:{port}"
        try:
            yield file_server
        finally:
            file_server.closing.set()


def network(folder: Path, seed: int = 0, rows: int = 20_000) -> bytes:
    """A whole ONNX file of about 24 bytes a row that differs by `seed`."""
    values = np.random.default_rng(seed).random((rows, 6), np.float32)
    return graphs.constant_network(folder / f"network{seed}.onnx", {"out": values}).read_bytes()
