"""A scripted HTTP server on loopback: gives its answers in order, whatever is asked."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

DATE = "Sat, 21 Nov 2026 04:38:06 GMT"


@dataclass
class Answer:
    """What the server says once; `promised` is a Content-Length that the body does not keep."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    promised: int | None = None
    stall: float = 0.0
    hang_up: bool = False


@dataclass
class Request:
    """What the server was asked."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: int
    """The client's port: the same one is the same connection."""

    @property
    def by_boto3(self) -> bool:
        """Whether botocore sent it; nobody else numbers its invocations."""
        return "amz-sdk-invocation-id" in self.headers


@dataclass
class Script:
    """The answers still to give and the requests so far."""

    endpoint: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Plays the script, in order, whatever is asked."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[Script]

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def answer(self) -> None:
        """Gives the next answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.script.requests.append(
            Request(self.command, self.path, headers, body, self.client_address[1])
        )
        answer = self.script.answers.pop(0)
        if answer.hang_up:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        length = len(answer.body) if answer.promised is None else answer.promised
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.script.over.wait(answer.stall)
        self.close_connection = answer.promised is not None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815  # http.server's names


@contextmanager
def scripted(tls: ssl.SSLContext | None = None) -> Iterator[Script]:
    """A server that plays what is appended to `answers`, over TLS if a context is given."""
    play = Script()
    handler = type("Scripted", (Handler,), {"script": play})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        play.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        try:
            yield play
        finally:
            play.over.set()
            server.shutdown()
            thread.join()


def failure(status: int, code: str, **more: str) -> Answer:
    """An error answer with a body."""
    extra = "".join(f"<{name}>{text}</{name}>" for name, text in more.items())
    return Answer(status, {}, f"<Error><Code>{code}</Code>{extra}</Error>".encode())


def object_head(data: bytes, **more: str) -> dict[str, str]:
    """The headers of an object."""
    etag = hashlib.md5(data).hexdigest()
    return {"ETag": f'"{etag}"', "Last-Modified": DATE} | more
