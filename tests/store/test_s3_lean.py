"""The hot calls: which requests leave without boto3, which with it, and that nobody can tell."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objfs import errors
from objfs.config import StoreConfig
from objfs.store.base import FileRange
from objfs.store.s3 import S3Store, client, wire
from objfs.types import ABSENT, Headers
from tests.store.scripted_s3 import Answer, Script, failure, object_head, scripted

DATA = b"0123456789"
LISTING = b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.fixture
def script() -> Iterator[Script]:
    """The server."""
    with scripted() as play:
        yield play


Make = Callable[..., S3Store]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes drivers with time-outs of a second or two."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(client, "READ_TIMEOUT", 1.0)
    made: list[S3Store] = []

    def build(endpoint: str, **options: Any) -> S3Store:
        config = StoreConfig("s3://b", "s3", "b", endpoint_url=endpoint, timeout=4.0)
        made.append(S3Store(replace(config, **options)))
        return made[-1]

    yield build
    for store in made:
        store.close()


def found(body: bytes = DATA) -> Answer:
    """An object, for a HEAD."""
    return Answer(200, object_head(body) | {"X-Length": "0"})


def ranged(body: bytes = DATA) -> Answer:
    """All of an object, for a GET of a range."""
    head = object_head(body) | {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}
    return Answer(206, head, body)


def read(store: S3Store, size: int = len(DATA)) -> bytes:
    """The object's bytes."""
    pieces: list[bytes] = []
    store.get("k", lambda piece: pieces.append(bytes(piece)), start=0, stop=size)
    return b"".join(pieces)


def test_hot_calls_leave_without_boto3(script: Script, make: Make):
    """HEAD, GET, PUT of bytes, DELETE and a listing: one connection, no request of botocore's."""
    store = make(script.endpoint)
    listed = Answer(body=LISTING)
    script.answers += [found(), ranged(), found(), Answer(204), listed]
    assert store.head("k").etag == object_head(DATA)["ETag"].strip('"')
    assert read(store) == DATA
    store.put("k", DATA, Headers("text/x", {"mode": "33188"}))
    store.delete("k")
    assert not store.list_page("").objects
    verbs = [request.verb for request in script.requests]
    assert verbs == ["HEAD", "GET", "PUT", "DELETE", "GET"]
    assert not any(request.by_boto3 for request in script.requests)
    assert len({request.peer for request in script.requests}) == 1
    put = script.requests[2]
    assert (put.body, put.headers["x-amz-meta-mode"]) == (DATA, "33188")
    assert all("objfs/" in request.headers["user-agent"] for request in script.requests)


def test_a_connection_closed_meanwhile_is_not_used(script: Script, make: Make):
    """The server closes an idle connection without a word: no request is lost on it."""
    store = make(script.endpoint)
    silent = ranged()
    silent.promised = len(DATA)  # right, and the connection closes behind it
    script.answers += [silent, ranged()]
    assert read(store) == DATA
    time.sleep(0.2)
    assert read(store) == DATA
    assert [request.by_boto3 for request in script.requests] == [False, False]
    assert len({request.peer for request in script.requests}) == 2


def test_a_body_that_nobody_wanted_to_the_end(script: Script, make: Make):
    """A sink that raises leaves bytes behind: they are not taken for the next answer."""
    store = make(script.endpoint)
    large = b"x" * 2**20
    script.answers += [ranged(large), ranged()]

    def full(_: memoryview) -> None:
        raise errors.NoSpace("full")

    with pytest.raises(errors.NoSpace):
        store.get("k", full, start=0, stop=len(large))
    assert read(store) == DATA


@pytest.mark.parametrize(
    "first", [Answer(hang_up=True), failure(503, "SlowDown"), failure(500, "InternalError")]
)
def test_repetitions_are_boto3s(script: Script, make: Make, first: Answer):
    """What fails in passing is tried again, by boto3; and the next call is ours again."""
    store = make(script.endpoint)
    script.answers += [first, ranged(), ranged()]
    assert read(store) == DATA
    assert read(store) == DATA
    assert [request.by_boto3 for request in script.requests] == [False, True, False]


def test_our_try_counts(script: Script, make: Make, monkeypatch: pytest.MonkeyPatch):
    """Four attempts are four with ours, and the error is the store's last word."""
    monkeypatch.setattr(client, "ATTEMPTS", 4)
    store = make(script.endpoint)
    script.answers += [failure(503, "ServiceUnavailable") for _ in range(9)]
    with pytest.raises(errors.Unavailable, match="HEAD k: "):
        store.head("k")
    assert [request.by_boto3 for request in script.requests] == [False, True, True, True]


def test_a_refused_connection_is_tried_again(make: Make, monkeypatch: pytest.MonkeyPatch):
    """A server that starts again may take the second connection."""
    monkeypatch.setattr(client, "ATTEMPTS", 3)
    store = make("http://127.0.0.1:1")
    sent: list[Any] = []
    store._client.meta.events.register("before-send.s3.HeadObject", lambda **it: sent.append(it))
    with pytest.raises(errors.Unreachable, match="no connection"):
        store.head("k")
    assert len(sent) == 2


def test_a_lost_answer_counts_as_a_try(script: Script, make: Make):
    """Our try landed, its answer was lost, and boto3's finds the object there: it is ours."""
    store = make(script.endpoint)
    script.answers += [Answer(hang_up=True), failure(412, "PreconditionFailed"), found()]
    assert store.put("k", DATA, Headers(), expect=ABSENT).size == len(DATA)
    assert [request.by_boto3 for request in script.requests] == [False, True, False]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(404), errors.NotFound),
        (Answer(412), errors.PreconditionFailed),
        (Answer(403), errors.Forbidden),
        (Answer(416), errors.InvalidRange),
    ],
)
def test_a_final_no_is_one_request(
    script: Script, make: Make, answer: Answer, kind: type[errors.ObjfsError]
):
    """What no repetition mends is asked once."""
    script.answers += [answer, answer]
    with pytest.raises(kind):
        make(script.endpoint).head("k")
    assert len(script.requests) == 1


def test_the_same_words(script: Script, make: Make):
    """Our error answers become the same sentence as boto3's."""
    store = make(script.endpoint)
    denied = failure(403, "AccessDenied", Message="not  you", RequestId="R1")
    script.answers += [denied, denied]
    with pytest.raises(errors.Forbidden) as ours:
        store.list_page("p/")
    with pytest.raises(errors.Forbidden) as theirs:
        store.check()
    assert [request.by_boto3 for request in script.requests] == [False, True]
    said = str(theirs.value).replace("LIST s3://b/", "LIST p/")
    assert str(ours.value) == said


def test_a_redirect_is_followed_by_boto3_and_learned(script: Script, make: Make):
    """A bucket in another region: boto3 finds it, and from then on our requests are for it."""
    store = make(script.endpoint, region="us-west-2")
    moved = Answer(301, {"x-amz-bucket-region": "eu-central-1"})
    script.answers += [moved, moved, found(), found()]
    store.head("k")
    store.head("k")
    assert [request.by_boto3 for request in script.requests] == [False, True, True, False]
    assert "/us-west-2/s3/" in script.requests[0].headers["authorization"]
    assert "/eu-central-1/s3/" in script.requests[3].headers["authorization"]


@pytest.mark.parametrize(
    ("body", "by_boto3"),
    [
        (b"<html>sign in</html>", [False]),
        (b"sign in", [False, True]),
        (b"<R><Name>b</Name><Contents><Key>a</Key></Contents></R>", [False]),
        (b"<R><Name>b</Name><Contents><Key>a</Key><Size>x</Size></Contents></R>", [False]),
        (b"<Error><Code>InternalError</Code></Error>", [False, True]),
    ],
    ids=["page", "text", "lacks a size", "odd size", "error"],
)
def test_a_listing_that_is_none(
    script: Script,
    make: Make,
    body: bytes,
    by_boto3: list[bool],
    monkeypatch: pytest.MonkeyPatch,
):
    """Whatever answers 200: an error of ours, boto3's word where the answer cannot be read."""
    monkeypatch.setattr(client, "ATTEMPTS", 2)
    script.answers += [Answer(body=body)] * 2
    with pytest.raises((errors.StoreError, errors.Unavailable)):
        make(script.endpoint).list_page("")
    assert [request.by_boto3 for request in script.requests] == by_boto3


def test_a_head_without_a_time(script: Script, make: Make):
    """What is no S3 server is said to be none."""
    script.answers += [Answer(200, {"X": "y"})]
    with pytest.raises(errors.StoreError, match="no S3 server"):
        make(script.endpoint).head("k")


def test_files_and_odd_headers_are_boto3s(script: Script, make: Make, tmp_path: Path):
    """A large body is streamed by boto3; a header that is none is refused by it."""
    store = make(script.endpoint)
    path = tmp_path / "f"
    path.write_bytes(DATA * 200_000)
    script.answers += [Answer(200, object_head(path.read_bytes()))]
    with path.open("rb") as file:
        body = FileRange(file.fileno(), 0, path.stat().st_size)
        assert body.size > wire.IN_MEMORY
        store.put("k", body, Headers())
    assert [request.by_boto3 for request in script.requests] == [True]
    for value in ("é", "a\r\nx-evil: 1", "a\nb"):
        with pytest.raises((errors.ObjfsError, ValueError)):
            store.put("k", DATA, Headers(metadata={"name": value}))
    assert len(script.requests) == 1


def test_a_proxy_is_boto3s(script: Script, make: Make, monkeypatch: pytest.MonkeyPatch):
    """With a proxy every request goes through boto3, and through the proxy."""
    monkeypatch.setenv("HTTP_PROXY", script.endpoint)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    script.answers += [found()]
    make("http://store.invalid").head("k")
    assert script.requests[0].by_boto3
    assert script.requests[0].path.startswith("http://store.invalid/")


def test_no_proxy_for_this_host(script: Script, make: Make, monkeypatch: pytest.MonkeyPatch):
    """An exception from the proxy is ours again."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    script.answers += [found()]
    make(script.endpoint).head("k")
    assert not script.requests[0].by_boto3


def test_virtual_style(script: Script, make: Make, monkeypatch: pytest.MonkeyPatch):
    """The bucket in the host's name: so it is signed and sent, and the path is the key's."""
    real = socket.getaddrinfo

    def local(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == "bucket.store.test" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    port = script.endpoint.rpartition(":")[2]
    script.answers += [found(), Answer(body=LISTING)]
    store = make(f"http://store.test:{port}", addressing="virtual", bucket="bucket")
    store.head("a//b")
    store.list_page("")
    assert [request.path.partition("?")[0] for request in script.requests] == ["/a//b", "/"]
    assert {request.headers["host"] for request in script.requests} == {f"bucket.store.test:{port}"}


def test_unsigned(script: Script, make: Make):
    """A public bucket is read without a signature, and without boto3."""
    script.answers += [ranged()]
    assert read(make(script.endpoint, sign_requests=False)) == DATA
    assert "authorization" not in script.requests[0].headers
    assert not script.requests[0].by_boto3


def test_refreshed_credentials(
    script: Script, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Keys that expire are renewed by botocore, in the middle of the mount's life."""
    counter, program = tmp_path / "count", tmp_path / "keys.py"
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
    keys = json.dumps({"Version": 1, "SecretAccessKey": "s", "SessionToken": "t"})
    program.write_text(
        f"import json, pathlib\nfile = pathlib.Path({str(counter)!r})\n"
        "n = int(file.read_text()) + 1 if file.exists() else 1\nfile.write_text(str(n))\n"
        f"print(json.dumps({keys} | {{'AccessKeyId': f'KEY{{n}}', 'Expiration': {expires!r}}}))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    script.answers += [found(), found()]
    store = make(script.endpoint)
    store.head("k")
    store.head("k")
    sent = [request.headers["authorization"].split("/")[0] for request in script.requests]
    assert sent[0] != sent[1]
    assert [request.headers["x-amz-security-token"] for request in script.requests] == ["t", "t"]
    assert not any(request.by_boto3 for request in script.requests)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that no authority signed, with its key."""
    path = tmp_path / "own.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", path, "-out", tmp_path / "cert"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "cert").read_bytes())
    return path


@pytest.mark.parametrize("how", ["option", "environment"])
def test_tls(make: Make, certificate: Path, how: str, monkeypatch: pytest.MonkeyPatch):
    """Over TLS a private authority is trusted when named, and the body's hash is not signed."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with scripted(tls) as script:
        script.answers += [found(), ranged()]
        if how == "environment":
            monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        store = make(script.endpoint, ca_bundle=str(certificate) if how == "option" else "")
        store.put("k", DATA, Headers())
        assert read(store) == DATA
        assert not any(request.by_boto3 for request in script.requests)
        assert script.requests[0].headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


def test_tls_of_a_stranger(make: Make, certificate: Path):
    """A certificate of nobody we trust is refused before anything is sent."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with scripted(tls) as script:
        with pytest.raises(errors.Unreachable, match="--ca-bundle"):
            make(script.endpoint).head("k")
        assert script.requests == []


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_certificates_that_are_missing(make: Make, monkeypatch: pytest.MonkeyPatch):
    """A wrong AWS_CA_BUNDLE leaves the last word to boto3, and is no traceback."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent")
    with pytest.raises(errors.Unreachable, match="HEAD k: "):
        make("https://127.0.0.1:1").head("k")


def test_no_descriptor_is_kept(script: Script, make: Make):
    """A driver that is closed leaves no socket open."""
    store = make(script.endpoint)
    before = descriptors()
    script.answers += [found(), found()]
    store.head("k")
    assert descriptors() > before
    store.close()
    time.sleep(0.2)
    assert descriptors() <= before
