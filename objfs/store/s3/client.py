"""One boto3 client: credentials, endpoint, addressing, time-outs, checksums.

- Credentials are exactly what boto3 finds (environment, profile, SSO, role); botocore refreshes
  them itself. AWS_ENDPOINT_URL(_S3) and a profile's `endpoint_url` work for the same reason.
- Addressing "auto" is botocore's: a custom endpoint gets the path style (an IP address or a one-
  label host has no sub-domains), AWS the virtual one unless the bucket's name cannot be a label.
  A bucket in another region of AWS is found by botocore's own redirector.
- Checksums: `when_required`, chosen on purpose. We send Content-MD5 ourselves: every server that
  we know checks it, an ETag is compared with the same MD5, and radosgw refuses the aws-chunked
  trailers that botocore would send over TLS. Checksums of answers cover whole objects, we read
  ranges.
"""

import base64
import hashlib
import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from urllib3 import HTTPResponse

from objfs import __version__
from objfs.config import StoreConfig
from objfs.errors import UsageError
from objfs.store.s3.answers import when
from objfs.store.s3.connection import Pool
from objfs.store.s3.copying import AT_ONCE
from objfs.store.s3.errors import mapped
from objfs.store.s3.patience import Patience
from objfs.store.s3.tokens import make_parsable

DEFAULT_REGION: Final = "us-east-1"
"""Of a session without one: what AWS's own tools sign for, and what other products ignore."""
CONNECT_TIMEOUT: Final = 5.0
"""Seconds; a handshake around the world takes 0.3, and lost SYNs are repeated at 1 and 3."""
READ_TIMEOUT: Final = 20.0
"""Seconds without a byte. AWS sends spaces while it copies or assembles, so this is silence."""
ATTEMPTS: Final = 4
"""Of each request, with botocore's jittered pauses of at most 20 s (its "standard" mode)."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A client, and what it took from the configuration that it does not tell."""

    client: Any
    credentials: Any
    """botocore's, which refresh themselves; None to send requests unsigned."""
    verify: str | None
    """File of the authorities to trust for TLS; None for the usual ones."""
    patience: Patience
    pool: Pool
    """For the requests that botocore does not send."""
    rehearsal: "Rehearsal"

    def close(self) -> None:
        """Close the pooled connections, botocore's and ours."""
        self.pool.close()
        self.client.close()


class Rehearsal:
    """How a client would send a request, without sending it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._caught = threading.local()
        client.meta.events.register_first("before-send.s3.PutObject", self._not_sent)

    def put(self, bucket: str) -> Any:
        """The prepared PutObject of some bytes under the key "k".

        Raises what the client raises without credentials.
        """
        caught: list[Any] = []
        self._caught.requests = caught
        try:
            self._client.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5="x")
        finally:
            self._caught.requests = None
        return caught[0]

    def _not_sent(self, request: Any, **_: Any) -> AWSResponse | None:
        caught = getattr(self._caught, "requests", None)
        if caught is None:
            return None
        caught.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders(), HTTPResponse(io.BytesIO()))


def connect(config: StoreConfig) -> Connected:
    """The client; no request is made.

    Raises `UsageError` for a wrong endpoint, region or certificate file, `BadCredentials` for a
    profile that does not exist.
    """
    if config.ca_bundle and not Path(config.ca_bundle).is_file():
        raise UsageError(f"the certificate file {config.ca_bundle} does not exist")
    with mapped("connect", config.url):
        core = botocore.session.Session()
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=when)
        session = boto3.Session(botocore_session=core, profile_name=config.profile or None)
        region = config.region or session.region_name or DEFAULT_REGION
        try:
            client: Any = session.client(
                "s3",
                region_name=region,
                endpoint_url=config.endpoint_url or None,
                verify=config.ca_bundle or None,
                config=_settings(config),
            )
        except ValueError as error:  # botocore's word for a URL that is none
            raise UsageError(f"connect {config.url}: {error}") from error
        credentials = session.get_credentials() if config.sign_requests else None
        verify = config.ca_bundle or core.get_config_variable("ca_bundle")
    patience = Patience(config.timeout, ATTEMPTS)
    patience.watch(client.meta.events)
    client.meta.events.register_last("before-call.s3.DeleteObjects", _add_md5)
    client.meta.events.register("before-parse.s3.ListObjectsV2", make_parsable)
    pool = Pool(config.connections)
    return Connected(client, credentials, verify, patience, pool, Rehearsal(client))


def _settings(config: StoreConfig) -> Config:
    optional: Any = {} if config.sign_requests else {"signature_version": UNSIGNED}
    addressing: Any = config.addressing
    return Config(
        connect_timeout=min(CONNECT_TIMEOUT, config.timeout),
        read_timeout=min(READ_TIMEOUT, config.timeout),
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        # filled only as needed; a copy by parts uses several for one call
        max_pool_connections=config.connections * AT_ONCE,
        tcp_keepalive=True,
        parameter_validation=False,
        s3={"addressing_style": addressing},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra=f"objfs/{__version__}",
        **optional,
    )


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    """Older products want Content-MD5 on DeleteObjects (MinIO's front refuses without).

    botocore sends CRC32 and has no parameter for it.
    """
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
