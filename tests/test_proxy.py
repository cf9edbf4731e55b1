"""The proxy of the fault tests fails as it was told, and only then."""

import http.client
from collections.abc import Iterator

import pytest

from tests.proxy import Fault, Proxy, flipped, halved, proxy, refusal
from tests.store.scripted_s3 import Answer, Script, scripted


@pytest.fixture
def script() -> Iterator[Script]:
    """The server."""
    with scripted() as play:
        yield play


@pytest.fixture
def link(script: Script) -> Iterator[Proxy]:
    """The proxy in front of it."""
    with proxy(script.endpoint) as made:
        yield made


def ask(link: Proxy, verb: str = "GET", path: str = "/b/k", body: bytes | None = None):
    """One request; status, headers and body."""
    connection = http.client.HTTPConnection(link.endpoint.removeprefix("http://"), timeout=0.5)
    try:
        connection.request(verb, path, body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_passes(script: Script, link: Proxy):
    """Without a fault, requests and answers go through and are counted."""
    script.answers += [Answer(body=b"hello"), Answer(201)]
    assert ask(link)[2] == b"hello"
    assert ask(link, "PUT", "/b/k?partNumber=1&uploadId=u", b"data")[0] == 201
    assert script.requests[1].body == b"data"
    assert link.counts == {"GET": 1, "PART": 1}


def test_refuses(script: Script, link: Proxy):
    """An injected answer is given so many times; the server hears nothing of it."""
    link.fail(Fault("GET", "/b/k", times=1, answer=refusal(503, "SlowDown", Retry_After="7")))
    status, headers, body = ask(link)
    assert (status, headers["Retry-After"]) == (503, "7")
    assert b"<Code>SlowDown</Code>" in body
    script.answers.append(Answer(body=b"ok"))
    assert ask(link)[2] == b"ok"
    assert len(script.requests) == 1


def test_changes_bodies(script: Script, link: Proxy):
    """A byte is flipped; a body is cut, with and without a Content-Length that agrees."""
    script.answers += [Answer(body=b"abcdef")] * 3
    link.fail(Fault(times=1, change=flipped))
    assert ask(link)[2] == b"abceef"
    link.fail(Fault(times=1, change=halved))
    assert ask(link)[2] == b"abc"
    link.fail(Fault(change=halved, agrees=False))
    with pytest.raises(http.client.IncompleteRead):
        ask(link)


def test_connections(script: Script, link: Proxy):
    """Down is refused, hung is silence, reset is before or after the server has done it."""
    link.down()
    with pytest.raises(ConnectionRefusedError):
        ask(link)
    link.mend()
    link.fail(Fault(hang=True))
    with pytest.raises(TimeoutError):
        ask(link)
    link.mend()
    link.fail(Fault("GET", reset="before"))
    link.fail(Fault("PUT", reset="after"))
    for verb, reached in (("GET", 0), ("PUT", 1)):
        script.answers[:] = [Answer()]
        with pytest.raises(ConnectionResetError):
            ask(link, verb)
        assert len(script.requests) == reached
