"""What the Azure driver makes of answers that no emulator gives: lost, late, refused, strange."""

import base64
import hashlib
import time
from collections.abc import Iterator

import pytest

from objfs import errors
from objfs.config import StoreConfig
from objfs.store.azure.driver import AzureStore
from objfs.store.azure.errors import CODES, STATUSES, answered
from objfs.types import ABSENT, Headers, Part
from tests.store.kit import Bucket, file_range
from tests.store.scripted_s3 import DATE, Answer, Script, scripted

BUSY = Answer(503, {"x-ms-error-code": "ServerBusy"})
EXISTS = Answer(409, {"x-ms-error-code": "BlobAlreadyExists"})
SECRET = "c2VjcmV0LWtleQ=="


@pytest.fixture
def script() -> Iterator[Script]:
    """A server that says what it is told to."""
    with scripted() as script:
        yield script


@pytest.fixture
def bucket(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A driver that talks to it, with four seconds to spend."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
    monkeypatch.setenv("AZURE_STORAGE_KEY", SECRET)
    config = StoreConfig("az://c", "az", "c", endpoint_url=script.endpoint, timeout=4.0)
    store = AzureStore(config)
    yield Bucket(store)
    store.close()


def facts(body: bytes, **more: str) -> dict[str, str]:
    """The headers of a blob."""
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return {"ETag": '"0x1"', "Last-Modified": DATE, "Content-MD5": md5} | more


def head(body: bytes) -> Answer:
    """The answer to a HEAD."""
    return Answer(200, facts(body), body)


def test_a_put_whose_answer_was_lost(bucket: Bucket, script: Script) -> None:
    """A repeated put that finds the name taken by its own bytes has landed."""
    script.answers += [Answer(hang_up=True), EXISTS, head(b"mine")]
    assert bucket.put("x", b"mine", expect=ABSENT).etag == "0x1"
    assert [request.verb for request in script.requests] == ["PUT", "PUT", "HEAD"]
    assert script.requests[1].headers["if-none-match"] == "*"


def test_a_repeated_body_is_sent_from_its_beginning(bucket: Bucket, script: Script) -> None:
    """A file's bytes that were sent once are sent again, all of them."""
    script.answers += [Answer(hang_up=True), Answer(201, {"ETag": '"0x1"'})]
    with file_range(b"in front", b"body" * 50_000, b"behind") as source:
        bucket.put("x", source)
    assert [request.body for request in script.requests] == [b"body" * 50_000] * 2


def test_a_put_that_lost_to_somebody(bucket: Bucket, script: Script) -> None:
    """Other bytes under the name are a conflict, repeated or not; then nothing else is asked."""
    script.answers += [Answer(hang_up=True), EXISTS, head(b"theirs")]
    with pytest.raises(errors.PreconditionFailed):
        bucket.put("x", b"mine", expect=ABSENT)
    script.answers += [EXISTS]
    with pytest.raises(errors.PreconditionFailed):
        bucket.put("x", b"theirs", expect=ABSENT)
    assert not script.answers


def test_a_commit_whose_answer_was_lost(bucket: Bucket, script: Script) -> None:
    """A repeated commit that finds its blocks gone has landed, if the blob consists of them."""
    script.answers += [Answer(201)]
    upload = bucket.driver.start_parts("x", Headers("text/x", {"k": "v"}))
    part = bucket.driver.put_part
    script.answers += [Answer(201)]
    sent: Part = part("x", upload, 1, b"body")
    block = script.requests[-1].path.partition("blockid=")[2].replace("%2B", "+")
    block = block.replace("%3D", "=").replace("%2F", "/")
    listed = (
        "<BlockList><CommittedBlocks><Block><Name>{}</Name><Size>4</Size></Block>"
        "</CommittedBlocks></BlockList>"
    )
    gone = Answer(400, {"x-ms-error-code": "InvalidBlockList"})
    script.answers += [BUSY, gone, Answer(200, {}, listed.format(block).encode()), head(b"body")]
    assert bucket.driver.finish_parts("x", upload, [sent]).etag == "0x1"
    commit = script.requests[2].headers
    assert (commit["x-ms-blob-content-type"], commit["x-ms-meta-k"]) == ("text/x", "v")
    script.answers += [BUSY, gone, Answer(200, {}, listed.format("b3RoZXI=").encode())]
    with pytest.raises(errors.NoSuchUpload):
        bucket.driver.finish_parts("x", upload, [sent])


def test_retry_after_is_kept_or_given_up(bucket: Bucket, script: Script) -> None:
    """A second is waited for; an hour is not, and the caller hears that Azure is busy."""
    script.answers += [Answer(503, BUSY.headers | {"Retry-After": "1"}), head(b"x")]
    began = time.monotonic()
    bucket.head("x")
    assert time.monotonic() - began >= 1
    script.answers += [Answer(503, BUSY.headers | {"Retry-After": "3600"})]
    with pytest.raises(errors.Throttled):
        bucket.head("x")
    assert not script.answers


def test_it_is_not_asked_for_ever(bucket: Bucket, script: Script) -> None:
    """What half of the time-out leaves room for are three tries; then the answer is the last."""
    script.answers += [Answer(500)] * 3
    with pytest.raises(errors.Unavailable):
        bucket.head("x")
    assert not script.answers


def test_a_silent_server(bucket: Bucket, script: Script) -> None:
    """One that takes the request and says nothing is TimedOut, within the time-out."""
    script.answers += [Answer(200, facts(b""), b"", promised=5, stall=8)] * 3
    began = time.monotonic()
    with pytest.raises(errors.TimedOut):
        bucket.read("x", 0, 5)
    assert time.monotonic() - began < 7


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(206, facts(b"") | {"Content-Range": "bytes 0-1/9"}, b"ab"), errors.Corrupt),
        (Answer(206, facts(b"") | {"Content-Range": "bytes 2-3/9"}, b"a", 2), errors.Unreachable),
        (Answer(200, facts(b""), b"all of it"), errors.Corrupt),
        (Answer(206, {"Last-Modified": "now", "Content-Range": "bytes 2-3/9"}, b"ab"), None),
    ],
)
def test_strange_ranges(
    bucket: Bucket, script: Script, answer: Answer, error: type[errors.ObjfsError] | None
) -> None:
    """Another range than was asked for, a short one, all of it, an odd date: never taken for it."""
    script.answers += [answer]
    with pytest.raises(error or errors.StoreError):
        bucket.read("x", 2, 4)


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"no xml", b"<Other/>"])
def test_what_is_no_listing(bucket: Bucket, script: Script, body: bytes) -> None:
    """A page of a proxy, with status 200, is no empty container."""
    script.answers += [Answer(200, {}, body)]
    with pytest.raises(errors.StoreError, match="LIST"):
        bucket.page()


def test_a_changed_target_of_a_slow_copy(bucket: Bucket, script: Script) -> None:
    """A copy is waited for; when somebody else's blob takes its place it has failed."""
    going = {"x-ms-copy-id": "1", "x-ms-copy-status": "pending"}
    done = {"x-ms-copy-id": "1", "x-ms-copy-status": "success"}
    lost = errors.PreconditionFailed
    for last, error in ((done, None), (going | {"x-ms-copy-id": "2"}, lost), ({}, lost)):
        script.answers += [Answer(202, going)]
        script.answers += [Answer(200, facts(b"") | told) for told in (going, last)]
        if error is None:
            assert bucket.copy("a", "b").etag == "0x1"
        else:
            with pytest.raises(error):
                bucket.copy("a", "b")


@pytest.mark.parametrize("code", sorted(CODES))
def test_codes(code: str) -> None:
    """Every code gives its class, and a message with operation, key and code."""
    error = answered("GET", "k", 400, {"x-ms-error-code": code, "x-ms-request-id": "r"})
    assert type(error) is CODES[code].error
    assert str(error).startswith(f"GET k: {CODES[code].text} ({code}, HTTP 400, request r)")


@pytest.mark.parametrize("status", [*STATUSES, 418])
def test_statuses(status: int) -> None:
    """Without a known code the status decides; one that is not known is an error all the same."""
    error = answered("GET", "k", status, {"x-ms-error-code": "Strange"})
    assert f"HTTP {status}" in str(error)


def test_a_refused_signature_is_not_quoted(bucket: Bucket, script: Script) -> None:
    """Azure sends back what was signed; it stays out of the message."""
    body = b"<Error><Message>the MAC signature 'abc=' is not</Message></Error>"
    script.answers += [Answer(403, {"x-ms-error-code": "AuthenticationFailed"}, body)]
    with pytest.raises(errors.BadCredentials) as caught:
        bucket.driver.check()
    assert "abc" not in str(caught.value)
    assert SECRET not in repr(script.requests[0].headers)
