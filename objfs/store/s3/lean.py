"""The hot calls of the S3 client, without what makes botocore slow.

HEAD, GET, DELETE, a listing and the PUT of bytes take the same parameters and give the same
answers and exceptions as the boto3 client's methods. Small ones cost a fifth to a tenth of its
CPU, a listing half or less, 8 MiB to a file two thirds (`scripts/benchmark/requests.py`).
Everything unusual is still boto3's: other calls and parameters, bodies in files, proxies, another
way to sign, redirects to another region, and every repetition of a request that failed in passing.

How a request must look (endpoint, style of address, region, user agent, whether bodies are signed)
is not known here but seen from boto3: it prepares one PutObject, which is then not sent. After a
redirect it is asked again, since it has learned the bucket's region.

To repeat requests here was not done: botocore's retry quota would not know of it. What lost among
the transports stands in `connection`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, urlsplit

from botocore import exceptions as boto
from botocore.httpsession import create_urllib3_context, get_cert_path
from botocore.utils import get_environ_proxies

from objfs.errors import Throttled, Unavailable
from objfs.store.s3 import answers
from objfs.store.s3.client import Connected
from objfs.store.s3.connection import Body, Head, Origin
from objfs.store.s3.errors import WRONG_REGION, meaning_of
from objfs.store.s3.signing import EMPTY, UNSIGNED, Signer

log = logging.getLogger(__name__)

_VERBS: Final = {
    "head_object": "HEAD",
    "get_object": "GET",
    "put_object": "PUT",
    "delete_object": "DELETE",
    "list_objects_v2": "GET",
}
_OPERATIONS: Final = {
    "head_object": "HeadObject",
    "get_object": "GetObject",
    "put_object": "PutObject",
    "delete_object": "DeleteObject",
    "list_objects_v2": "ListObjectsV2",
}
_HEADERS: Final = {
    "Range": "range",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "ContentMD5": "content-md5",
    "ContentType": "content-type",
}
_QUERY: Final = {
    "Prefix": "prefix",
    "Delimiter": "delimiter",
    "MaxKeys": "max-keys",
    "StartAfter": "start-after",
    "ContinuationToken": "continuation-token",
}
_META: Final = "x-amz-meta-"
_PORTS: Final = {"http": 80, "https": 443}
_LARGEST: Final = 16 * 2**20
"""Bytes of an answer that is read whole; 1,000 keys of 1,024 escaped bytes make 4 MiB."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How boto3 sends requests for this bucket."""

    origin: Origin
    host: str
    base: str
    """What stands before "/KEY" in a path."""
    hashed: bool
    """Bodies are hashed, rather than left to TLS and Content-MD5."""
    agent: str
    signer: Signer


@dataclass(slots=True)
class _Request:
    """One request, ready to be signed."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    query: str = ""


class Lean:
    """One bucket's hot calls, for many threads."""

    def __init__(
        self,
        connected: Connected,
        bucket: str,
        observe: Callable[[Mapping[str, str]], None],
    ) -> None:
        """`observe` is told the headers of every answer."""
        self._client = connected.client
        self._connected = connected
        self._bucket = bucket
        self._observe = observe
        self._lock = threading.Lock()
        self._way: _Way | None = None
        self._seen = False

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """What `client.OPERATION(Bucket=..., **request)` answers and raises."""
        # without a way boto3 does everything
        way = self._way if self._seen else self._look()
        ready = _prepared(way, operation, request) if way else None
        if way is None or ready is None:
            return self._by_boto3(operation, request)
        return self._repeatable(way, operation, request, ready)

    def _by_boto3(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket, **request)
        return answer

    # --- one request ---------------------------------------------------------------------------

    def _repeatable(
        self, way: _Way, operation: str, request: Mapping[str, Any], ready: _Request
    ) -> dict[str, Any]:
        """One try, and boto3's if it makes sense."""
        begun = time.monotonic()
        headers: Mapping[str, str] = {}
        throttled = False
        error: boto.ClientError | boto.HTTPClientError | boto.ConnectionError
        try:
            return self._once(way, operation, ready)
        except boto.ClientError as refused:
            if _elsewhere(ready.verb, refused):
                self._forget(way)
                return self._by_boto3(operation, request)
            meaning = meaning_of(refused.response)
            if not issubclass(meaning.error, Unavailable):
                raise
            throttled = meaning.error is Throttled
            error, headers = refused, refused.response["ResponseMetadata"]["HTTPHeaders"]
        except (boto.HTTPClientError, boto.ConnectionError) as broken:
            error = broken
        pause = self._connected.patience.pause(begun, headers, throttled=throttled)
        if pause is None:
            raise error
        log.debug("%s is repeated by boto3: %s", operation, error)
        time.sleep(pause)
        with self._connected.patience.going_on(begun):
            try:
                return self._by_boto3(operation, request)
            except boto.ClientError as again:
                again.response["ResponseMetadata"]["RetryAttempts"] += 1
                raise

    def _once(self, way: _Way, operation: str, ready: _Request) -> dict[str, Any]:
        """Raises `ClientError` for an error answer, botocore's other classes when none came."""
        head, body = self._exchange(way, ready)
        kept = False
        try:
            self._observe(head.headers)
            if head.status >= 300:  # noqa: PLR2004
                whole = body.read(_LARGEST)
                parsed: Any = answers.error(head, whole)
                raise boto.ClientError(parsed, _OPERATIONS[operation])
            answer = answers.success(head)
            if operation == "get_object":
                answer["Body"] = body
                kept = True
            elif operation == "list_objects_v2":
                answer |= answers.listing(body.read(_LARGEST))
            else:
                body.read(_LARGEST)
        finally:
            if not kept:
                body.close()
        return answer

    def _exchange(self, way: _Way, ready: _Request) -> tuple[Head, Body]:
        payload = EMPTY
        if ready.body:
            payload = sha256(ready.body).hexdigest() if way.hashed else UNSIGNED
        signed = way.signer.sign(ready.verb, ready.path, ready.query, ready.headers, payload)
        target = f"{ready.path}?{ready.query}" if ready.query else ready.path
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        length = f"content-length: {len(ready.body)}\r\n" if ready.verb == "PUT" else ""
        text = f"{ready.verb} {target} HTTP/1.1\r\n{lines}user-agent: {way.agent}\r\n{length}\r\n"
        connection = self._connected.pool.take(way.origin)
        try:
            connection.send(text.encode("latin-1"), ready.body)
            head = connection.head()
            return head, Body(connection, ready.verb, head, self._connected.pool.give)
        except BaseException:
            connection.close()
            raise

    # --- how boto3 does it ---------------------------------------------------------------------

    def _look(self) -> _Way | None:
        with self._lock:
            if not self._seen:
                self._way = self._way_of(self._connected.rehearsal.put(self._bucket))
                self._seen = True
            return self._way

    def _forget(self, way: _Way) -> None:
        """The bucket is elsewhere: look again behind boto3's next request."""
        with self._lock:
            if self._way is way:
                self._seen = False

    def _way_of(self, request: Any) -> _Way | None:
        """None where boto3 does what cannot be done here."""
        url = urlsplit(request.url)
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        scope = _scope(headers)
        proxies = self._client.meta.config.proxies or get_environ_proxies(request.url)
        if (
            url.scheme in proxies
            or "x-amz-s3session-token" in headers  # directory buckets of AWS
            or (self._connected.credentials is not None and scope is None)
            or not url.path.endswith("/k")
        ):
            return None
        try:
            tls = _tls(self._connected.verify) if url.scheme == "https" else None
        except OSError:  # boto3 says what is wrong with the certificates
            return None
        port = url.port or _PORTS[url.scheme]
        name = f"[{url.hostname}]" if ":" in str(url.hostname) else str(url.hostname)
        config = self._client.meta.config
        origin = Origin(
            f"{url.scheme}://{url.netloc}/",
            str(url.hostname),
            port,
            tls,
            config.connect_timeout,
            config.read_timeout,
        )
        return _Way(
            origin=origin,
            host=name if port == _PORTS[url.scheme] else f"{name}:{port}",
            base=url.path.removesuffix("/k"),
            hashed=headers.get("x-amz-content-sha256") != UNSIGNED,
            agent=headers.get("user-agent", ""),
            signer=Signer(self._connected.credentials, *(scope or ("", ""))),
        )


def _scope(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Region and service that a Signature Version 4 is for; None for another signature."""
    kind, _, rest = headers.get("authorization", "").partition(" Credential=")
    parts = rest.partition(",")[0].split("/")
    return (parts[-3], parts[-2]) if kind == "AWS4-HMAC-SHA256" and len(parts) > 4 else None  # noqa: PLR2004


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _tls(verify: str | None) -> Any:
    """As botocore's own sessions are made, from the same certificates."""
    context = create_urllib3_context()
    context.check_hostname = True
    trusted: Any = verify or os.environ.get("REQUESTS_CA_BUNDLE") or True
    context.load_verify_locations(get_cert_path(trusted))
    return context


def _elsewhere(verb: str, error: boto.ClientError) -> bool:
    """Whether the answer may be a redirect, which botocore follows (`S3RegionRedirectorv2`)."""
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    unexplained = verb == "HEAD" and status == 400  # noqa: PLR2004
    return unexplained or status < 400 or meaning_of(error.response) is WRONG_REGION  # noqa: PLR2004


def _prepared(way: _Way, operation: str, request: Mapping[str, Any]) -> _Request | None:
    """The request; None for what only boto3 can send, or should refuse."""
    given = dict(request)
    headers = {"host": way.host}
    if operation == "list_objects_v2":
        query = {"list-type": "2", "encoding-type": "url"}
        for name, value in given.items():
            if name not in _QUERY:
                return None
            query[_QUERY[name]] = str(value)
        pairs = sorted((name, quote(value, safe="-_.~")) for name, value in query.items())
        text = "&".join(f"{name}={value}" for name, value in pairs)
        return _Request("GET", way.base or "/", headers, query=text)
    key, body = given.pop("Key"), given.pop("Body", b"")
    for name, value in given.pop("Metadata", {}).items():
        headers[_META + name.lower()] = value
    for name, value in given.items():
        if name not in _HEADERS:
            return None
        headers[_HEADERS[name]] = value
    if not isinstance(body, bytes) or not all(map(_plain, headers.items())):
        return None
    return _Request(_VERBS[operation], f"{way.base}/{quote(key, safe='/~')}", headers, body)


def _plain(header: tuple[str, str]) -> bool:
    """Whether a header can be sent as it is: other characters are botocore's to refuse."""
    name, value = header
    return (
        value.isascii()
        and value.isprintable()
        and value == value.strip()
        and name.isascii()
        and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    )
