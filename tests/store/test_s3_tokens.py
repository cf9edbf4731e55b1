"""Continuation tokens with control characters, which a listing's XML cannot hold."""

import html
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objfs.config import StoreConfig
from objfs.store.s3 import S3Store
from objfs.store.s3.tokens import as_given, make_parsable
from tests.servers import Server, client, new_bucket

PAGE = "<ListBucketResult><NextContinuationToken>{}</NextContinuationToken></ListBucketResult>"
tokens = st.text(st.characters(max_codepoint=0x17F), max_size=20)


def referred(token: str) -> str:
    """With control characters as references, as radosgw writes them."""
    return "".join(c if c >= " " else f"&#x{ord(c):02x};" for c in html.escape(token))


@pytest.mark.parametrize("written", [html.escape, referred])
@given(token=tokens)
def test_a_token_survives_the_parser(written, token):
    """Whatever is in it, it is sent back as it was given."""
    answer: dict[str, Any] = {"body": PAGE.format(written(token)).encode()}
    make_parsable(answer)
    parsed = ET.fromstring(answer["body"]).findtext("NextContinuationToken") or ""
    assert as_given(parsed) == token


def test_pages_of_odd_keys(radosgw: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceph makes its token of the last key: every page of one key is read, none twice."""
    for name, value in radosgw.environment().items():
        monkeypatch.setenv(name, value)
    bucket = new_bucket(radosgw)
    keys = sorted(["a\x01", "b\x1b[31m", "c\r", "d\n", "e", "f & <x>", "g\x0b"])
    for key in keys:
        client(radosgw).put_object(Bucket=bucket, Key=key, Body=b"x")
    store = S3Store(
        StoreConfig(
            url=f"s3://{bucket}",
            scheme="s3",
            bucket=bucket,
            endpoint_url=radosgw.endpoint,
            region=radosgw.region,
        )
    )
    found, token = [], ""
    for _ in keys:
        page = store.list_page("", token=token, limit=1)
        found += [info.key for info in page.objects]
        token = page.token
    assert (found, token) == (keys, "")
    store.close()
