"""Stores and networks that lie, seen from the driver and the bucket: each trap by name.

The server is scripted; botocore's own retries are left as they are, without their pauses.
"""

import time
from collections.abc import Iterator

import pytest
from botocore.retries.standard import ExponentialBackoff

from objfs.config import StoreConfig
from objfs.errors import BadCredentials, Corrupt, Throttled, TimedOut, Unavailable
from objfs.store.bucket import Bucket
from objfs.store.s3 import S3Store
from objfs.types import ABSENT, ETag, Headers, Part
from tests.store.scripted_s3 import Answer, Script, failure, object_head, scripted

DATA = b"0123456789" * 1000


@pytest.fixture
def script() -> Iterator[Script]:
    """The server."""
    with scripted() as play:
        yield play


@pytest.fixture
def store(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    """A driver with `--timeout 2`."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)
    config = StoreConfig("s3://b", "s3", "b", endpoint_url=script.endpoint, timeout=2.0)
    made = S3Store(config)
    yield made
    made.close()


def ranged(data: bytes) -> Answer:
    """The whole object as the answer to a ranged GET."""
    head = object_head(DATA) | {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}
    return Answer(206, head, data)


async def test_a_short_body_that_agrees_with_itself_is_corrupt(script: Script, store: S3Store):
    """Its Content-Length says 5,000, its Content-Range says 10,000: boto3 takes it."""
    script.answers += [Answer(200, object_head(DATA)), ranged(DATA[:5000])]
    bucket = Bucket(store)
    info = await bucket.head("k")
    with pytest.raises(Corrupt):
        await bucket.get(info, 0, len(DATA), lambda _: None)


def test_finish_answers_200_with_an_error(script: Script, store: S3Store):
    """CompleteMultipartUpload says 200 and then fails: no success, whatever the status."""
    lie = Answer(200, {}, b"<Error><Code>InternalError</Code><Message>x</Message></Error>")
    script.answers += [lie] * 4 + [failure(500, "InternalError")] * 4  # the driver then looks
    part = Part(1, ETag("0" * 32), 5)
    with pytest.raises(Unavailable):
        store.finish_parts("k", "upload", [part])


def test_a_put_that_landed_is_no_conflict(script: Script, store: S3Store):
    """The answer is lost, the repeated If-None-Match is refused, and the object is ours."""
    script.answers += [
        Answer(hang_up=True),
        failure(412, "PreconditionFailed"),
        Answer(200, object_head(DATA) | {"Content-Type": "x/y"}),
    ]
    stored = store.put("k", DATA, Headers(), expect=ABSENT)
    assert stored.size == len(DATA)
    assert [request.verb for request in script.requests] == ["PUT", "PUT", "HEAD"]


def test_a_wrong_clock_is_said_at_once(script: Script, store: S3Store):
    """RequestTimeTooSkewed: one attempt, and the sentence names the clock."""
    script.answers.append(failure(403, "RequestTimeTooSkewed"))
    with pytest.raises(BadCredentials, match="clock"):
        store.list_page("")
    assert len(script.requests) == 1


def test_a_hung_server_is_given_up_on_in_time(script: Script, store: S3Store):
    """One silence of `--timeout` in all, not one for each of botocore's tries."""
    script.answers += [Answer(hang_up=True), Answer(stall=9.0, promised=10)] * 2
    begun = time.monotonic()
    with pytest.raises((TimedOut, Unavailable)):
        store.list_page("")
    assert time.monotonic() - begun < 2.0 * 1.5 + 1


def test_retry_after_is_honoured(script: Script, store: S3Store):
    """SlowDown with Retry-After: 1 is repeated after a second, with 60 not at all."""
    later = failure(503, "SlowDown")
    later.headers = {"Retry-After": "1"}
    script.answers += [
        later,
        Answer(200, {}, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
    ]
    begun = time.monotonic()
    store.list_page("")
    assert 0.9 < time.monotonic() - begun < 2
    much = failure(503, "SlowDown")
    much.headers = {"Retry-After": "60"}
    script.answers += [much]
    with pytest.raises(Throttled):
        store.list_page("")
