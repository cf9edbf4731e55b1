"""A proxy between an S3 client and a server on loopback that fails on command.

`proxy(endpoint)` runs it in a thread of the test's process; what is to fail is a `Fault`:

    with proxy(server.endpoint) as link:
        link.fail(Fault("GET", answer=refusal(503, "SlowDown"), times=2))
        link.down()      # connections are refused
        link.mend()      # all is well again

Requests and answers are held whole, so a fault can be in any byte of them.
"""

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

MOST = 64 * 2**20
OPERATIONS = (
    ("LIST", r"GET \S*[?&](list-type|prefix|delimiter)="),
    ("LIST_PARTS", r"GET \S*[?&]uploadId="),
    ("GET", "GET "),
    ("HEAD", "HEAD "),
    ("PART", r"PUT \S*[?&]partNumber="),
    ("PUT", "PUT "),
    ("START", r"POST \S*[?&]uploads"),
    ("FINISH", r"POST \S*[?&]uploadId="),
    ("DELETE_MANY", r"POST \S*[?&]delete"),
    ("ABORT", r"DELETE \S*[?&]uploadId="),
    ("DELETE", "DELETE "),
)


@dataclass
class Message:
    """A request or an answer: first line, header lines as they came, body."""

    line: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        """A header's value, or ""."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def without(self, *names: str) -> list[tuple[str, str]]:
        """The headers but these."""
        return [(key, value) for key, value in self.headers if key.lower() not in names]

    def head(self) -> bytes:
        """As it is sent."""
        lines = [self.line, *(f"{key}: {value}" for key, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")


@dataclass
class Fault:
    """What goes wrong with the requests of one operation ("" for all) whose path matches."""

    operation: str = ""
    path: str = ""
    """A regular expression, searched for in the request line."""
    times: int = 0
    """Only so many times; 0 for always."""
    delay: float = 0.0
    """Seconds before the request goes on."""
    hang: bool = False
    """Never answered; the server does not hear of it."""
    reset: str = ""
    """"before" the server has the request, or "after" it has done it."""
    answer: Message | None = None
    """Given instead of the server's, which hears nothing."""
    change: Callable[[bytes], bytes] | None = None
    """What becomes of the answer's body."""
    agrees: bool = True
    """The Content-Length agrees with the changed body (else it stays, and the connection ends)."""
    hits: int = 0

    def fits(self, operation: str, line: str) -> bool:
        """Whether this request is to fail now."""
        if self.operation not in {"", operation} or (self.times and self.hits >= self.times):
            return False
        return re.search(self.path, line) is not None


def refusal(status: int, code: str, **headers: str) -> Message:
    """An S3 error answer (the error responses of the S3 API reference)."""
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Message(f"HTTP/1.1 {status} Injected", named, body)


def flipped(body: bytes) -> bytes:
    """One bit of the middle byte is another."""
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def halved(body: bytes) -> bytes:
    """The second half is missing."""
    return body[: len(body) // 2]


class Proxy:
    """One running proxy. Its methods are for the test's thread."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname, parts.port
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._mended = asyncio.Event()
        self._faults: list[Fault] = []
        self._port = 0
        self.counts: Counter[str] = Counter()
        """Requests by operation, the failed ones included."""

    @property
    def endpoint(self) -> str:
        """What a client is to connect to."""
        return f"http://127.0.0.1:{self._port}"

    def fail(self, fault: Fault) -> Fault:
        """From now on; earlier faults come first."""
        self._faults.append(fault)
        return fault

    def mend(self) -> None:
        """No fault any more; what hangs is reset."""
        self._faults.clear()
        self._do(self._release())
        self.up()

    def down(self) -> None:
        """Refuse connections, and reset the open ones."""
        self._do(self._stop())

    def up(self) -> None:
        """Take connections again, on the same port."""
        self._do(self._listen())

    # --- in the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """The thread."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def end(self) -> None:
        """Stop the thread."""
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self._port, limit=MOST
            )
            self._port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            _reset(writer)
        await self._release()

    async def _release(self) -> None:
        self._mended.set()
        self._mended = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            source, upstream = await asyncio.open_connection(*self._target, limit=MOST)
            while await self._exchange(reader, writer, source, upstream):
                pass
        except (OSError, asyncio.IncompleteReadError):
            _reset(writer)
        finally:
            self._open.discard(writer)
            for end in filter(None, (writer, upstream)):
                end.close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        source: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether the connection goes on."""
        request = await _head(reader)
        operation = operation_of(request.line, copies=bool(request.header("x-amz-copy-source")))
        self.counts[operation] += 1
        fault = next((f for f in self._faults if f.fits(operation, request.line)), Fault())
        fault.hits += 1
        await asyncio.sleep(fault.delay)
        if fault.hang:
            await self._mended.wait()
        if fault.hang or fault.reset == "before":
            _reset(writer)
            return False
        if request.header("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.headers = request.without("expect")  # it is never signed
        request.body = await _body(reader, request)
        answer = fault.answer
        if answer is None:
            upstream.write(request.head() + request.body)
            answer = await _head(source)
            if not _bodiless(request, answer):
                answer.body = await _body(source, answer)
        if fault.reset == "after":
            _reset(writer)
            return False
        return await _give(writer, request, answer, fault)


async def _give(
    writer: asyncio.StreamWriter, request: Message, answer: Message, fault: Fault
) -> bool:
    body, promised = answer.body, len(answer.body)
    if fault.change:
        body = fault.change(body)
        promised = len(body) if fault.agrees else promised
    headers = answer.without("transfer-encoding")
    if not _bodiless(request, answer) or fault.answer:
        headers = [*answer.without("transfer-encoding", "content-length")]
        headers.append(("Content-Length", str(promised)))
    writer.write(Message(answer.line, headers).head())
    if not request.line.startswith("HEAD "):
        writer.write(body)
    await writer.drain()
    return promised == len(body) and answer.header("connection").lower() != "close"


async def _head(reader: asyncio.StreamReader) -> Message:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = raw[:-4].split("\r\n")
    return Message(
        line, [(key, value.strip()) for key, _, value in (x.partition(":") for x in rest)]
    )


async def _body(reader: asyncio.StreamReader, message: Message) -> bytes:
    if "chunked" not in message.header("transfer-encoding"):
        return await reader.readexactly(int(message.header("content-length") or 0))
    body = b""
    while size := int((await reader.readline()).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def _bodiless(request: Message, answer: Message) -> bool:
    return request.line.startswith("HEAD ") or answer.line.split()[1] in {"204", "304"}


def operation_of(line: str, *, copies: bool = False) -> str:
    """What a request asks for, by its first line; `copies`: it names a source to copy from."""
    if copies:
        return "COPY"
    return next((name for name, pattern in OPERATIONS if re.match(pattern, line)), "OTHER")


def _reset(writer: asyncio.StreamWriter) -> None:
    """End with RST: the socket lingers for no time."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.transport.abort()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy in front of `target` (http://HOST:PORT), until the block is left."""
    made = Proxy(target)
    thread = threading.Thread(target=made.run, name="proxy")
    thread.start()
    try:
        made.up()
        yield made
    finally:
        made.end()
        thread.join()
