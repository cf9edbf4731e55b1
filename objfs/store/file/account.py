"""A folder of embedded stores as an account: each store in it is a bucket."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from objfs.errors import Exists, InvalidName, NoSuchBucket, NotEmpty, UsageError
from objfs.store.account import BucketInfo
from objfs.store.base import Capabilities, Driver, Usage
from objfs.store.file import layout
from objfs.store.file.driver import FileStore
from objfs.types import NAME_MAX, Expect, Headers, ObjectInfo


class FileAccount:
    """The stores in a folder, which is made where it is missing, if `create`.

    Raises `UsageError` for a folder that is a store itself.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self._folder = folder.absolute()
        with layout.failing("open", str(folder), folder):
            if layout.format_of(folder):
                raise UsageError(
                    f"{folder} is a store itself", remedy=f"Write file://{folder} to mount it."
                )
            if create:
                self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def capabilities(self) -> Capabilities:
        """As each store has them."""
        return FileStore.ABILITIES

    def check(self) -> None:
        """See that the folder is there."""
        self.buckets()

    def buckets(self) -> Sequence[BucketInfo]:
        """The folders that are stores; anything else in there is not ours."""
        with layout.failing("list", "the buckets", self._folder):
            return [
                BucketInfo(entry.name, entry.stat().st_ctime_ns)
                for entry in os.scandir(self._folder)
                if entry.is_dir() and layout.format_of(Path(entry.path))
            ]

    def create_bucket(self, name: str) -> None:
        """Make a store. Raises `UsageError` for a folder of that name that holds something else."""
        folder = self._at(name)
        with layout.failing("make", name, self._folder):
            if layout.format_of(folder):
                raise Exists(f"make {name}: the bucket exists")
        FileStore(folder).close()

    def remove_bucket(self, name: str) -> None:
        """Remove an empty store, with what it kept beside its objects."""
        folder = self._at(name)
        try:
            store = FileStore(folder, create=False)
        except NoSuchBucket:
            return
        try:
            if store.usage().objects:
                raise NotEmpty(f"remove {name}: the bucket is not empty")
        finally:
            store.close()
        with layout.failing("remove", name, self._folder):
            shutil.rmtree(folder)

    def open_bucket(self, name: str) -> Driver:
        """Raises `NoSuchBucket`."""
        return FileStore(self._at(name), create=False)

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        size: int,  # noqa: ARG002 - the protocol's; the version's own size is what counts
        expect: Expect,
        headers: Headers | None,
    ) -> ObjectInfo:
        """From file to file; no byte goes through the mount."""
        old, new = FileStore(self._at(source[0]), create=False), self.open_bucket(target[0])
        try:
            info, body, fd = old.open_object(source[1], expect)
            try:
                kept = Headers(info.content_type or "", dict(info.metadata or {}))
                return new.put(target[1], body, headers or kept)
            finally:
                if fd >= 0:
                    os.close(fd)
        finally:
            old.close()
            new.close()

    def usage(self) -> Usage:
        """The sum over all stores."""
        total = objects = 0
        for bucket in self.buckets():
            store = FileStore(self._at(bucket.name), create=False)
            try:
                usage = store.usage()
            finally:
                store.close()
            total, objects = total + usage.bytes, objects + usage.objects
        return Usage(total, objects)

    def close(self) -> None:
        """Each store is closed by who opened it."""

    def _at(self, name: str) -> Path:
        if not name or name in {".", ".."} or "\0" in name or len(name.encode()) > NAME_MAX:
            raise InvalidName(f"{name!r} cannot be a bucket here")
        return self._folder / name
