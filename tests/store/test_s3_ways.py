"""How boto3 would send a request, and whether we can."""

from types import SimpleNamespace

import pytest

from objfs.config import StoreConfig
from objfs.store.s3 import S3Store
from objfs.store.s3.signing import UNSIGNED

SCOPE = "Credential=AKIA/20261121/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=0"
V4 = {"Authorization": f"AWS4-HMAC-SHA256 {SCOPE}", "User-Agent": "x/1"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A driver with credentials, made without a request."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return S3Store(StoreConfig("s3://bucket", "s3", "bucket", endpoint_url="http://127.0.0.1:1"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        V4 | {"x-amz-s3session-token": "t"},
        {"Authorization": f"AWS4-ECDSA-P256-SHA256 {SCOPE}"},
        {"Authorization": "AWS access:signature"},
    ],
    ids=["none", "directory bucket", "multi-region access point", "version 2"],
)
def test_another_signature_is_boto3s(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
):
    """Whatever is not plain Signature Version 4 is left to botocore."""
    request = SimpleNamespace(url="https://s3.test/bucket/k", headers=headers)
    monkeypatch.setattr(store._connected.rehearsal, "put", lambda _: request)
    assert store._lean._look() is None


@pytest.mark.parametrize(
    ("url", "host", "base"),
    [
        ("https://s3.test/bucket/k", "s3.test", "/bucket"),
        ("https://bucket.s3.test:443/k", "bucket.s3.test", ""),
        ("http://[::1]:9000/deep/bucket/k", "[::1]:9000", "/deep/bucket"),
        ("http://s3.test:443/k", "s3.test:443", ""),
    ],
)
def test_the_way_is_boto3s(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, url: str, host: str, base: str
):
    """Host, path and what is hashed are taken from its request; a usual port is not in Host."""
    hashed = "0" * 64 if url.startswith("http:") else UNSIGNED
    request = SimpleNamespace(url=url, headers=V4 | {"X-Amz-Content-SHA256": hashed.encode()})
    monkeypatch.setattr(store._connected.rehearsal, "put", lambda _: request)
    way = store._lean._look()
    assert way is not None
    assert (way.host, way.base, way.agent) == (host, base, "x/1")
    assert way.hashed is url.startswith("http:")
    assert (way.origin.tls is None) is url.startswith("http:")
