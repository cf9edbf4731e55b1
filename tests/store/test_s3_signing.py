"""Our signatures are botocore's, whatever the key and the headers."""

from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from objfs.store.s3.signing import EMPTY, Signer

KEYS = st.text(st.sampled_from("a/.~ +%?&=#\n\x01é€😀-_*'()"), min_size=1, max_size=20)
VALUES = st.text(st.sampled_from("ab  \t\"'*;,=/"), max_size=12).map(str.strip)
HEADERS = st.dictionaries(
    st.sampled_from(["range", "if-match", "content-md5", "x-amz-meta-a", "x-amz-meta-b-c"]), VALUES
)


def theirs(verb: str, url: str, headers: dict[str, str], token: str | None, now: datetime) -> str:
    """The Authorization header that botocore makes of this request at that time."""
    signer: Any = auth.S3SigV4Auth(Credentials("access/key", "secret", token), "s3", "eu-1")
    request = AWSRequest(verb, url, headers=headers)
    with mock.patch.object(auth, "get_current_datetime", return_value=now):
        signer.add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize("token", [None, "session"])
@given(verb=st.sampled_from(["GET", "HEAD", "DELETE"]), key=KEYS, prefix=KEYS, headers=HEADERS)
def test_same_signature(
    token: str | None, verb: str, key: str, prefix: str, headers: dict[str, str]
):
    """The same key, query, headers and time give the same Authorization header."""
    path = f"/bucket/{quote(key, safe='/~')}"
    query = f"list-type=2&prefix={quote(prefix, safe='-_.~')}"
    ours = Signer(Credentials("access/key", "secret", token), "eu-1", "s3")
    signed = ours.sign(verb, path, query, {"host": "host:1", **headers}, EMPTY)
    now = datetime.strptime(signed["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    want = theirs(verb, f"http://host:1{path}?{query}", headers, token, now)
    assert signed["authorization"] == want


def test_the_signing_key_follows_the_secret():
    """Refreshed credentials are used at once, although the key is kept."""
    credentials = Credentials("a", "old")
    signer = Signer(credentials, "r", "s3")

    def signature(signer: Signer, now: float) -> str:
        moment = datetime.fromtimestamp(now, UTC).timetuple()
        with mock.patch("time.gmtime", return_value=moment):
            return signer.sign("GET", "/", "", {"host": "h"}, EMPTY)["authorization"]

    first = signature(signer, 1e9)
    assert signature(signer, 1e9 + 86400) != first
    assert signature(signer, 1e9) == first
    credentials.secret_key = "new"
    fresh = Signer(Credentials("a", "new"), "r", "s3")
    assert signature(signer, 1e9) == signature(fresh, 1e9) != first


def test_unsigned():
    """Without credentials nothing is added."""
    assert Signer(None, "", "").sign("GET", "/", "", {"host": "h"}, EMPTY) == {"host": "h"}
