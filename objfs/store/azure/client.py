"""The way to an account: credentials, endpoint, signing, pool, time-outs, retries.

azure-storage-blob finds out who we are (connection string, key, SAS, endpoints) and signs, and
azure-core's pipeline sends; the requests themselves are made here and in `driver`. The SDK's own
methods were tried: they keep whole bodies in memory both ways, and cost 2.2 ms of CPU for a HEAD
where this costs 1.25, and 240 ms for a listing of 1,000 where this costs 28.

Credentials are looked for as the az command does: AZURE_STORAGE_CONNECTION_STRING, then
AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, then what
DefaultAzureCredential finds (environment, workload and managed identity, az login), which
refreshes its tokens itself.
"""

import os
import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import requests
from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse, policies
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from azure.storage.blob import BlobServiceClient, ContainerClient
from requests.adapters import HTTPAdapter

from objfs import __version__
from objfs.config import StoreConfig
from objfs.errors import UsageError
from objfs.store.azure.errors import CREDENTIALS, answered, mapped
from objfs.store.bodies import CHUNK

VERSION: Final = "2021-12-02"
"""Of the protocol: old enough for Azure Stack and emulators, and has all that is used here."""
SCOPE: Final = "https://storage.azure.com/.default"
CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 20.0
"""Seconds without a byte."""
ATTEMPTS: Final = 4
SHARE: Final = 0.5
"""Of the time-out: a try that begins behind it might not end before the time-out does."""
VARIABLES: Final = ("CONNECTION_STRING", "ACCOUNT", "KEY", "SAS_TOKEN", "SERVICE_ENDPOINT")
"""Behind AZURE_STORAGE_."""
ACCOUNT: Final = "Set AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING, or --endpoint-url."
TRY: Final = "x-ms-client-request-id"
_BY_ADDRESS: Final = re.compile(r"https?://(localhost|[0-9.]+|\[[0-9a-fA-F:]+\])(:\d+)?/?")


class Retry(policies.RetryPolicy):  # type: ignore[type-arg]  # its parameters are the transport's
    """azure-core's, but never for longer than the mount waits: Retry-After may say an hour.

    Out of time, it would raise a time-out of its own in place of the error that there was.
    """

    def configure_retries(self, options: dict[str, Any]) -> dict[str, Any]:
        """A request begins."""
        return {**super().configure_retries(options), "begun": time.monotonic()}

    def increment(self, settings: dict[str, Any], *args: Any, **kwargs: Any) -> bool:
        """Whether another try may begin, behind the pause that it needs."""
        more = bool(super().increment(settings, *args, **kwargs))
        passed = time.monotonic() - settings["begun"]
        return more and passed + self.get_backoff_time(settings) < settings["timeout"]

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """Whether to ask again."""
        wait = self.get_retry_after(response) or 0.0
        return bool(wait < settings["timeout"] and super().is_retry(settings, response))


class Adapter(HTTPAdapter):
    """A pool as large as the mount uses, that sends bodies in larger pieces than 16 KiB."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by requests."""
        super().init_poolmanager(*args, **kwargs, blocksize=CHUNK)


class Stamp(policies.SansIOHTTPPolicy):  # type: ignore[type-arg]  # as above
    """Dates each try, which a signature covers, and counts them where Azure's logs show it."""

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Called by the pipeline before each try."""
        headers = request.http_request.headers
        headers["x-ms-date"] = formatdate(usegmt=True)
        headers[TRY] = "objfs-repeated" if TRY in headers else "objfs"


class Service:
    """Sends requests about one container, or with no name about the account; for many threads."""

    def __init__(self, account: BlobServiceClient, pipeline: Any, name: str) -> None:
        bare = urlsplit(account.url)
        self._query = bare.query
        self._root = f"{bare._replace(query='').geturl().rstrip('/')}/{name}".rstrip("/")
        self._shown = name or "the containers"
        self._account = account
        self._client = pipeline
        self._container = account.get_container_client(name) if name else None

    @property
    def account_name(self) -> str:
        """Of the storage account."""
        return str(self._account.account_name or "")

    @property
    def container(self) -> ContainerClient:
        """For the one request that is better made by the SDK: a batch of deletes."""
        assert self._container is not None
        return self._container

    @property
    def account(self) -> BlobServiceClient:
        """For what signs: it knows the account's name and credential."""
        return self._account

    def of(self, name: str) -> "Service":
        """For another container of the account, by the same connections."""
        return Service(self._account, self._client, name)

    def url(self, key: str, params: Mapping[str, str] | None = None) -> str:
        """Of the blob, or of the container when `key` is ""; with the SAS token if we have one."""
        path = f"{self._root}/{quote(key, safe='/~')}" if key else self._root
        query = urlencode(params or {}, quote_via=quote)
        return "?".join(filter(None, (path, "&".join(filter(None, (query, self._query))))))

    def send(
        self,
        operation: str,
        key: str,
        method: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        size: int = 0,
        stream: bool = False,
    ) -> Any:
        """One request about a blob, or about the container when `key` is "".

        The answer is azure-core's; with `stream` its body is still to be read, and to be closed.
        Raises what `objfs.store.azure.errors` makes of an error, with azure-core's as its cause.
        """
        sent = {**(headers or {}), "x-ms-version": VERSION}
        if method == "PUT":
            sent["Content-Length"] = str(size)
        request = HttpRequest(method, self.url(key, params), headers=sent, content=body)
        shown = key or self._shown
        with mapped(operation, shown):
            response: Any = self._client.send_request(request, stream=True)
            failed = response.status_code >= 300  # noqa: PLR2004  # nothing here redirects
            if failed or not stream:
                response.read()
        if failed:
            raise answered(
                operation, shown, response.status_code, response.headers, response.text()
            ) from HttpResponseError(response=response)
        return response

    def close(self) -> None:
        """Close the pooled connections."""
        self._account.close()
        self._client.close()


def was_repeated(error: BaseException) -> bool:
    """Whether the request had been sent before; a lost answer may have been a success."""
    cause: Any = error.__cause__
    response = getattr(cause, "response", None)
    return response is not None and response.request.headers.get(TRY) == "objfs-repeated"


def connect(config: StoreConfig) -> Service:
    """The way to the configured container or account; no request is made.

    Raises `UsageError` for no account, a wrong endpoint or connection string.
    """
    if config.ca_bundle and not Path(config.ca_bundle).is_file():
        raise UsageError(f"the certificate file {config.ca_bundle} does not exist")
    session = requests.Session()
    # requests would read ~/.netrc and all proxy variables for every request
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter(pool_maxsize=config.connections))
    transport = RequestsTransport(
        session=session,
        connection_timeout=min(CONNECT_TIMEOUT, config.timeout),
        read_timeout=min(READ_TIMEOUT, config.timeout),
        connection_verify=config.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or True,
        connection_data_block_size=CHUNK,
    )
    try:
        account = _account(config, transport)
    except ValueError as error:
        raise UsageError(
            f"connect {config.url}: {str(error).rstrip('.')}", remedy=CREDENTIALS
        ) from error
    session.proxies = requests.utils.get_environ_proxies(account.primary_endpoint)
    pipeline: PipelineClient[Any, Any] = PipelineClient(
        account.primary_endpoint,
        transport=transport,
        policies=[
            policies.UserAgentPolicy(f"objfs/{__version__}"),
            Retry(
                retry_total=ATTEMPTS - 1,
                retry_backoff_factor=0.4,
                retry_backoff_max=20,
                timeout=SHARE * config.timeout,
            ),
            Stamp(),
            *_signers(account.credential),
        ],
    )
    return Service(account, pipeline, config.bucket)


def _account(config: StoreConfig, transport: Any) -> BlobServiceClient:
    env = {name: os.environ.get(f"AZURE_STORAGE_{name}", "") for name in VARIABLES}
    options: Any = {"transport": transport, "api_version": VERSION}
    options |= {"retry_total": ATTEMPTS - 1, "initial_backoff": 1, "increment_base": 2}
    endpoint = config.endpoint_url or env["SERVICE_ENDPOINT"]
    if env["CONNECTION_STRING"] and config.sign_requests:
        words = [w for w in env["CONNECTION_STRING"].split(";") if w]
        if endpoint:
            words = [w for w in words if not w.lower().startswith("blobendpoint=")]
            words.append(f"BlobEndpoint={_endpoint(endpoint, _name(words))}")
        return BlobServiceClient.from_connection_string(";".join(words), **options)
    name = env["ACCOUNT"]
    if not name and not endpoint:
        raise UsageError(f"{config.url}: no storage account is named", remedy=ACCOUNT)
    url = _endpoint(endpoint, name) or f"https://{name}.blob.core.windows.net"
    return BlobServiceClient(url, credential=_credential(config, env), **options)


def _credential(config: StoreConfig, env: Mapping[str, str]) -> Any:
    if not config.sign_requests:
        return None
    if env["KEY"]:
        named = {"account_name": env["ACCOUNT"], "account_key": env["KEY"]}
        return named if env["ACCOUNT"] else env["KEY"]
    if env["SAS_TOKEN"]:
        return env["SAS_TOKEN"].removeprefix("?")
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def _name(words: list[str]) -> str:
    """The account's name in a connection string."""
    pairs = (word.partition("=") for word in words)
    return next((value for name, _, value in pairs if name.lower() == "accountname"), "")


def _endpoint(url: str, account: str) -> str:
    """An emulator is reached by address, and has the account in the path."""
    return f"{url}/{account}" if account and _BY_ADDRESS.fullmatch(url) else url


def _signers(credential: Any) -> list[Any]:
    """What signs a request: azure-core for tokens, azure-storage-blob for keys, none for a SAS."""
    if credential is None or isinstance(credential, str):
        return []
    if hasattr(credential, "get_token"):
        return [policies.BearerTokenCredentialPolicy(credential, SCOPE)]
    return [credential]
