"""An HTTP server that misbehaves by plan: before an S3 server, or before a folder of files it serves itself.

`python faulty.py http://127.0.0.1:5000` or `python faulty.py FOLDER` prints its port. Tests start it with `Faulty`.
The plan is set and the counts are read at /__faults__ while it runs.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

CONTROL = "/__faults__"
STALL_S = 90
"""A stalled answer lasts at most so long; a client should give up well before."""
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "date", "server"}
ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "429": (429, "TooManyRequests", "Please reduce your request rate."),
    "403": (403, "AccessDenied", "Request has expired"),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "416": (416, "InvalidRange", "The requested range is not satisfiable"),
}
"""Kinds that are answers in themselves. S3 says 400 to an expired token and 403 to an expired signed URL."""


@dataclass(slots=True)
class Plan:
    """Which requests fail, and how."""

    kinds: list[str] = field(default_factory=list)
    """Those of ANSWERS; "slow", "stall" (a share of the body, then silence), "cut" (a share, then the end), "reset"
    (before the request is passed on), "lost" (reset after it was carried out)."""
    rate: float = 1.0
    seed: int = 0
    match: str = ""
    """A regular expression on "METHOD /path?query"."""
    from_request: int = 0
    """The first matching requests that are served well."""
    limit: int | None = None
    """Faults at most."""
    byte_ranges: list[list[int]] = field(default_factory=list)
    """Only requests whose Range touches one of these [start, stop)."""
    delay_s: float = 2.0
    """Of "slow"."""
    share: float = 0.5
    """Of the body that "cut" and "stall" let through."""


class Book:
    """The plan, and what came of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.log: list[str] = []
        self.set(Plan())

    def set(self, plan: Plan) -> None:
        """Counts start anew."""
        with self._lock:
            self.plan, self.requests, self._matching = plan, 0, 0
            self.faults: Counter[str] = Counter()
            self.log.clear()

    def fault_for(self, method: str, path: str, span: str | None) -> str | None:
        """What shall go wrong with this request; the n-th matching one gets the same with the same seed."""
        with self._lock:
            self.requests += 1
            fault = self._draw(f"{method} {path}", span)
            self.log.append(f"{method} {path} {span or ''} {fault or ''}")
            return fault

    def _draw(self, line: str, span: str | None) -> str | None:
        plan = self.plan
        if not plan.kinds or not re.search(plan.match, line) or not touches(span, plan.byte_ranges):
            return None
        number = self._matching
        self._matching += 1
        dice = random.Random(f"{plan.seed}:{number}")
        spent = plan.limit is not None and self.faults.total() >= plan.limit
        if number < plan.from_request or spent or dice.random() >= plan.rate:
            return None
        kind = dice.choice(plan.kinds)
        self.faults[kind] += 1
        return kind

    def counts(self) -> dict[str, Any]:
        with self._lock:
            return {"requests": self.requests, "faults": dict(self.faults), "log": self.log[-2000:]}


def touches(span: str | None, ranges: list[list[int]]) -> bool:
    """True when a Range header touches one of the ranges, or when there are none to touch."""
    if not ranges:
        return True
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", span or "")
    if not found:
        return False
    first, last = int(found[1]), int(found[2] or 1 << 62)
    return any(first < stop and start <= last for start, stop in ranges)


@dataclass(slots=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: str
    book: Book
    timeout = 120

    def answer(self) -> None:
        """One request, well or badly."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == CONTROL:
            self.control(body)
            return
        fault = self.book.fault_for(self.command, self.path, self.headers.get("Range"))
        if fault == "reset":
            self.reset()
        elif fault in ANSWERS:
            self.send(error_answer(fault))
        else:
            if fault == "slow":
                time.sleep(self.book.plan.delay_s)
            self.send_badly(self.fetch(body), fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def control(self, body: bytes) -> None:
        if self.command == "POST":
            known = {item.name for item in fields(Plan)}
            wanted = json.loads(body)
            assert set(wanted) <= known, f"{set(wanted) - known} unknown"
            self.book.set(Plan(**wanted))
        self.send(Answer(200, [("Content-Type", "application/json")], json.dumps(self.book.counts()).encode()))

    def fetch(self, body: bytes) -> Answer:
        if urlsplit(self.target).scheme != "http":
            return from_folder(Path(self.target), self.command, self.path, self.headers.get("Range"))
        upstream = http.client.HTTPConnection(urlsplit(self.target).netloc, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            upstream.request(self.command, self.path, body, headers)
            got = upstream.getresponse()
            kept = [(name, value) for name, value in got.getheaders() if name.lower() not in HOP_BY_HOP]
            return Answer(got.status, kept, got.read())
        finally:
            upstream.close()

    def send_badly(self, answer: Answer, fault: str | None) -> None:
        """The answer as it came, or a part of it."""
        if fault == "lost":
            self.reset()
        elif fault in {"cut", "stall"}:
            self.send(answer, self.book.plan.share)
            if fault == "stall":
                select.select([self.connection], [], [], STALL_S)  # until the client hangs up
            self.close_connection = True
        else:
            self.send(answer)

    def send(self, answer: Answer, share: float = 1.0) -> None:
        """A share of what was announced; of an answer without a body, of its head."""
        length = [] if any(name.lower() == "content-length" for name, _ in answer.headers) else [len(answer.body)]
        lines = [f"{name}: {value}" for name, value in answer.headers] + [f"Content-Length: {n}" for n in length]
        reason = http.client.responses.get(answer.status, "")
        head = "\r\n".join([f"HTTP/1.1 {answer.status} {reason}", *lines, "", ""]).encode()
        body = b"" if self.command == "HEAD" or answer.status in {204, 304} else answer.body
        if body:
            body = body[: int(len(body) * share)]
        else:
            head = head[: int(len(head) * share)]
        self.wfile.write(head + body)
        self.wfile.flush()

    def reset(self) -> None:
        """The connection ends with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None: ...


def error_answer(kind: str) -> Answer:
    """As S3 words it."""
    status, code, text = ANSWERS[kind]
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{text}</Message></Error>'
    return Answer(status, [("Content-Type", "application/xml")], xml.encode())


def from_folder(folder: Path, method: str, path: str, span: str | None) -> Answer:
    """A file, or a range of it."""
    file = folder / unquote(urlsplit(path).path).lstrip("/")
    if method not in {"GET", "HEAD"} or not file.is_file():
        return Answer(404, [], b"not here")
    content = file.read_bytes()
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", span or "")
    if not found:
        return Answer(200, [("Accept-Ranges", "bytes"), ("Content-Length", str(len(content)))], content)
    first, last = int(found[1]), min(int(found[2] or len(content)), len(content) - 1)
    if first > last:
        return Answer(416, [("Content-Range", f"bytes */{len(content)}")], b"")
    part = content[first : last + 1]
    headers = [("Content-Range", f"bytes {first}-{last}/{len(content)}"), ("Content-Length", str(len(part)))]
    return Answer(206, headers, part)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        """Without the polite FIN of the base class: a reset stays a reset."""
        self.close_request(request)

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what this is for."""


class Faulty:
    """The server in a process of its own: rasterio keeps the GIL while it opens a URL, a thread could never answer."""

    def __init__(self, target: str | Path) -> None:
        """target: the address of an S3 server, or a folder."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._process.stdout.readline())  # type: ignore[union-attr]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """For good, as when the machine behind it goes down."""
        self._process.kill()
        self._process.wait()

    def plan(self, *kinds: str, **plan: Any) -> None:
        """See Plan. Without kinds all goes well from now on."""
        body = json.dumps({"kinds": kinds, **plan}).encode()
        urllib.request.urlopen(urllib.request.Request(self.url + CONTROL, body, method="POST"), timeout=10).close()

    def counts(self) -> dict[str, Any]:
        """{"requests", "faults": {kind: n}, "log": [lines]} since the plan was set."""
        with urllib.request.urlopen(self.url + CONTROL, timeout=10) as answer:
            return dict(json.load(answer))


def main() -> None:
    Handler.target, Handler.book = sys.argv[1].rstrip("/"), Book()
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # ends with whoever started it, however that ends


if __name__ == "__main__":
    main()
