"""The link of the benchmark delays every byte, changes none, and counts what it passes."""

import http.client
import threading
import time
from collections import Counter

import pytest

from scripts.benchmark.link import Requests, linked
from tests.store.scripted_s3 import Answer, scripted

PUT = b"PUT /b/k?partNumber=1&uploadId=u HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /"
COPY = b"PUT /b/k HTTP/1.1\r\nX-Amz-Copy-Source: b/a\r\nContent-Length: 0\r\n\r\n"
LIST = b"GET /b?delimiter=%2F&prefix= HTTP/1.1\r\n\r\n"


def test_a_request_takes_a_round_trip_more_and_a_connection_another() -> None:
    """No answer comes before its time, bodies are whole, and each request is counted once."""
    body = bytes(range(256)) * 4096
    with scripted() as script, linked(script.endpoint, 60) as link:
        script.answers += [Answer(body=body), Answer(201)]
        connection = http.client.HTTPConnection(link.endpoint.removeprefix("http://"), timeout=10)
        began = time.monotonic()
        connection.request("GET", "/b/k")
        assert connection.getresponse().read() == body
        assert time.monotonic() - began >= 0.12
        began = time.monotonic()
        connection.request("PUT", "/b/k", body)
        assert connection.getresponse().read() == b""
        assert time.monotonic() - began >= 0.06
        connection.close()
        assert script.requests[1].body == body
        passed = link.taken()
        assert passed.requests == {"GET": 1, "PUT": 1}
        assert len(body) < passed.fetched < len(body) + 2000
        assert len(body) < passed.sent < len(body) + 2000
        assert link.taken().requests == {}


def test_requests_wait_side_by_side() -> None:
    """Ten at once take less than the round trips of ten, one after another."""
    with scripted() as script, linked(script.endpoint, 200) as link:
        script.answers += [Answer(body=b"x")] * 10

        def ask() -> None:
            host = link.endpoint.removeprefix("http://")
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.request("GET", "/b/k")
            connection.getresponse().read()
            connection.close()

        threads = [threading.Thread(target=ask) for _ in range(10)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 4.0 / 2
        assert link.taken().requests == {"GET": 10}


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_requests_are_found_however_the_bytes_come(step: int) -> None:
    """A body that looks like a request is none, whatever the pieces."""
    found: Counter[str] = Counter()
    requests = Requests(found)
    stream = PUT + COPY + LIST + PUT
    for at in range(0, len(stream), step):
        requests.feed(stream[at : at + step])
    assert found == {"PART": 2, "COPY": 1, "LIST": 1}


def test_a_store_that_is_down_hangs_up() -> None:
    """Nobody waits for a server that refuses."""
    with scripted() as script:
        endpoint = script.endpoint
    with linked(endpoint, 1) as link:
        connection = http.client.HTTPConnection(link.endpoint.removeprefix("http://"), timeout=10)
        connection.request("GET", "/b/k")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            connection.getresponse()
        connection.close()
