"""A server of one file on this machine that knows ranges, and can be told to misbehave."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer(ThreadingHTTPServer):
    """Serves ``content`` under every path.

    Attributes:
        content: The file.
        tag: Its ETag; empty for none.
        breaks: After how many bytes each of the next connections ends; an answer is whole when none is left.
        answers: Statuses of the next answers, without content.
        ranges: Whether it knows them.
        extra: Bytes that it appends to a part of the file.
        length: A false Content-Length; None for the true one, -1 for none at all.
        asked: The Range and If-Range of every request.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.tag, self.ranges = content, '"one"', True
        self.breaks: list[int] = []
        self.answers: list[int] = []
        self.length: int | None = None
        self.extra = b""
        self.asked: list[tuple[str | None, str | None]] = []

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"

    def __enter__(self) -> FileServer:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args: Any) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.headers["Range"], self.headers["If-Range"]))
        if server.answers:
            self.send_response(server.answers.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin = 0
        if server.ranges and (wanted := self.headers["Range"]) and self.headers["If-Range"] in (None, server.tag):
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(server.content):
                self.send_error(416)
                return
        body = server.content[begin:] + (server.extra if begin else b"")
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
        if server.tag:
            self.send_header("ETag", server.tag)
        if server.length != -1:
            self.send_header("Content-Length", str(len(body) if server.length is None else server.length))
        self.end_headers()
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
