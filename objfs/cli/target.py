"""What a command without a mount is about: an object, a bucket or an account.

A URL says it directly. A path below a mount stands for the object that is shown there; how the
store is reached is then what the mount was made with, changed by the flags that are given.
Credentials are those of the caller's environment, not the daemon's.

Semantics: `s3://b/k` and `s3://b/k/` are two keys. As a folder both mean what is below `k/`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from objfs.cli.places import place_of
from objfs.cli.settings import Given, read_value, resolve
from objfs.config import StoreConfig
from objfs.errors import BadCredentials, Forbidden, NoSuchBucket, UsageError
from objfs.runtime import Record
from objfs.store import open_account, open_store
from objfs.store.account import Account
from objfs.store.base import Driver
from objfs.store.sharing import Sharing, open_sharing
from objfs.tree.keys import child_key
from objfs.types import DELIMITER


@dataclass(frozen=True, slots=True)
class Target:
    """An account (`config.whole_account`), a bucket (`key` is ""), or an object or prefix in it."""

    given: str
    """The URL or path, as the user gave it."""
    config: StoreConfig
    """With an empty prefix."""
    key: str = ""

    @property
    def is_account(self) -> bool:
        """All buckets are meant."""
        return self.config.whole_account

    @property
    def is_bucket(self) -> bool:
        """One whole bucket is meant."""
        return not self.key and not self.is_account

    @property
    def folder(self) -> str:
        """The prefix of what is below it: "" or ending in "/"."""
        return self.key if not self.key or self.key.endswith(DELIMITER) else self.key + DELIMITER

    def url(self, key: str = "") -> str:
        """The URL of an object of its bucket, or of the bucket."""
        whole = f"{self.config.scheme}://{self.config.bucket}"
        return f"{whole}/{key}" if key else whole

    def bucket(self, name: str) -> "Target":
        """One bucket of this account."""
        embedded = self.config.scheme == "file"
        bucket = str(Path(self.config.bucket) / name) if embedded else name
        config = replace(self.config, bucket=bucket, whole_account=False)
        return Target(self.given, replace(config, url=f"{config.scheme}://{bucket}"))

    @contextmanager
    def driver(self) -> Iterator[Driver]:
        """A driver of the bucket, or of all of them. Raises `NoSuchBucket` rather than make one."""
        driver = open_store(self.config, create=False)
        try:
            yield driver
        finally:
            driver.close()

    @contextmanager
    def sharing(self) -> Iterator[Sharing]:
        """What else the store can do with it."""
        sharing = open_sharing(self.config)
        try:
            yield sharing
        finally:
            sharing.close()

    @contextmanager
    def account(self, *, create: bool = False) -> Iterator[tuple[Account, str]]:
        """The account that the bucket is in, and the bucket's name in it."""
        config, name = replace(self.config, whole_account=True), self.config.bucket
        if config.scheme == "file" and not self.is_account:
            folder = Path(self.config.bucket)
            config, name = replace(config, bucket=str(folder.parent)), folder.name
        account = open_account(config, create=create)
        try:
            yield account, name
        finally:
            account.close()


def target_of(text: str, flags: Sequence[Given]) -> Target:
    """What a URL, or a path below a mount, stands for. Raises `UsageError` and `MountError`."""
    if "://" in text:
        config = resolve(text, DELIMITER, flags).store
        # parse_url ends every prefix in "/"; as a key it has what the user gave
        key = config.prefix if text.endswith(DELIMITER) else config.prefix.removesuffix(DELIMITER)
        return Target(text, replace(config, prefix=""), key)
    place, inside = place_of(text)
    config = _configured(place.record, flags)
    if config.scheme == "mem":
        raise UsageError(
            f"{text}: what a mem:// mount has is in its daemon only",
            remedy="Look at it through the mount.",
        )
    key = config.prefix
    names = [os.fsencode(name) for name in inside.split("/") if name]
    for at, name in enumerate(names, 1):
        key = child_key(key, name, directory=at < len(names))
    target = Target(text, replace(config, prefix=""), key)
    if not target.is_account or not key:
        return target
    bucket, _, rest = key.partition(DELIMITER)
    return replace(target.bucket(bucket), key=rest)


def _configured(record: Record, flags: Sequence[Given]) -> StoreConfig:
    """How a mount reaches its store, changed by flags."""
    if not record.store:
        return resolve(record.url, DELIMITER, flags).store
    changed = {given.option.field: read_value(given) for given in flags}
    return StoreConfig(**{**record.store, **changed})


def bucket_of(text: str, flags: Sequence[Given]) -> Target:
    """A whole bucket, by its URL. Raises `UsageError` for anything else."""
    target = target_of(text, flags)
    if not target.is_bucket or target.config.scheme == "mem":
        raise UsageError(
            f"{text} is not a bucket", remedy="Write s3://BUCKET or swift://CONTAINER."
        )
    return target


def object_of(text: str, flags: Sequence[Given]) -> Target:
    """An object, by its URL or path. Raises `UsageError` for a bucket or an account."""
    target = target_of(text, flags)
    if not target.key:
        raise UsageError(f"{text} names no object", remedy="Write s3://BUCKET/KEY.")
    return target


def exists(driver: Driver) -> bool:
    """Whether there is such a bucket, whatever the caller may do with it."""
    try:
        driver.check()
    except NoSuchBucket:
        return False
    except BadCredentials:
        raise
    except Forbidden:
        return True
    return True
