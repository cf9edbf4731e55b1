"""The Swift driver against answers that real servers give rarely: a scripted server on loopback."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from objfs import errors
from objfs.store.swift import transport
from objfs.store.swift.driver import SwiftStore
from objfs.store.swift.errors import answered
from objfs.store.swift.products import recognise
from objfs.types import ABSENT, ETag, Expect, Headers
from tests.store.scripted_s3 import Answer, Script, scripted
from tests.swift import config_of

OPENSTACK = {"swift": {"max_object_name_length": 1024}, "slo": {"max_manifest_segments": 1000}}
RADOSGW = {"swift": {"max_object_name_size": 1024}, "slo": {"max_manifest_segments": 1000}}
MD5 = hashlib.md5(b"body").hexdigest()
SECRET = "very-secret-token"


@pytest.fixture
def script() -> Iterator[Script]:
    """A server on loopback that plays what the test appends to `answers`."""
    with scripted() as play:
        yield play


Make = Callable[..., SwiftStore]


@pytest.fixture
def make(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes drivers on the scripted server, which is OpenStack's: no waiting between attempts."""
    monkeypatch.setattr(transport, "PAUSE", 0.0)
    monkeypatch.setattr(transport, "READ_TIMEOUT", 0.3)
    made: list[SwiftStore] = []

    def build(info: object = OPENSTACK, **more: Any) -> SwiftStore:
        environ = {"OS_STORAGE_URL": f"{script.endpoint}/v1/AUTH_a", "OS_AUTH_TOKEN": SECRET}
        made.append(SwiftStore(config_of("c", **more), environ))
        script.answers.append(Answer(body=json.dumps(info).encode()))
        made[-1]._known()
        script.requests.clear()
        return made[-1]

    yield build
    for store in made:
        store.close()


def an_object(data: bytes, **more: str) -> dict[str, str]:
    """The headers of an object."""
    etag = hashlib.md5(data).hexdigest()
    return {"Etag": etag, "X-Timestamp": "1795272826.88573", "Content-Type": "text/x"} | more


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.StoreError),
        (401, errors.BadCredentials),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (408, errors.TimedOut),
        (412, errors.PreconditionFailed),
        (413, errors.TooLarge),
        (416, errors.InvalidRange),
        (422, errors.Corrupt),
        (429, errors.Throttled),
        (498, errors.Throttled),
        (501, errors.Unsupported),
        (503, errors.Unavailable),
        (507, errors.NoSpace),
        (418, errors.StoreError),
    ],
)
def test_statuses(status: int, kind: type[errors.ObjfsError]) -> None:
    """Each status becomes exactly its class; the message names operation, key and request."""
    error = answered("GET", "data/x", status, {"x-trans-id": "tx1"}, b"")
    assert type(error) is kind
    assert error.message.startswith("GET data/x: ")
    assert f"(HTTP {status}, request tx1)" in error.message


def test_the_servers_sentence_is_quoted_where_it_helps() -> None:
    """Plain text is, a page of HTML is not."""
    said = answered("FINISH", "x", 400, {}, b"Each segment must be at least 1 byte.\n")
    assert said.message.endswith(": Each segment must be at least 1 byte")
    assert "html" not in answered("GET", "x", 400, {}, b"<html>no</html>").message


def test_what_may_pass_is_tried_again(script: Script, make: Make) -> None:
    """A 503, a broken connection and a 429 with Retry-After cost attempts, not the request."""
    store = make()
    script.answers += [
        Answer(503),
        Answer(hang_up=True),
        Answer(429, {"Retry-After": "0"}),
        Answer(headers=an_object(b"body", **{"Content-Length": "4"}), promised=4),
    ]
    assert store.head("x").etag == MD5
    assert len(script.requests) == 4


def test_attempts_end(script: Script, make: Make) -> None:
    """The last error is the one that is told, and carries no token."""
    store = make()
    script.answers += [Answer(503)] * transport.ATTEMPTS
    with pytest.raises(errors.Unavailable, match=r"HEAD x.*HTTP 503") as caught:
        store.head("x")
    assert SECRET not in str(caught.value)
    assert script.answers == []


def test_a_long_retry_after_is_the_callers_business(script: Script, make: Make) -> None:
    """A store that asks for more seconds than --timeout has is not waited for."""
    store = make(timeout=5.0)
    script.answers.append(Answer(429, {"Retry-After": "60"}))
    with pytest.raises(errors.Throttled):
        store.head("x")
    assert len(script.requests) == 1


def test_a_silent_server_is_timed_out(script: Script, make: Make) -> None:
    """Without a byte for the read time-out the request is given up."""
    store = make(timeout=0.5)
    more = {"Content-Range": "bytes 0-9/10"}
    script.answers.append(Answer(206, an_object(b"body") | more, promised=10, stall=2.0))
    with pytest.raises(errors.TimedOut, match="GET x: no answer in time"):
        store.get("x", lambda _: None, start=0, stop=10)


def test_a_put_carries_its_md5(script: Script, make: Make) -> None:
    """The MD5 goes with the bytes, and a refusal for it is Corrupt."""
    store = make()
    script.answers.append(Answer(422))
    with pytest.raises(errors.Corrupt, match="PUT x"):
        store.put("x", b"body", Headers("text/x", {"k": "v"}), expect=ABSENT)
    sent = script.requests[0].headers
    assert (sent["etag"], sent["if-none-match"], sent["x-object-meta-k"]) == (MD5, "*", "v")
    assert sent["x-auth-token"] == SECRET


def test_a_create_whose_answer_was_lost_has_landed(script: Script, make: Make) -> None:
    """A repeated create that meets its own first try is a success; a foreign object is not."""
    store = make()
    script.answers += [Answer(hang_up=True), Answer(412), Answer(headers=an_object(b"body"))]
    assert store.put("x", b"body", Headers(), expect=ABSENT).etag == MD5
    script.answers += [Answer(hang_up=True), Answer(412), Answer(headers=an_object(b"foreign"))]
    with pytest.raises(errors.PreconditionFailed):
        store.put("x", b"body", Headers(), expect=ABSENT)
    script.answers += [Answer(412)]
    with pytest.raises(errors.PreconditionFailed):
        store.put("x", b"body", Headers(), expect=ABSENT)


def test_a_manifest_whose_answer_was_lost_has_landed(script: Script, make: Make) -> None:
    """All answers lost, yet the object is the new one: a success, and the old segments go."""
    store = make()
    script.answers += [Answer(201), Answer(201)]
    upload = store.start_parts("x", Headers("text/x"))
    part = store.put_part("x", upload, 1, b"body")
    ours = {"X-Static-Large-Object": "True", "Etag": hashlib.md5(MD5.encode()).hexdigest()}
    old = {"X-Static-Large-Object": "True", "Etag": hashlib.md5(b"1" * 32).hexdigest()}
    rows = [{"path": "/c_segments/x/old/1", "etag": "1" * 32, "size_bytes": 4}]
    script.answers += [
        Answer(headers={"Content-Type": "text/x"}),
        Answer(headers=old),
        Answer(body=json.dumps(rows).encode()),
        *[Answer(hang_up=True)] * transport.ATTEMPTS,
        Answer(headers=ours),
        Answer(204),
        Answer(body=b"[]"),
        Answer(204),
    ]
    assert store.finish_parts("x", upload, [part]).etag == ours["Etag"] + "-slo"
    deleted = [request.path for request in script.requests if request.verb == "DELETE"]
    assert deleted[0].endswith("/c_segments/x%2Fold%2F1")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 1-4/9"},
        {"Content-Range": "bytes 0-3/9", "Etag": MD5},
        {},
    ],
)
def test_another_range_is_corrupt(script: Script, make: Make, headers: dict[str, str]) -> None:
    """A range that is not the one asked for is refused before a byte is fed."""
    store = make()
    script.answers.append(Answer(206, an_object(b"body") | headers, b"body"))
    fed: list[bytes] = []
    with pytest.raises(errors.Corrupt, match="GET x"):
        store.get("x", lambda view: fed.append(bytes(view)), start=2, stop=6)
    assert fed == []


def test_a_store_that_ignores_if_match(script: Script, make: Make) -> None:
    """Another version's bytes are refused before one is fed."""
    store = make()
    more = {"Content-Range": "bytes 0-3/4"}
    script.answers.append(Answer(206, an_object(b"body") | more, b"body"))
    fed: list[bytes] = []
    with pytest.raises(errors.PreconditionFailed):
        store.get(
            "x",
            lambda view: fed.append(bytes(view)),
            start=0,
            stop=4,
            expect=Expect(etag=ETag("0" * 32)),
        )
    assert fed == []


def test_a_cut_body_is_an_error(script: Script, make: Make) -> None:
    """A connection that ends before its Content-Length is no end of the object."""
    store = make()
    more = {"Content-Range": "bytes 0-7/8"}
    script.answers.append(Answer(206, an_object(b"body") | more, b"body", promised=8))
    with pytest.raises(errors.Unreachable, match="the connection broke"):
        store.get("x", lambda _: None, start=0, stop=8)


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b'{"a": 1}'])
def test_a_foreign_page_is_no_empty_container(script: Script, make: Make, body: bytes) -> None:
    """A hotel's sign-in page with status 200 is told from a listing."""
    store = make()
    script.answers.append(Answer(body=body))
    with pytest.raises(errors.StoreError, match="no Swift server"):
        store.list_page("")


def test_products() -> None:
    """What /info tells of each; what tells nothing is believed to check nothing."""
    known = {
        "openstack": recognise(json.dumps(OPENSTACK).encode(), 0),
        "radosgw": recognise(json.dumps(RADOSGW).encode(), 0),
        "silent": recognise(b"", 0),
        "odd": recognise(b"[1]", 0),
    }
    assert {name: (p.slo, p.capabilities.put_if_absent) for name, p in known.items()} == {
        "openstack": (True, True),
        "radosgw": (False, False),
        "silent": (False, False),
        "odd": (False, False),
    }
    assert recognise(json.dumps(OPENSTACK).encode(), 2**30).capabilities.min_part == 2**30


def test_dlo_where_slo_is_missing(script: Script, make: Make) -> None:
    """A cluster without SLO gets a dynamic manifest, after a look at what lies there."""
    store = make(info=RADOSGW)
    script.answers += [Answer(201), Answer(201)]
    upload = store.start_parts("x", Headers("text/x"))
    part = store.put_part("x", upload, 1, b"body")
    name = f"x/{upload}/00000001"
    row = {"name": name, "hash": MD5, "bytes": 4, "last_modified": "2026-11-21T14:53:47.011010"}
    script.answers += [
        Answer(headers={"Content-Type": "text/x"}),
        Answer(body=json.dumps([row]).encode()),
        Answer(body=b"[]"),
        Answer(404),
        Answer(201),
        Answer(body=json.dumps([row]).encode()),
        Answer(body=b"[]"),
        Answer(204),
    ]
    info = store.finish_parts("x", upload, [part])
    assert info.etag == hashlib.md5(MD5.encode()).hexdigest() + "-dlo"
    manifest = next(r for r in script.requests if "x-object-manifest" in r.headers)
    assert manifest.headers["x-object-manifest"] == f"c_segments/x/{upload}/"
    assert manifest.headers["content-type"] == "text/x"


def test_segments_that_cannot_be_removed_are_told(
    script: Script, make: Make, caplog: pytest.LogCaptureFixture, expected_logs: Any
) -> None:
    """The object is as it should be, so the call succeeds; the log says what stays."""
    expected_logs.allow(r"1 segments of x stay in the store")
    store = make()
    row = {"path": "/s/x/1", "etag": MD5, "size_bytes": 4}
    joined = hashlib.md5(MD5.encode()).hexdigest()
    script.answers += [
        Answer(headers={"Etag": f'"{joined}"', "X-Static-Large-Object": "True"}),
        Answer(body=json.dumps([row]).encode()),
        Answer(204),
        Answer(403),
    ]
    store.delete("x")
    assert "1 segments of x stay in the store: DELETE x/1: access denied" in caplog.text
