"""Object stores: one driver for each product; `open_store` picks it by the URL's scheme.

Drivers are imported only when their scheme is used, so that no mount pays for another's SDK.
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from objfs.config import StoreConfig
from objfs.errors import UsageError
from objfs.store.account import Account, AllBuckets
from objfs.store.base import Driver

SCHEMES: Final = ("s3", "swift", "az", "gs", "file", "mem")
ACCOUNTS: Final = frozenset({"s3", "swift", "az", "gs"})
"""Schemes that mean all buckets when a URL names none."""


def unknown_scheme(scheme: str) -> UsageError:
    """The error for a URL whose scheme no driver serves; it names the nearest that one does."""
    near = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1, cutoff=0.4)
    known = ", ".join(f"{name}://" for name in SCHEMES)
    return UsageError(
        f"the URL's scheme {scheme}:// is not known (known are {known})",
        remedy=f"Did you mean {near[0]}://?" if near else "Write s3://BUCKET for a bucket.",
    )


@contextmanager
def extra(name: str, scheme: str) -> Iterator[None]:
    """An SDK that is not installed is the user's to install, in one command."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{scheme}:// needs Python packages that are not installed ({error.name})",
            remedy=f"Install them: pip install 'objfs[{name}]'.",
        ) from error


def open_store(config: StoreConfig, *, create: bool = True) -> Driver:
    """A driver for the configured bucket, or for all of them; no request is made yet.

    An embedded store that is not there is made if `create`, as a mount does. Raises `UsageError`
    for an unknown scheme and what the driver's constructor raises.
    """
    if config.whole_account:
        return AllBuckets(open_account(config, create=create))
    return _open_bucket(config, create=create)


def _open_bucket(config: StoreConfig, *, create: bool) -> Driver:
    match config.scheme:
        case "s3":
            from objfs.store.s3 import S3Store

            return S3Store(config)
        case "swift":
            with extra("swift", "swift"):
                from objfs.store.swift.driver import SwiftStore

            return SwiftStore(config)
        case "az":
            with extra("azure", "az"):
                from objfs.store.azure.driver import AzureStore

            return AzureStore(config)
        case "gs":
            with extra("gcs", "gs"):
                from objfs.store.gcs import GcsStore

            return GcsStore(config)
        case "file":
            from objfs.store.file import FileStore

            return FileStore(Path(config.bucket), create=create)
        case "mem":
            from objfs.store.memory import MemoryStore

            return MemoryStore()
        case _:
            raise unknown_scheme(config.scheme)


def open_account(config: StoreConfig, *, create: bool = True) -> Account:
    """The account of a URL without a bucket; for `create` and what is raised see `open_store`."""
    match config.scheme:
        case "s3":
            from objfs.store.s3.account import S3Account

            return S3Account(config)
        case "swift":
            with extra("swift", "swift"):
                from objfs.store.swift.account import SwiftAccount

            return SwiftAccount(config)
        case "az":
            with extra("azure", "az"):
                from objfs.store.azure.account import AzureAccount

            return AzureAccount(config)
        case "gs":
            with extra("gcs", "gs"):
                from objfs.store.gcs.account import GcsAccount

            return GcsAccount(config)
        case "file":
            from objfs.store.file.account import FileAccount

            return FileAccount(Path(config.bucket), create=create)
        case _:
            raise UsageError(
                f"{config.url}: this store has no account of buckets",
                remedy=f"Write {config.scheme}://BUCKET.",
            )
