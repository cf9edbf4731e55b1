"""Swift: temporary URLs, public containers, metadata of containers and accounts.

- A temporary URL is signed with a key that the container or the account holds
  (https://docs.openstack.org/swift/latest/api/temporary_url_middleware.html). Where neither has one
  a random key is made: the container's, or the account's on radosgw, which knows only these.
  To remove it (`objfs meta rm URL temp-url-key`) ends all URLs that were signed with it.
- Public is a container's read ACL `.r:*,.rlistings`; other entries of the ACL stay. With static web
  in the cluster's /info a browser is shown the listing.
- Keys are secrets: they are never shown, nor taken from a command line.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from objfs.config import StoreConfig
from objfs.errors import Forbidden, NoSuchBucket, NotFound, Unsupported, UsageError
from objfs.store.sharing import copy_onto_itself, not_offered
from objfs.store.swift import wire
from objfs.store.swift.driver import SwiftStore, connect
from objfs.store.swift.errors import MISSING_CONTAINER
from objfs.store.swift.transport import Answer, Call

PUBLIC: Final = (".r:*", ".rlistings")
KEYS: Final = ("temp-url-key", "temp-url-key-2")
DIGESTS: Final = ("sha256", "sha512", "sha1")
"""In the order in which they are wished."""
PAUSES: Final = (0.2, 0.5, 1.0, 1.0)
"""Seconds before each further look at whether a container is public yet."""


class SwiftSharing:
    """One container, or the account; made without a request, raises as `connect` does."""

    def __init__(self, config: StoreConfig, environ: Mapping[str, str] | None = None) -> None:
        self._config = config
        self._transport = connect(config, environ)
        self._container: tuple[str, ...] = (config.bucket,) if config.bucket else ()
        self._known: dict[str, Any] | None = None

    def share(self, key: str, seconds: int) -> str:
        """A temporary GET URL."""
        wire.checked_key("share", key)
        offered = self._info().get("tempurl")
        if offered is None:
            raise not_offered(f"share {key} of", self._config, "temporary URLs")
        self._transport.ask(Call("share", "HEAD", (*self._container, key)))
        # radosgw names none, and knows sha1
        digests = offered.get("allowed_digests") or ["sha1"]
        digest = next((name for name in DIGESTS if name in digests), digests[0])
        url = urlsplit(self._url())
        path = f"{unquote(url.path)}/{self._container[0]}/{key}"
        expires = int(time.time()) + seconds
        signed = hmac.new(
            self._key().encode(), f"GET\n{expires}\n{path}".encode(), getattr(hashlib, digest)
        ).hexdigest()
        return f"{self._address(key)}?temp_url_sig={signed}&temp_url_expires={expires}"

    def publish(self, prefix: str) -> str:
        """By the ACL of the whole container."""
        self._whole("publish", prefix)
        readers = self._readers()
        sent = {"X-Container-Read": ",".join([*readers, *PUBLIC])}
        if "staticweb" in self._info():
            sent["X-Container-Meta-Web-Listings"] = "true"
        self._post("publish", sent)
        status = self._seen_by_strangers()
        if status >= HTTPStatus.BAD_REQUEST:
            self.unpublish(prefix)
            raise Unsupported(
                f"publish {self._config.url}: the store took the read ACL, but answers a stranger"
                f" with HTTP {status}; so it was taken back",
                remedy="On radosgw only users with a tenant can publish by Swift; use its S3 API.",
            )
        return self._address("")

    def unpublish(self, prefix: str) -> None:
        """The ACL without its public entries."""
        self._whole("unpublish", prefix)
        sent = {"X-Container-Read": ",".join(self._readers())}
        if "staticweb" in self._info():
            sent["X-Remove-Container-Meta-Web-Listings"] = "x"
        self._post("unpublish", sent)

    def metadata(self) -> Mapping[str, str]:
        """X-Container-Meta-… or X-Account-Meta-…, names in lower case as HTTP has them."""
        prefix = self._prefix.lower()
        return {
            name.removeprefix(prefix): wire.text(value)
            for name, value in self._head("meta get").items()
            if name.startswith(prefix) and name.removeprefix(prefix) not in KEYS
        }

    def set_metadata(self, changed: Mapping[str, str], removed: Collection[str]) -> None:
        """Swift keeps what is not named."""
        for name in changed:
            if name.lower() in KEYS:
                raise UsageError(
                    f"meta set {self._config.url}: {name} is a secret, which no command line takes",
                    remedy="objfs share makes one by itself.",
                )
        sent: dict[str, str | bytes] = {
            f"{self._prefix}{name}": value.encode() for name, value in changed.items()
        }
        sent |= {f"X-Remove-{self._prefix.removeprefix('X-')}{name}": "x" for name in removed}
        self._post("meta set", sent)

    def set_object_metadata(
        self, key: str, changed: Mapping[str, str], removed: Collection[str]
    ) -> None:
        """By a POST, which the driver makes of a copy onto itself: no byte moves."""
        store = SwiftStore(self._config, transport=self._transport)
        lowered = {name.lower(): value for name, value in changed.items()}
        copy_onto_itself(store, key, lowered, {name.lower() for name in removed})

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    # --- inside --------------------------------------------------------------------------------

    @property
    def _prefix(self) -> str:
        return "X-Container-Meta-" if self._container else "X-Account-Meta-"

    def _info(self) -> dict[str, Any]:
        """What the cluster says of itself; nothing where it says nothing."""
        if self._known is None:
            answer = self._transport.info()
            try:
                found = json.loads(answer.body) if answer else {}
            except ValueError:
                found = {}
            self._known = found if isinstance(found, dict) else {}
        return self._known

    def _url(self) -> str:
        return self._transport.url()

    def _address(self, key: str) -> str:
        """Where the object is, for a client that may shorten a path with dots in it."""
        risky = "//" in f"/{key}" or {".", ".."} & set(key.split("/"))
        container = quote(self._container[0], safe="")
        return f"{self._url()}/{container}/{quote(key, safe='' if risky else '/')}"

    def _key(self) -> str:
        """The key to sign with, made where there is none. Raises `Forbidden`."""
        openstack = "max_object_name_length" in self._info().get("swift", {})
        places: list[tuple[tuple[str, ...], str]] = [((), "X-Account-Meta-")]
        if openstack:
            places.insert(0, (self._container, "X-Container-Meta-"))
        for path, prefix in places:
            if found := self._key_at(path, prefix):
                return found
        path, prefix = places[0]
        made = {f"{prefix}Temp-URL-Key": secrets.token_hex(32)}
        try:
            self._transport.ask(Call("share", "POST", path, headers=made))
        except Forbidden as error:
            raise Forbidden(
                f"share: {self._config.url} has no key for temporary URLs, and none may be made",
                remedy="Ask the account's owner to set one.",
            ) from error
        # of two that make one at the same time, one stays
        return self._key_at(path, prefix) or made[f"{prefix}Temp-URL-Key"]

    def _key_at(self, path: tuple[str, ...], prefix: str) -> str:
        """One that is there, or ""; who may not ask the account is not told its keys."""
        try:
            found = self._transport.ask(Call("share", "HEAD", path)).headers
        except Forbidden:
            return ""
        return next((key for name in KEYS if (key := found.get(prefix.lower() + name))), "")

    def _seen_by_strangers(self) -> int:
        """The status of a listing without a token; other proxies may learn of an ACL a bit later.

        radosgw with the account in its URLs looks for a stranger's container in a tenant of the
        account's name, where it is not unless the user has that tenant.
        """
        status = self._transport.status_for_strangers(self._container)
        for pause in PAUSES:
            if status < HTTPStatus.BAD_REQUEST:
                break
            time.sleep(pause)
            status = self._transport.status_for_strangers(self._container)
        return status

    def _readers(self) -> list[str]:
        """The container's read ACL without its public entries."""
        entries = self._head("publish").get("x-container-read", "").split(",")
        return [word for entry in entries if (word := entry.strip()) and word not in PUBLIC]

    def _head(self, operation: str) -> Mapping[str, str]:
        return self._ask(Call(operation, "HEAD", self._container)).headers

    def _post(self, operation: str, headers: Mapping[str, str | bytes]) -> None:
        self._ask(Call(operation, "POST", self._container, headers=headers))

    def _ask(self, call: Call) -> Answer:
        try:
            return self._transport.ask(call)
        except NotFound as error:
            raise NoSuchBucket(
                f"{call.operation} {self._config.url}: no such container",
                remedy=MISSING_CONTAINER,
            ) from error

    def _whole(self, operation: str, prefix: str) -> None:
        if prefix or not self._container:
            raise Unsupported(
                f"{operation} {self._config.url}/{prefix}: Swift publishes whole containers",
                remedy="Write swift://CONTAINER, or share single objects.",
            )
