"""What only a product's own API tells: who we are, and how it takes a false checksum.

`objfs.store.base.Driver` is what a mount needs, and a mount needs none of this. A store that has no
class here is asked nothing: what it would tell is "not known".
"""

import getpass
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from objfs.config import StoreConfig


class Insight(Protocol):
    """Questions to one bucket or account. Methods block, and raise as a driver's do."""

    def who(self) -> str:
        """The key id, user or account that requests are made as; never a secret, "" if unknown."""

    def where(self) -> str:
        """The server that is asked; "" if unknown."""

    def put_corrupt(self, key: str) -> bool | None:
        """Store bytes under a checksum that is not theirs; whether the store refused them.

        None where there is no way to send one.
        """

    def versions(self) -> str:
        """What the bucket keeps of replaced objects, in a word; "" where that cannot be told."""

    def around(self) -> AbstractContextManager[None]:
        """At its end goes what a driver makes meanwhile beside the bucket, and was not there."""

    def close(self) -> None:
        """Give back connections."""


class Silent:
    """Of a store that has nothing to tell."""

    def __init__(self, *, local: bool) -> None:
        self._local = local

    def who(self) -> str:
        """In a folder the permissions are those of this process."""
        try:
            return f"the local user {getpass.getuser()}" if self._local else ""
        except (KeyError, OSError):  # a uid without a name; an OSError from Python 3.13 on
            return ""

    def where(self) -> str:
        """A folder is on this machine."""
        return "this machine" if self._local else ""

    def put_corrupt(self, key: str) -> bool | None:
        """The driver has no way to send a false checksum."""

    def versions(self) -> str:
        """A folder keeps none."""
        return "off" if self._local else ""

    def around(self) -> AbstractContextManager[None]:
        """All is in the bucket."""
        return nullcontext()

    def close(self) -> None:
        """Nothing was opened."""


def open_insight(config: StoreConfig) -> Insight:
    """For the configured bucket or account; no request is made.

    Raises what the driver's constructor raises.
    """
    match config.scheme:
        case "s3":
            from objfs.store.s3.insight import S3Insight

            return S3Insight(config)
        case "swift":
            from objfs.store.swift.insight import SwiftInsight

            return SwiftInsight(config)
        case "az":
            from objfs.store.azure.insight import AzureInsight

            return AzureInsight(config)
        case _:
            return Silent(local=config.scheme in {"file", "mem"})
