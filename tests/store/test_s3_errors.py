"""The S3 driver against answers that real servers give rarely: a scripted server on loopback."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff

from objfs import errors
from objfs.config import StoreConfig
from objfs.store.s3 import S3Store, client
from objfs.store.s3.errors import answered, mapped
from objfs.store.s3.products import recognise
from objfs.store.s3.wire import range_size, start_after
from objfs.types import ABSENT, ETag, Expect, Headers, Part
from tests.store.scripted_s3 import Answer, Script, failure, object_head, scripted

SECRET = "very-secret-key-0123456789"
WRONG = Expect(etag=ETag("0" * 32))
RADOSGW_ID = "tx00000a8bbf38ff3f9d1e4-006b01202e-100c-default"


@pytest.fixture
def script() -> Iterator[Script]:
    """A server on loopback that plays what the test appends to `answers`."""
    with scripted() as play:
        yield play


Make = Callable[..., S3Store]


@pytest.fixture
def make(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes drivers on the scripted server: one attempt, short time-outs, no waiting."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.3)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)
    made: list[S3Store] = []

    def build(*, attempts: int = 1, **options: Any) -> S3Store:
        monkeypatch.setattr(client, "ATTEMPTS", attempts)
        usual = StoreConfig("s3://bucket", "s3", "bucket", endpoint_url=script.endpoint)
        made.append(S3Store(replace(usual, **options)))
        return made[-1]

    yield build
    for store in made:
        store.close()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, errors.NotFound),
        ("NoSuchBucket", 404, errors.NoSuchBucket),
        ("NoSuchUpload", 404, errors.NoSuchUpload),
        ("AccessDenied", 403, errors.Forbidden),
        ("InvalidAccessKeyId", 403, errors.BadCredentials),
        ("SignatureDoesNotMatch", 403, errors.BadCredentials),
        ("ExpiredToken", 400, errors.BadCredentials),
        ("InvalidToken", 400, errors.BadCredentials),
        ("RequestTimeTooSkewed", 403, errors.BadCredentials),
        ("SlowDown", 503, errors.Throttled),
        ("Whatever", 429, errors.Throttled),
        ("InternalError", 500, errors.Unavailable),
        ("502", 502, errors.Unavailable),
        ("503", 503, errors.Unavailable),
        ("RequestTimeout", 400, errors.TimedOut),
        ("PreconditionFailed", 412, errors.PreconditionFailed),
        ("ConditionalRequestConflict", 409, errors.PreconditionFailed),
        ("InvalidRange", 416, errors.InvalidRange),
        ("InvalidObjectState", 403, errors.ArchivedObject),
        ("EntityTooLarge", 400, errors.TooLarge),
        ("KeyTooLongError", 400, errors.NameTooLong),
        ("NotImplemented", 501, errors.Unsupported),
        ("BadDigest", 400, errors.Corrupt),
        ("XAmzContentSHA256Mismatch", 400, errors.Corrupt),
        ("PermanentRedirect", 301, errors.UsageError),
        ("QuotaExceeded", 403, errors.NoSpace),
        ("Surprise", 400, errors.StoreError),
        ("Surprise", 418, errors.StoreError),
        ("404", 404, errors.NotFound),
        ("403", 403, errors.Forbidden),
        ("412", 412, errors.PreconditionFailed),
    ],
)
def test_codes(code: str, status: int, kind: type[errors.ObjfsError]):
    """Each code becomes exactly its class, and the message names operation, key and code."""
    meta = {"HTTPStatusCode": status, "RequestId": "R1"}
    error = answered("GET", "data/x", {"Error": {"Code": code}, "ResponseMetadata": meta})
    assert type(error) is kind
    assert error.message.startswith("GET data/x: ")
    assert f"HTTP {status}, request R1)" in error.message
    assert code.isdigit() or f"({code}, " in error.message


def test_wrong_region_is_named():
    """A redirect tells the region, from the body or from the headers."""
    body = {"Error": {"Code": "AuthorizationHeaderMalformed", "Region": "eu-west-1"}}
    assert "--region eu-west-1" in answered("LIST", "b", body).remedy
    meta = {"HTTPStatusCode": 301, "HTTPHeaders": {"x-amz-bucket-region": "us-west-2"}}
    redirect = {"Error": {"Code": "301"}, "ResponseMetadata": meta}
    assert "--region us-west-2" in answered("HEAD", "k", redirect).remedy


def test_other_exceptions_pass():
    """A sink's own exception is not the store's fault."""
    with pytest.raises(ZeroDivisionError), mapped("GET", "k"):
        raise ZeroDivisionError


def test_no_connection(make: Make):
    """A closed port is Unreachable, with the endpoint in the message."""
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:1/"):
        make(endpoint_url="http://127.0.0.1:1").check()


def test_no_credentials(make: Make, monkeypatch: pytest.MonkeyPatch):
    """Without keys nothing is sent, and the remedy says how to give some."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(errors.BadCredentials, match="aws configure"):
        make().check()


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint_url": "nonsense"},
        {"region": "no region"},
        {"ca_bundle": "/nonexistent"},
        {"addressing": "wrong"},
    ],
)
def test_wrong_options(make: Make, options: dict[str, str]):
    """A wrong option is the user's to mend, and found before any request."""
    with pytest.raises(errors.UsageError):
        make(**options)


def test_bucket_name(make: Make):
    """A name that no bucket can have is refused without a request."""
    with pytest.raises(errors.UsageError, match="not a bucket name"):
        make(bucket="a*b").check()


def test_missing_profile(make: Make):
    """The profile is named."""
    with pytest.raises(errors.BadCredentials, match="no-such-profile"):
        make(profile="no-such-profile")


def test_secret_stays_secret(make: Make, script: Script):
    """What S3 sends back of a signature is not repeated."""
    script.answers += [failure(403, "SignatureDoesNotMatch", StringToSign=SECRET, Message="m")]
    with pytest.raises(errors.BadCredentials) as caught:
        make().check()
    signature = script.requests[0].headers["authorization"].rpartition("=")[2]
    assert SECRET not in str(caught.value)
    assert signature not in str(caught.value)


def test_unsigned(make: Make, script: Script):
    """Without signing no Authorization header is sent."""
    script.answers += [Answer(body=b"<R><Name>b</Name></R>")]
    make(sign_requests=False).check()
    assert "authorization" not in script.requests[0].headers
    assert "objfs/" in script.requests[0].headers["user-agent"]


def test_custom_endpoint_takes_path_style(make: Make, script: Script):
    """Automatic addressing puts the bucket into the path of a custom endpoint."""
    script.answers += [Answer(body=b"<R><Name>b</Name></R>")]
    make().check()
    assert script.requests[0].path.startswith("/bucket?")


@pytest.mark.parametrize("given", ["bytes 0-3/10", "bytes 2-4/10", "nonsense", ""])
def test_wrong_range(make: Make, script: Script, given: str):
    """Another range than was asked for is Corrupt, and no byte of it reaches the sink."""
    headers = object_head(b"x") | {"Content-Range": given}
    script.answers += [Answer(206, headers, b"0123")]
    taken: list[bytes] = []
    with pytest.raises(errors.Corrupt):
        make().get("k", lambda chunk: taken.append(bytes(chunk)), start=2, stop=6)
    assert taken == []


def test_range_with_wrong_status():
    """A right range with status 200 is taken (rclone), and a whole object when all was asked."""
    assert range_size("k", {"ContentRange": "bytes 2-5/10", "ContentLength": 4}, 2, 6) == 10
    assert range_size("k", {"ContentLength": 10}, 0, 10) == 10


def test_ignored_if_match(make: Make, script: Script):
    """A server that ignores If-Match on GET is caught by the etag of its answer."""
    headers = object_head(b"x") | {"Content-Range": "bytes 0-3/4"}
    script.answers += [Answer(206, headers, b"0123")]
    with pytest.raises(errors.PreconditionFailed):
        make().get("k", lambda _: None, start=0, stop=4, expect=WRONG)


@pytest.mark.parametrize(
    ("stall", "kind"), [(0.0, errors.Unreachable), (2.0, errors.TimedOut)], ids=["cut", "stall"]
)
def test_body_ends_early(make: Make, script: Script, stall: float, kind: type[errors.ObjfsError]):
    """A cut body is Unreachable, a stalled one TimedOut; and the driver goes on working."""
    headers = object_head(b"x") | {"Content-Range": "bytes 0-9/10"}
    script.answers += [
        Answer(206, headers, b"0123", promised=10, stall=stall),
        Answer(206, headers, b"0123456789"),
    ]
    store = make()
    with pytest.raises(errors.Unreachable) as caught:
        store.get("k", lambda _: None, start=0, stop=10)
    assert type(caught.value) is kind
    taken: list[bytes] = []
    store.get("k", lambda chunk: taken.append(bytes(chunk)), start=0, stop=10)
    assert b"".join(taken) == b"0123456789"


def test_archived(make: Make, script: Script):
    """An archived object says so."""
    script.answers += [failure(403, "InvalidObjectState")]
    with pytest.raises(errors.ArchivedObject):
        make().get("k", lambda _: None, start=0, stop=1)


def test_copy_fails_after_200(make: Make, script: Script):
    """A copy whose 200 holds an error is no success."""
    script.answers += [failure(200, "InternalError")]
    with pytest.raises(errors.Unavailable):
        make().copy("a", "b", size=1)


def test_finish_fails_after_200(make: Make, script: Script):
    """So is the completion of a multipart upload, while the upload is still there."""
    listed = Answer(body=b"<ListPartsResult></ListPartsResult>")
    script.answers += [failure(200, "InternalError"), listed]
    with pytest.raises(errors.Unavailable):
        make().finish_parts("k", "u", [Part(1, ETag("0" * 32), 1)])


def test_finish_of_a_lost_upload(make: Make, script: Script):
    """A 500 to a completion whose upload is gone is NoSuchUpload: as radosgw answers it."""
    gone = failure(404, "NoSuchKey")
    script.answers += [failure(500, "InternalError"), gone, Answer(404)]
    with pytest.raises(errors.NoSuchUpload):
        make().finish_parts("k", "u", [Part(1, ETag("0" * 32), 1)])


def test_finish_without_etag(make: Make, script: Script):
    """Radosgw's empty ETag: a HEAD is believed only if the object can be ours."""
    empty = b"<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>"
    script.answers += [Answer(body=empty), Answer(200, object_head(b"foreign"), promised=7)]
    part = Part(1, ETag(hashlib.md5(b"ours").hexdigest()), 4)
    stored = make().finish_parts("k", "u", [part])
    assert stored.etag == hashlib.md5(hashlib.md5(b"ours").digest()).hexdigest() + "-1"
    assert stored.size == 4


@pytest.mark.parametrize("expect", [ABSENT, WRONG], ids=["absent", "match"])
def test_condition_not_implemented(make: Make, script: Script, expect: Expect):
    """A 501 to a condition is remembered: the next conditional put is not even sent."""
    script.answers += [failure(501, "NotImplemented")]
    store = make()
    for _ in range(2):
        with pytest.raises(errors.Unsupported):
            store.put("k", b"x", Headers(), expect=expect)
    assert len(script.requests) == 1
    assert store.capabilities.put_if_absent is not expect.absent
    assert store.capabilities.put_if_match is expect.absent


def test_bare_if_match_is_learned(make: Make, script: Script):
    """Radosgw's bare etag: found out by one HEAD, then used at once."""
    old = ETag(hashlib.md5(b"old").hexdigest())
    refused = failure(412, "PreconditionFailed")
    script.answers += [
        refused,
        Answer(200, object_head(b"old")),
        Answer(200, object_head(b"new")),
        Answer(200, object_head(b"new")),
    ]
    store = make()
    for _ in range(2):
        store.put("k", b"new", Headers(), expect=Expect(etag=old))
    assert [request.verb for request in script.requests] == ["PUT", "HEAD", "PUT", "PUT"]
    sent = [request.headers.get("if-match") for request in script.requests]
    assert sent == [f'"{old}"', None, old, old]


def test_version_that_is_gone(make: Make, script: Script):
    """A 404 to a PUT with If-Match means that the expected version is gone."""
    script.answers += [failure(404, "NoSuchKey")]
    with pytest.raises(errors.PreconditionFailed):
        make().put("k", b"x", Headers(), expect=WRONG)


def test_put_that_landed_before_its_answer_was_lost(make: Make, script: Script):
    """A repeated put that meets its own first try is a success."""
    refused = failure(412, "PreconditionFailed")
    script.answers += [Answer(hang_up=True), refused, Answer(200, object_head(b"ours"))]
    stored = make(attempts=2).put("k", b"ours", Headers(), expect=ABSENT)
    assert stored.etag == hashlib.md5(b"ours").hexdigest()


def test_repeated_put_that_lost(make: Make, script: Script):
    """A repeated put that meets somebody else's object is refused."""
    refused = failure(412, "PreconditionFailed")
    script.answers += [Answer(hang_up=True), refused, Answer(200, object_head(b"theirs"))]
    with pytest.raises(errors.PreconditionFailed):
        make(attempts=2).put("k", b"ours", Headers(), expect=ABSENT)


def test_put_sends_md5(make: Make, script: Script):
    """The checksum is Content-MD5, and no trailer of botocore's."""
    script.answers += [Answer(200, object_head(b"hello"))]
    make().put("k", b"hello", Headers())
    assert script.requests[0].headers["content-md5"] == "XUFAKrxLKna5cZ2REBfFkg=="
    assert script.requests[0].body == b"hello"


def test_delete_many_with_odd_keys(make: Make, script: Script):
    """Keys that XML cannot hold go one by one; each failure keeps its own class."""
    errors_in_body = (
        b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error>"
        b"<Error><Key>b</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
    )
    script.answers += [Answer(body=errors_in_body), Answer(204)]
    failed = make().delete_many(["a", "b", "\x01"])
    assert {key: type(error) for key, error in failed.items()} == {"a": errors.Forbidden}
    assert script.requests[0].headers["content-md5"]
    assert script.requests[1].path == "/bucket/%01"


def test_empty_key_is_never_sent(make: Make, script: Script):
    """An empty key would address the bucket itself."""
    store = make()
    with pytest.raises(errors.InvalidArgument):
        store.delete("")
    with pytest.raises(errors.InvalidArgument):
        store.put("", b"", Headers())
    assert isinstance(store.delete_many([""])[""], errors.InvalidArgument)
    assert script.requests == []


def test_delete_of_nothing(make: Make, script: Script):
    """A missing key is no error, a missing bucket is."""
    script.answers += [failure(404, "NoSuchKey"), failure(404, "NoSuchBucket")]
    store = make()
    store.delete("k")
    with pytest.raises(errors.NoSuchBucket):
        store.delete("k")


def test_products():
    """Products give themselves away by their headers; Swift's ids only look like radosgw's."""
    radosgw = recognise({"x-amz-request-id": RADOSGW_ID})
    assert radosgw is not None
    assert not radosgw.finish_if_absent
    assert recognise({"x-amz-request-id": "tx00000a8bbf38ff3f9d1e4-006b01202e"}) is None
    amazon = recognise({"server": "AmazonS3"})
    assert amazon is not None
    assert amazon.copy_if_match


def test_capabilities_become_exact(make: Make, script: Script):
    """The first answer, even an error, makes the capabilities those of the product."""
    script.answers += [Answer(404, {"Server": "AmazonS3"}, failure(404, "NoSuchBucket").body)]
    store = make()
    assert not store.capabilities.copy_if_match
    with pytest.raises(errors.NoSuchBucket):
        store.check()
    assert store.capabilities.copy_if_match


@pytest.mark.parametrize(
    ("prefix", "delimiter", "after", "sent"),
    [
        ("", "/", "d/x", "d/\U0010ffff"),
        ("", "/", "d/", "d/\U0010ffff"),
        ("d/", "/", "d/", "d/"),
        ("d/", "/", "d/e/f", "d/e/\U0010ffff"),
        ("", "", "d/x", "d/x"),
        ("", "/", "plain", "plain"),
    ],
)
def test_start_after(prefix: str, delimiter: str, after: str, sent: str):
    """A common prefix at or before `after` is skipped as a whole."""
    assert start_after(prefix, delimiter, after) == sent
