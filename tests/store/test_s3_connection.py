"""HTTP as it may come over a socket: each form by name, byte for byte."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from botocore import exceptions as boto
from hypothesis import given
from hypothesis import strategies as st

from objfs.store.s3.connection import Body, Connection, Head, Origin, Pool

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"0123456789" * 100
KEPT = b"content-length: 1000\r\n\r\n" + BODY


@contextmanager
def saying(*pieces: bytes, pause: float = 0.0, hold: bool = False) -> Iterator[Origin]:
    """A server that waits for a request, says these pieces, and closes unless told to hold."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                for piece in pieces:
                    peer.sendall(piece)
                    time.sleep(pause)
                if hold:
                    over.wait(5)

        thread = threading.Thread(target=serve)
        thread.start()
        host, port = server.getsockname()
        try:
            yield Origin(f"http://{host}:{port}/", host, port, None, 1.0, 0.5)
        finally:
            over.set()
            thread.join()


def asked(
    origin: Origin, verb: str = "GET", done: Callable[[Connection], None] = Connection.close
) -> tuple[Head, Body]:
    """The answer to a request."""
    connection = Connection(origin)
    try:
        connection.send(b"GET / HTTP/1.1\r\n\r\n", b"")
        head = connection.head()
        return head, Body(connection, verb, head, done)
    except BaseException:
        connection.close()
        raise


def read(origin: Origin, limit: int = 2000, verb: str = "GET") -> bytes:
    """The whole body of the answer to a request."""
    with closing(asked(origin, verb)[1]) as body:
        return body.read(limit)


def fed(origin: Origin) -> bytes:
    """The same, by a sink."""
    pieces: list[bytes] = []
    with closing(asked(origin)[1]) as body:
        body.feed(lambda piece: pieces.append(bytes(piece)))
    return b"".join(pieces)


CHUNKS = b"3;x=y\r\n012\r\n3e4\r\n" + BODY[3:999] + b"\r\n01\r\n9\r\n0\r\nx-trailer: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ([OK + KEPT], True),
        ([bytes([byte]) for byte in OK + KEPT[:30]] + [KEPT[30:]], True),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK + KEPT], True),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS], True),
        ([OK + b"transfer-encoding: chunked\r\n\r\n", *(bytes([byte]) for byte in CHUNKS)], True),
        ([OK + b"connection: Close\r\n" + KEPT], False),
        ([b"HTTP/1.0 200 OK\r\n" + KEPT], False),
        ([OK + b"\r\n" + BODY], False),
        ([OK + b"transfer-encoding: gzip\r\n\r\n" + BODY], False),
    ],
    ids=[
        *("length", "bytewise", "interim", "chunks", "chunks bytewise", "close", "http/1.0"),
        *("until the end", "unknown coding"),
    ],
)
def test_a_body_is_read_and_the_connection_kept(said: list[bytes], kept: bool):  # noqa: FBT001
    """Every form that a body may have gives its bytes; the connection is kept where it may be."""
    with saying(*said) as origin:
        assert fed(origin) == BODY
    back: list[Connection] = []
    with saying(*said) as origin:
        body = asked(origin, done=back.append)[1]
        assert body.read(len(BODY)) == BODY
        body.close()
        body.close()
    assert len(back) == kept
    for connection in back:
        connection.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b" folded: x\r\n\r\n",
        OK + b"x" * 70_000,
    ],
)
def test_a_head_that_is_none(said: bytes):
    """What is no answer is a closed connection: boto3 may try its luck."""
    with saying(said) as origin, pytest.raises(boto.ConnectionClosedError):
        asked(origin)


@pytest.mark.parametrize(
    "said",
    [
        OK + b"content-length: 1000\r\n\r\n" + BODY[:999],
        OK + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS[:500],
        OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n-1\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\n0123",
        OK + b"content-length: 1000, 1000\r\n\r\n" + BODY,
        OK + b"content-length: -1\r\n\r\n",
    ],
)
def test_a_body_that_breaks(said: bytes):
    """A body that ends early, or whose length makes no sense, is an error and never short."""
    broken = (boto.ResponseStreamingError, boto.ConnectionClosedError)
    with saying(said) as origin, pytest.raises(broken):
        read(origin)


def test_silence_ends_by_the_time_out():
    """Before the head and inside the body."""
    for said in (b"", OK + b"content-length: 10\r\n\r\n0123"):
        with saying(said, hold=True) as origin, pytest.raises(boto.ReadTimeoutError):
            read(origin)


@pytest.mark.parametrize("verb", ["HEAD", "GET"])
def test_no_body(verb: str):
    """HEAD and 204 have none, whatever the length says."""
    status = b"200" if verb == "HEAD" else b"204"
    with saying(b"HTTP/1.1 " + status + b" x\r\ncontent-length: 5\r\n\r\n", hold=True) as origin:
        assert read(origin, verb=verb) == b""


def test_more_than_may_be_in_memory():
    """An endless answer to a small question is cut off."""
    with saying(OK + b"\r\n" + b"x" * 5000) as origin, pytest.raises(boto.ResponseStreamingError):
        read(origin, 4000)


def test_slow_bytes_are_not_held_back():
    """A sink hears of bytes soon after they came, not when a large piece is full."""
    said = [OK + b"content-length: 20\r\n\r\n", *[b"0123"] * 5]
    moments: list[float] = []
    with saying(*said, pause=0.2) as origin, closing(asked(origin)[1]) as body:
        body.feed(lambda _: moments.append(time.monotonic()))
    assert len(moments) >= 3


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6))
def test_chunks_in_any_cut(chunks: list[bytes]):
    """Any sequence of chunks is their concatenation."""
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    with saying(OK + b"transfer-encoding: chunked\r\n\r\n", coded, b"0\r\n\r\n") as origin:
        assert read(origin) == b"".join(chunks)


def test_the_pool_is_bounded():
    """What does not fit is closed; what was closed meanwhile is not given out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        origin = Origin("", host, port, None, 1.0, 0.5)
        elsewhere = Origin("", host, port, None, 1.0, 0.5)
        pool = Pool(size=2)
        given = [pool.take(origin) for _ in range(3)]
        peers = [server.accept()[0] for _ in given]
        for connection in given:
            pool.give(connection)
        assert peers[0].recv(1) == b""
        peers[2].close()
        time.sleep(0.05)
        assert pool.take(origin) is given[1]
        pool.give(given[1])
        other = pool.take(elsewhere)
        assert other is not given[1]
        other.close()
        pool.close()
        assert peers[1].recv(1) == b""
        for peer in peers:
            peer.close()
