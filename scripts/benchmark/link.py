"""A network between a mount and the store: every byte is late by half a round trip, each way.

`python -m scripts.benchmark.link TARGET SECONDS` is a process of its own, which prints its port and
then answers every line on its standard input with what has passed since the last one, as JSON; it
ends with its input. `linked` starts it. A new connection costs the one round trip of its handshake.

Semantics: delay only. It loses nothing and limits no rate: chunks wait side by side, up to WINDOW a
connection. It reads the first line of each request, to count it; bodies it passes on unread. The
proxy of the fault tests (`tests/proxy.py`) holds whole messages instead, in order to change them.

Of the event loops, select(2) is the one that waits for fractions of a millisecond: with epoll(7)
asyncio is up to one late, each way. A GiB costs it 0.7 s of one core.
"""

import asyncio
import json
import os
import re
import selectors
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.proxy import operation_of

CHECKOUT = Path(__file__).resolve().parents[2]
WINDOW = 16 * 2**20
"""Bytes under way on one connection and in one direction: 1.6 GB/s at 20 ms."""
CHUNK = 256 * 2**10
LONGEST_HEAD = 64 * 2**10
END_SECONDS = 10.0


@dataclass
class Passed:
    """What went over a link."""

    requests: Counter[str] = field(default_factory=Counter)
    """By operation, see `tests.proxy.OPERATIONS`."""
    fetched: int = 0
    """Bytes from the store, headers included."""
    sent: int = 0


class Requests:
    """Finds the requests in what a client sends."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._head = bytearray()
        self._body = 0

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises ValueError for what cannot be followed."""
        at = 0
        while at < len(data):
            if self._body:
                step = min(self._body, len(data) - at)
                self._body -= step
                at += step
                continue
            known = len(self._head)
            self._head += data[at : at + LONGEST_HEAD]
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > LONGEST_HEAD:
                    raise ValueError("a request's head does not end")
                return
            at += end + 4 - known
            self._count(bytes(self._head[:end]))
            self._head.clear()

    def _count(self, head: bytes) -> None:
        lowered = head.lower()
        if b"\r\ntransfer-encoding:" in lowered:
            raise ValueError("a request of unknown length")
        length = re.search(rb"\r\ncontent-length: *(\d+)", lowered)
        self._body = int(length[1]) if length else 0
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        self._counts[operation_of(line, copies=b"\r\nx-amz-copy-source:" in lowered)] += 1


class Way:
    """One direction of one connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float, open_at: float = 0.0) -> None:
        self._loop = loop
        self._delay = delay
        self._open_at = open_at
        self._late: deque[tuple[float, bytes]] = deque()
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._source: asyncio.Transport | None = None
        self._sink: asyncio.Transport | None = None

    def join(
        self, source: asyncio.Transport | None = None, sink: asyncio.Transport | None = None
    ) -> None:
        """Where the bytes come from, and where they go to."""
        self._source = source or self._source
        self._sink = sink or self._sink
        self._arm()

    def push(self, data: bytes) -> None:
        """These come next; b"" is the end."""
        self._late.append((max(self._loop.time() + self._delay, self._open_at), data))
        self._waiting += len(data)
        if self._waiting > WINDOW and self._source:
            self._source.pause_reading()
        self._arm()

    def hold(self, *, stopped: bool) -> None:
        """The receiver is slow, or no more."""
        self._stopped = stopped
        self._arm()

    def _arm(self) -> None:
        if self._timer is None and self._late and self._sink and not self._stopped:
            self._timer = self._loop.call_at(self._late[0][0], self._go)

    def _go(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._sink and self._late and not self._stopped and self._late[0][0] <= now:
            _, data = self._late.popleft()
            self._waiting -= len(data)
            if data:
                self._sink.write(data)
            else:
                self._sink.close()
        if self._source and self._waiting <= WINDOW // 2 and not self._source.is_closing():
            self._source.resume_reading()
        self._arm()


class End(asyncio.Protocol):
    """One end of a connection: `out` takes what it says, `back` is what it is told."""

    def __init__(self, link: "Link", out: Way, back: Way, counting: Requests | None = None) -> None:
        self._link = link
        self._out, self._back = out, back
        self._counting = counting
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.max_size = CHUNK  # type: ignore[attr-defined]  # what one recv takes
        transport.set_write_buffer_limits(WINDOW)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out.join(source=transport)
        self._back.join(sink=transport)
        if self._counting:
            self._link.connect(self._out, self._back)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._counting:
            self._link.passed.sent += len(data)
            try:
                self._counting.feed(data)
            except ValueError as error:
                print(f"link: {error}", file=sys.stderr)
                self._transport.abort()
        else:
            self._link.passed.fetched += len(data)
        self._out.push(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        """See asyncio.Protocol."""
        self._back.hold(stopped=True)
        self._out.push(b"")

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._back.hold(stopped=True)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._back.hold(stopped=False)


class Link:
    """The listening end, and the count of what passed."""

    def __init__(self, target: str, round_trip: float) -> None:
        parts = urlsplit(target)
        assert parts.hostname
        assert parts.port
        self._target = parts.hostname, parts.port
        self._round_trip = round_trip
        self._tasks: set[asyncio.Task[None]] = set()
        self.passed = Passed()

    def accept(self) -> End:
        """A client has connected; its first byte comes a handshake later."""
        loop = asyncio.get_running_loop()
        out = Way(loop, self._round_trip / 2, loop.time() + self._round_trip * 1.5)
        return End(self, out, Way(loop, self._round_trip / 2), Requests(self.passed.requests))

    def connect(self, out: Way, back: Way) -> None:
        """Reach the store for a client."""
        task = asyncio.get_running_loop().create_task(self._connect(out, back))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, out: Way, back: Way) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: End(self, back, out), *self._target)
        except OSError:
            back.push(b"")  # hung up on, as by a store that is down

    async def serve(self) -> None:
        """Until the standard input ends."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self.accept, "127.0.0.1", 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        ended = asyncio.Event()
        loop.add_reader(0, self._told, ended)
        await ended.wait()
        server.close()

    def _told(self, ended: asyncio.Event) -> None:
        if not os.read(0, 1):
            ended.set()
            return
        print(json.dumps(vars(self.passed)), flush=True)
        self.passed.requests.clear()  # this very object: each connection counts into it
        self.passed.fetched = self.passed.sent = 0


class Linked:
    """A link that runs, from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.endpoint = f"http://127.0.0.1:{self._read().strip()}"

    def taken(self) -> Passed:
        """What has passed since the last time."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told = json.loads(self._read())
        return Passed(Counter(told["requests"]), told["fetched"], told["sent"])

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise OSError("the link between mount and store has ended")
        return line


@contextmanager
def linked(target: str, milliseconds: float) -> Iterator[Linked]:
    """A link to the store at *target* (http://HOST:PORT), until the block is left."""
    command = [sys.executable, "-P", "-m", "scripts.benchmark.link", target]
    with subprocess.Popen(
        [*command, str(milliseconds / 1000)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us, who then end it in good order
    ) as process:
        try:
            yield Linked(process)
        finally:
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A bug of ours: whoever waits for an answer hears that nobody is here."""
    loop.default_exception_handler(context)
    os._exit(1)


def main() -> None:
    """The process."""
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.set_exception_handler(_give_up)
    loop.run_until_complete(Link(sys.argv[1], float(sys.argv[2])).serve())


if __name__ == "__main__":
    main()
