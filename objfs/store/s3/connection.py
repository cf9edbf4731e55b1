"""HTTP/1.1 connections for small requests: sockets that stay open, and as little as may be.

CPU of one GET of 16 KiB (own signature, radosgw on loopback, 1 and 16 threads, one interleaved
run): boto3 1,700 and 1,480 us; urllib3 460 and 375; awscrt.http 290 and 270; http.client 270 and
210; httptools over a socket 125 and 105; this 105 and 105. What costs in http.client is its parser
of headers, in awscrt the way through other threads. Ranges of 8 MiB: half of boto3's CPU, since
the bytes are received where the sink takes them from.

Only what S3's answers are made of is understood: bodies with a length, in chunks, or up to the
end of the connection. Everything else breaks the connection with botocore's own exceptions, and
the caller hands the request to boto3.
"""

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from botocore import exceptions as boto

_HEAD: Final = 32 * 1024
"""Bytes of a status line with its headers, at the most; S3's are below 10 KiB."""
_PIECE: Final = 256 * 1024
"""Bytes given to a sink at once; 1 MiB was not faster and four times the memory."""
_GATHER: Final = 0.1
"""Seconds that bytes wait for more before the sink gets them."""
_IDLE: Final = 15.0
"""Seconds after which an idle connection is not used again: S3 closes them after some 20."""
_NO_BODY: Final = frozenset({204, 304})


class Head(NamedTuple):
    """The beginning of an answer; names of headers are lower-case."""

    status: int
    headers: Mapping[str, str]
    keep: bool
    """The connection may be used again."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go; time-outs are in seconds."""

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_timeout: float
    read_timeout: float


class Connection:
    """One socket and what was received but not yet read. Used by one thread at a time."""

    def __init__(self, origin: Origin) -> None:
        """Connect. Raises botocore's `EndpointConnectionError`, `ConnectTimeoutError`, `SSLError`.

        What a request itself may raise is `ReadTimeoutError` and `ConnectionClosedError`.
        """
        self.origin = origin
        self.idle_since = 0.0
        self._url = origin.url
        self._buffer = bytearray(_HEAD)
        self._view = memoryview(self._buffer)
        self._start = self._stop = 0
        self._socket = _connected(origin)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def stale(self) -> bool:
        """Whether the server has closed it, or said something unasked."""
        return time.monotonic() - self.idle_since > _IDLE or bool(self._poll.poll(0))

    def send(self, head: bytes, body: bytes) -> None:
        """Send a request; a small one leaves in one segment."""
        try:
            if len(body) <= _HEAD:
                self._socket.sendall(head + body)
            else:
                self._socket.sendall(head)
                self._socket.sendall(body)
        except TimeoutError as error:
            raise boto.ReadTimeoutError(endpoint_url=self._url, error=error) from error
        except OSError as error:
            raise self._closed() from error

    def head(self) -> Head:
        """The next answer's head; interim answers (1xx) are skipped."""
        while True:
            while (end := self._buffer.find(b"\r\n\r\n", self._start, self._stop)) < 0:
                self._fill()
            found = self._parsed(self._buffer[self._start : end].decode("latin-1"))
            self._start = end + 4
            if found.status >= 200:  # noqa: PLR2004
                return found

    def line(self) -> bytes:
        """One line, without its end."""
        while (end := self._buffer.find(b"\r\n", self._start, self._stop)) < 0:
            self._fill()
        line = bytes(self._view[self._start : end])
        self._start = end + 2
        return line

    def receive(self, view: memoryview) -> int:
        """Put the next bytes into `view`; how many, 0 at the end of the connection."""
        ready = min(self._stop - self._start, len(view))
        if ready:
            view[:ready] = self._view[self._start : self._start + ready]
            self._start += ready
            return ready
        try:
            return self._socket.recv_into(view)
        except TimeoutError as error:
            raise boto.ReadTimeoutError(endpoint_url=self._url, error=error) from error
        except OSError as error:
            raise boto.ResponseStreamingError(error=error) from error

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _fill(self) -> None:
        """Receive more behind what is there; raises when the server is gone or talks too much."""
        if self._start:
            rest = self._stop - self._start
            self._buffer[:rest] = self._buffer[self._start : self._stop]
            self._start, self._stop = 0, rest
        if self._stop == _HEAD:
            raise self._closed()
        try:
            count = self._socket.recv_into(self._view[self._stop :])
        except TimeoutError as error:
            raise boto.ReadTimeoutError(endpoint_url=self._url, error=error) from error
        except OSError as error:
            raise self._closed() from error
        if not count:
            raise self._closed()
        self._stop += count

    def _parsed(self, text: str) -> Head:
        first, *lines = text.split("\r\n")
        version, _, rest = first.partition(" ")
        status = rest[:3]
        if version not in {"HTTP/1.1", "HTTP/1.0"} or not status.isdecimal():
            raise self._closed()
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise self._closed()
            name = name.lower()
            value = value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Head(int(status), headers, keep)

    def _closed(self) -> boto.ConnectionClosedError:
        return boto.ConnectionClosedError(endpoint_url=self._url)


def _connected(origin: Origin) -> socket.socket:
    try:
        plain = socket.create_connection((origin.host, origin.port), origin.connect_timeout)
    except TimeoutError as error:
        raise boto.ConnectTimeoutError(endpoint_url=origin.url, error=error) from error
    except OSError as error:
        raise boto.EndpointConnectionError(endpoint_url=origin.url, error=error) from error
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if origin.tls is not None:
            plain = origin.tls.wrap_socket(plain, server_hostname=origin.host)
        plain.settimeout(origin.read_timeout)
    except TimeoutError as error:
        plain.close()
        raise boto.ConnectTimeoutError(endpoint_url=origin.url, error=error) from error
    except ssl.SSLError as error:
        plain.close()
        raise boto.SSLError(endpoint_url=origin.url, error=error) from error
    except OSError as error:
        plain.close()
        raise boto.EndpointConnectionError(endpoint_url=origin.url, error=error) from error
    return plain


class Body:
    """The body of one answer. `close` gives the connection back, or drops what was not read."""

    def __init__(
        self, connection: Connection, verb: str, head: Head, done: Callable[[Connection], None]
    ) -> None:
        """`done` takes a connection that may be used again.

        Raises `ConnectionClosedError` when the length makes no sense.
        """
        self._connection = connection
        self._done = done
        self._keep = head.keep
        self._open = True
        self._chunked = False
        self._between = False
        self._left: int | None = None
        length = head.headers.get("content-length")
        if verb == "HEAD" or head.status in _NO_BODY:
            self._left = 0
        elif "transfer-encoding" in head.headers:
            self._chunked = head.headers["transfer-encoding"].lower() == "chunked"
            self._left = 0 if self._chunked else None
        elif length is not None:
            if not length.isdecimal():
                raise boto.ResponseStreamingError(error=f"Content-Length: {length}")
            self._left = int(length)
        self._keep &= self._left is not None

    def feed(self, sink: Callable[[memoryview], None]) -> None:
        """Give everything to the sink, piece by piece; a piece is overwritten by the next.

        Raises `ResponseStreamingError` and `ReadTimeoutError` when the body ends early.
        """
        room = memoryview(bytearray(min(_PIECE, self._left or _PIECE)))
        while count := self._gather(room):
            sink(room[:count])

    def read(self, limit: int) -> bytes:
        """All of it. Raises `ResponseStreamingError` also above `limit` bytes."""
        whole = bytearray()
        room = memoryview(bytearray(min(_HEAD, self._left or _HEAD)))
        while count := self._receive(room):
            whole += room[:count]
            if len(whole) > limit:
                raise boto.ResponseStreamingError(error=f"an answer of more than {limit} bytes")
        return bytes(whole)

    def close(self) -> None:
        """Once or more often."""
        if self._open:
            self._open = False
            if self._keep and self._left == 0 and not self._chunked:
                self._done(self._connection)
            else:
                self._connection.close()

    def _gather(self, room: memoryview) -> int:
        """Few large pieces rather than many small ones: each costs a turn of the lock."""
        count = more = self._receive(room)
        until = time.monotonic() + _GATHER
        while more and count < len(room) and self._left and time.monotonic() < until:
            more = self._receive(room[count:])
            count += more
        return count

    def _receive(self, room: memoryview) -> int:
        if self._left == 0 and self._chunked:
            self._left = self._next_chunk()
        if self._left == 0:
            return 0
        count = self._connection.receive(room if self._left is None else room[: self._left])
        if self._left is not None:
            if not count:
                raise boto.ResponseStreamingError(error=f"{self._left} bytes are missing")
            self._left -= count
        return count

    def _next_chunk(self) -> int:
        """The size of the next chunk (RFC 9112 section 7.1); 0 behind the last and its trailers."""
        ending = self._connection.line() if self._between else b""
        size = self._connection.line().partition(b";")[0].strip()
        if ending or not size or size.strip(b"0123456789abcdefABCDEF"):
            raise boto.ResponseStreamingError(error="chunks that are none")
        self._between = True
        if not int(size, 16):
            self._chunked = False
            while self._connection.line():
                continue
        return int(size, 16)


class Pool:
    """The connections that nobody uses now, to any origin; at most `size` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    def take(self, origin: Origin) -> Connection:
        """The one that was used last and is still good, or a new one; see `Connection`."""
        while found := self._last(origin):
            if not found.stale():
                return found
            found.close()
        return Connection(origin)

    def give(self, connection: Connection) -> None:
        """Keep it for another request, rather than the one that was idle longest."""
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)
            surplus = self._idle.pop(0) if len(self._idle) > self._size else None
        if surplus is not None:
            surplus.close()

    def _last(self, origin: Origin) -> Connection | None:
        with self._lock:
            for at in range(len(self._idle) - 1, -1, -1):
                if self._idle[at].origin is origin:
                    return self._idle.pop(at)
        return None

    def close(self) -> None:
        """Close those that are idle; what is under way closes its own."""
        with self._lock:
            self._size = 0
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
