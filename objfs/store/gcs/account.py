"""The buckets of one Google project, on one session."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from objfs.config import StoreConfig
from objfs.errors import Forbidden, NotFound, UsageError
from objfs.store.account import BucketInfo
from objfs.store.base import Capabilities, Driver, Usage
from objfs.store.gcs import wire
from objfs.store.gcs.client import connect
from objfs.store.gcs.driver import CAPABILITIES, GcsStore
from objfs.types import Expect, Headers, ObjectInfo


class GcsAccount:
    """All buckets of a project: GOOGLE_CLOUD_PROJECT, or the one of the credentials.

    Raises `BadCredentials` as `connect` does, and `UsageError` where no project is known.
    """

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._service = connect(config)
        if not self._service.project:
            self._service.close()
            raise UsageError(
                f"{config.url}: the buckets of which project?",
                remedy="Set GOOGLE_CLOUD_PROJECT, or name a bucket: gs://BUCKET.",
            )
        self._url = self._service.url("/storage/v1/b")

    @property
    def capabilities(self) -> Capabilities:
        """What Google honours."""
        return CAPABILITIES

    def check(self) -> None:
        """Whether endpoint and credentials are good; to list buckets need not be allowed.

        Raises `BadCredentials` and `Unreachable`.
        """
        try:
            self._page("", 1)
        except Forbidden as error:
            if type(error) is not Forbidden:
                raise

    def buckets(self) -> Sequence[BucketInfo]:
        """All pages."""
        found: list[BucketInfo] = []
        token = ""
        while True:
            page = self._page(token, 1000)
            found += [
                BucketInfo(item["name"], wire.when(item["timeCreated"]))
                for item in page.get("items", ())
            ]
            token = page.get("nextPageToken", "")
            if not token:
                return found

    def _page(self, token: str, limit: int) -> dict[str, Any]:
        params = {
            "project": self._service.project,
            "maxResults": str(limit),
            "fields": "nextPageToken,items(name,timeCreated)",
        }
        params |= {"pageToken": token} if token else {}
        answer = self._service.send("LIST", "the buckets", "GET", self._url, params=params)
        page: dict[str, Any] = answer.json()
        return page

    def create_bucket(self, name: str) -> None:
        """Where and as Google makes them when it is told nothing."""
        self._service.send(
            "MAKE",
            name,
            "POST",
            self._url,
            params={"project": self._service.project},
            headers={"Content-Type": "application/json"},
            body=json.dumps({"name": name}).encode(),
        )

    def remove_bucket(self, name: str) -> None:
        """Google itself refuses one that is not empty."""
        try:
            self._service.send("REMOVE", name, "DELETE", f"{self._url}/{name}")
        except NotFound:
            return

    def open_bucket(self, name: str) -> Driver:
        """On the same session."""
        return self._open(name)

    def _open(self, name: str) -> GcsStore:
        return GcsStore(replace(self._config, bucket=name, prefix=""), service=self._service)

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        size: int,
        expect: Expect,
        headers: Headers | None,
    ) -> ObjectInfo:
        """As inside one bucket: a rewrite names both."""
        store = self._open(target[0])
        try:
            return store.copy(
                *(source[1], target[1]),
                size=size,
                expect=expect,
                headers=headers,
                source_bucket=source[0],
            )
        finally:
            store.close()

    def usage(self) -> Usage | None:
        """None: Google tells totals to its monitoring only."""
        return None

    def close(self) -> None:
        """Close the pooled connections."""
        self._service.close()
