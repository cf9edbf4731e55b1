"""The way to Google: credentials, endpoint, pool, time-outs, retries.

google-auth finds and refreshes the credentials (GOOGLE_APPLICATION_CREDENTIALS, gcloud's
application-default login, workload identity, the metadata server), and its session sends. The
requests are made here and in `driver`. google-cloud-storage, which is not needed then, would send
the same ones through the same session for 1.8 ms of CPU where these cost 0.85 (an object's facts),
and repeats them by itself for two minutes, without a word of it to who must know whether a write
was a first one.
"""

import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import google.auth
import requests
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter

from objfs import __version__
from objfs.config import StoreConfig
from objfs.errors import ObjfsError, Unreachable, UsageError
from objfs.store.bodies import CHUNK
from objfs.store.gcs.errors import answered, mapped

HOST: Final = "https://storage.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 20.0
"""Seconds without a byte."""
ATTEMPTS: Final = 4
SHARE: Final = 0.5
"""Of the time-out: a try that begins behind it might not end before the time-out does."""
BACKOFF: Final = 0.4
"""Seconds before the second try, doubled each time, half of it by chance."""


class Adapter(HTTPAdapter):
    """A pool as large as the mount uses, that sends bodies in larger pieces than 16 KiB."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by requests."""
        super().init_poolmanager(*args, **kwargs, blocksize=CHUNK)


class Service:
    """Sends requests. Used from many threads."""

    def __init__(
        self, config: StoreConfig, session: requests.Session, endpoint: str, project: str
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self.project = project
        """In which buckets are listed and made; "" where none is known."""
        self._timeout = config.timeout
        self._waits = (min(CONNECT_TIMEOUT, config.timeout), min(READ_TIMEOUT, config.timeout))

    def url(self, path: str) -> str:
        """Of what stands behind the host."""
        return self._endpoint + path

    def send(
        self,
        operation: str,
        key: str,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Any] | bytes | None = None,
        stream: bool = False,
        again: bool = True,
    ) -> requests.Response:
        """One request; `body` may be a function that gives the same body for each try.

        With `stream` the answer's body is still to be read, and to be closed. `again` is whether
        it may be repeated here. A repeated request that fails says so (`was_repeated`).
        """
        begun = time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            wait = BACKOFF * 2 ** (attempt - 1) * random.uniform(0.5, 1)  # noqa: S311  # no secret
            try:
                with mapped(operation, key):
                    response = self._session.request(
                        method,
                        url,
                        params=params,
                        headers=headers,
                        data=body() if callable(body) else body,
                        timeout=self._waits,
                        stream=stream,
                        allow_redirects=False,
                    )
                    if response.status_code < 300 or response.status_code == RESUME:  # noqa: PLR2004
                        return response
                    text = response.text
                failure = answered(operation, key, response.status_code, text)
                asked = response.headers.get("Retry-After", "")
                wait = float(asked) if asked.isdecimal() else wait
            except Unreachable as error:
                failure = error
            passed = time.monotonic() - begun + wait
            last = attempt == ATTEMPTS or not again or passed > SHARE * self._timeout
            if last or not failure.retry:
                failure.add_note(REPEATED) if attempt > 1 else None
                raise failure
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()


RESUME: Final = 308
"""What a resumable session answers until it has all bytes."""
REPEATED: Final = "the request was sent more than once"


def was_repeated(error: ObjfsError) -> bool:
    """Whether the request had been sent before; a lost answer may have been a success."""
    return REPEATED in getattr(error, "__notes__", ())


def connect(config: StoreConfig) -> Service:
    """The way to the configured endpoint; only google-auth may look around for credentials.

    Raises `UsageError`, and `BadCredentials` when there are none.
    """
    if config.ca_bundle and not Path(config.ca_bundle).is_file():
        raise UsageError(f"the certificate file {config.ca_bundle} does not exist")
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"
    endpoint = (config.endpoint_url or emulator or HOST).rstrip("/")
    session, project = _session(config, signed=config.sign_requests and not emulator)
    # requests would read ~/.netrc and all proxy variables for every request
    session.trust_env = False
    session.proxies = dict(requests.utils.get_environ_proxies(endpoint))
    session.verify = config.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or True
    session.headers["User-Agent"] = f"objfs/{__version__}"
    # who does not take gzip gets what is stored packed unpacked, without ranges:
    # https://cloud.google.com/storage/docs/transcoding
    session.headers["Accept-Encoding"] = "gzip"
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter(pool_maxsize=config.connections))
    return Service(config, session, endpoint, os.environ.get("GOOGLE_CLOUD_PROJECT") or project)


def _session(config: StoreConfig, *, signed: bool) -> tuple[requests.Session, str]:
    if not signed:
        return requests.Session(), ""
    with mapped("connect", config.url):
        credentials, project = google.auth.default(scopes=[SCOPE])
        return AuthorizedSession(credentials), project or ""
