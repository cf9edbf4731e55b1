"""Requests to one Swift account, over one urllib3 pool: token, retries, time-outs, errors.

Why not requests, which keystoneauth uses for the login: it normalises `.` and `..` in a URL's path,
even escaped, so that keys of these names could not be addressed; and it costs twice the CPU.

Semantics: a request is repeated up to `ATTEMPTS` times on what may pass (no connection, 408, 429,
498, 5xx), with growing, jittered pauses or after the seconds of a Retry-After, unless it has used
up a share of `--timeout`: then whoever asked decides, as with S3 (`objfs.store.s3.patience`). Every
request here may be repeated: those that are conditional say whether they were (`Answer.repeated`).
A refused token is renewed once for each request, and does not count as an attempt.
"""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, Any, Final
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
import urllib3.exceptions as http

from objfs import __version__, errors
from objfs.config import StoreConfig
from objfs.store.base import Body, FileRange
from objfs.store.swift.access import Access
from objfs.store.swift.errors import answered, failed, mapped

CONNECT_TIMEOUT: Final = 5.0
"""Seconds; a handshake around the world takes 0.3, and lost SYNs are repeated at 1 and 3."""
READ_TIMEOUT: Final = 20.0
"""Seconds without a byte."""
ATTEMPTS: Final = 4
PAUSE: Final = 0.5
"""Seconds before the second attempt, on average half of it; doubled each time."""
SHARE: Final = 0.5
"""Of the time-out: a try that begins behind it might not end before the time-out does."""
PASSING: Final = frozenset({408, 429, 498, 500, 502, 503, 504})
CHUNK: Final = 256 * 1024


@dataclass(slots=True)
class Answer:
    """What the server said; `body` is empty where the caller reads it from the stream."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    stream: urllib3.BaseHTTPResponse | None = None
    repeated: bool = False
    """The request was sent before, and what became of that is not known."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    operation: str
    """As messages name it."""
    verb: str
    path: tuple[str, ...]
    """Container and object; none for the account."""
    query: str = ""
    headers: Mapping[str, str | bytes] = field(default_factory=dict)
    body: Body = b""
    slow: bool = False
    """The store may be silent for longer while it works (it checks a manifest's segments)."""

    @property
    def key(self) -> str:
        """As messages name it."""
        return self.path[-1] if self.path else "the account"


def target(path: tuple[str, ...]) -> str:
    """The path of a URL below the account. Slashes are escaped too: no `..` is ever a segment."""
    return "".join(f"/{quote(part, safe='')}" for part in path)


class Transport:
    """The pool of connections. Methods block, and may be called from any thread."""

    def __init__(self, account: Access, config: StoreConfig) -> None:
        self._account = account
        self._timeout = config.timeout
        self._size = config.connections * 2
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}

    def ask(self, call: Call, *, allowed: tuple[int, ...] = ()) -> Answer:
        """Send, and take the whole answer. Raises for every status above 299 but those allowed."""
        answer = self._send(call, allowed)
        stream = answer.stream
        assert stream is not None, "an answer comes with its stream"
        with mapped(call.operation, call.key):
            answer.body = stream.read()
        answer.stream = None
        stream.release_conn()
        return answer

    @contextmanager
    def open(self, call: Call) -> Iterator[Answer]:
        """Send, and read the body inside; what is not read drops the connection."""
        answer = self._send(call, ())
        assert answer.stream is not None, "an answer comes with its stream"
        try:
            yield answer
        finally:
            # after the last byte urllib3 has put the connection back into the pool already
            answer.stream.close()

    def info(self) -> Answer | None:
        """What the cluster says of itself (`/info` beside the API's root), asked without a token.

        None where there is no such thing: it can be switched off.
        """
        parts = urlsplit(self._account.url())
        root = parts.path.rpartition("/v1")[0]
        pool = self._pool(f"{parts.scheme}://{parts.netloc}")
        try:
            found = pool.urlopen(
                "GET", f"{root}/info", retries=False, redirect=False, timeout=self._patience()
            )
        except http.HTTPError as error:
            raise failed("INFO", self._account.url(), error) from error
        if found.status != HTTPStatus.OK:
            return None
        return Answer(found.status, _lower(found.headers), found.data)

    def status_for_strangers(self, path: tuple[str, ...]) -> int:
        """The HTTP status of a GET without a token. Raises `Unreachable`."""
        parts = urlsplit(self._account.url())
        pool = self._pool(f"{parts.scheme}://{parts.netloc}")
        url = parts.path + target(path)
        with mapped("GET", path[-1]):
            return pool.urlopen(
                "GET", url, retries=False, redirect=False, timeout=self._patience()
            ).status

    def url(self) -> str:
        """The account's URL, without a slash at its end. Logs in when need be."""
        return self._account.url()

    def close(self) -> None:
        """Close the pooled connections."""
        for pool in self._pools.values():
            pool.close()

    # --- inside --------------------------------------------------------------------------------

    def _send(self, call: Call, allowed: tuple[int, ...]) -> Answer:
        begun = time.monotonic()
        renewed = repeated = False
        attempt = 1
        while True:
            token = self._account.token()
            problem: errors.ObjfsError
            wait: float | None = None
            try:
                answer = self._once(call, token)
            except http.HTTPError as error:
                problem = failed(call.operation, call.key, error)
                problem.__cause__ = error
                # a server that refuses a token may hang up on the body before we read its 401
                if call.body and not renewed and attempt > 1:
                    renewed = self._account.renew(token)
            else:
                answer.repeated = repeated
                if answer.status < HTTPStatus.MULTIPLE_CHOICES or answer.status in allowed:
                    return answer
                problem = self._refusal(call, answer)
                refused = answer.status == HTTPStatus.UNAUTHORIZED
                if refused and not renewed and self._account.renew(token):
                    renewed = True
                    continue
                if answer.status not in PASSING:
                    raise problem
                wait = _asked_to_wait(answer.headers)
            passed = time.monotonic() - begun
            if wait is None:
                wait = random.uniform(0, PAUSE * 2 ** (attempt - 1))  # noqa: S311  # no secret
            if (
                attempt == ATTEMPTS
                or passed > SHARE * self._timeout
                or passed + wait > self._timeout
            ):
                raise problem
            repeated = True
            attempt += 1
            time.sleep(wait)

    def _once(self, call: Call, token: str) -> Answer:
        parts = urlsplit(self._account.url())
        pool = self._pool(f"{parts.scheme}://{parts.netloc}")
        headers: dict[str, Any] = {
            "User-Agent": f"objfs/{__version__}",
            "Accept-Encoding": "identity",
            **call.headers,
        }
        if token:
            headers["X-Auth-Token"] = token
        size = call.body.size if isinstance(call.body, FileRange) else len(call.body)
        if call.verb in {"PUT", "POST", "COPY"}:
            headers["Content-Length"] = str(size)
        url = parts.path + target(call.path) + (f"?{call.query}" if call.query else "")
        with _opened(call.body) as body:
            found = pool.urlopen(
                call.verb,
                url,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=self._patience(slow=call.slow),
            )
        return Answer(found.status, _lower(found.headers), stream=found)

    def _refusal(self, call: Call, answer: Answer) -> errors.ObjfsError:
        stream, answer.stream = answer.stream, None
        assert stream is not None, "an answer comes with its stream"
        try:
            body = stream.read(2000) if call.verb != "HEAD" else b""
            if call.verb != "HEAD":
                stream.drain_conn()
        except http.HTTPError:
            body = b""  # the status says enough
        stream.release_conn()
        error = answered(call.operation, call.key, answer.status, answer.headers, body)
        error.repeated = answer.repeated  # type: ignore[attr-defined]  # read by `was_repeated`
        return error

    def _patience(self, *, slow: bool = False) -> urllib3.Timeout:
        read = self._timeout if slow else min(READ_TIMEOUT, self._timeout)
        return urllib3.Timeout(connect=min(CONNECT_TIMEOUT, self._timeout), read=read)

    def _pool(self, origin: str) -> urllib3.HTTPConnectionPool:
        pool = self._pools.get(origin)
        if pool is None:
            # two threads may both make one: the loser's is empty, and goes with its last request
            pool = self._pools.setdefault(origin, self._new_pool(origin))
        return pool

    def _new_pool(self, origin: str) -> urllib3.HTTPConnectionPool:
        parts = urlsplit(origin)
        options: dict[str, Any] = {"maxsize": self._size, "blocksize": CHUNK}
        if parts.scheme == "https":
            certificate = self._account.certificate
            options |= {
                "ca_certs": self._account.ca_file or certifi.where(),
                "cert_reqs": "CERT_REQUIRED" if self._account.verify else "CERT_NONE",
                "cert_file": certificate[0] if certificate else None,
                "key_file": certificate[1] if certificate else None,
            }
        proxy = getproxies().get(parts.scheme)
        pools: urllib3.PoolManager
        if proxy and parts.hostname and not proxy_bypass(parts.hostname):
            pools = urllib3.ProxyManager(proxy, **options)
        else:
            pools = urllib3.PoolManager(**options)
        return pools.connection_from_url(origin)


def was_repeated(error: errors.ObjfsError) -> bool:
    """Whether the refused request had been sent before; a lost answer may have been a success."""
    return bool(getattr(error, "repeated", False))


@contextmanager
def _opened(body: Body) -> "Iterator[bytes | IO[bytes] | None]":
    if isinstance(body, FileRange):
        with body.open() as stream:
            yield stream
    else:
        yield body or None


def _lower(headers: "urllib3.HTTPHeaderDict") -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _asked_to_wait(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
