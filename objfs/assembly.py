"""Puts one file system together, for the daemon and for tests alike."""

import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from objfs.cache.ledger import Ledger
from objfs.cache.policy import Shelf
from objfs.cache.reads import ReadCache
from objfs.cache.spool import Spool
from objfs.config import CacheConfig, MountConfig
from objfs.exclusive import Turns
from objfs.filesystem import FileSystem
from objfs.filesystem.base import Mount
from objfs.handles import Handles
from objfs.refresh import Refresher
from objfs.store.bucket import Bucket
from objfs.tree.tree import Invalidate, Look, Tree


@asynccontextmanager
async def assembled(
    bucket: Bucket,
    config: MountConfig,
    cache: CacheConfig,
    invalidate: Callable[[Invalidate], None],
    *,
    clock: Callable[[], float] = trio.current_time,
    wall_ns: Callable[[], int] = time.time_ns,
) -> AsyncIterator[FileSystem]:
    """A file system over `bucket`, with its background work; both end with the context.

    The cache folder's lock is the caller's business, and so is draining before the end.
    """
    look = Look(
        uid=config.uid,
        gid=config.gid,
        file_mode=config.file_mode & ~config.umask,
        dir_mode=config.dir_mode & ~config.umask,
        born_ns=wall_ns(),
    )
    folder = Path(cache.folder)
    tree = Tree(look, ttl=config.metadata_ttl)
    ledger = Ledger(folder)
    if cache.store and ledger.belong(cache.store):
        shutil.rmtree(folder / "reads", ignore_errors=True)  # another bucket's bytes, by our keys
    shelf = Shelf(cache.size)
    async with trio.open_nursery() as nursery:
        reads = ReadCache(folder / "reads", bucket, shelf, nursery)
        mount = Mount(
            bucket=bucket,
            tree=tree,
            refresh=Refresher(tree, bucket, clock, invalidate),
            handles=Handles(),
            reads=reads,
            spool=Spool(folder / "spool", shelf),
            shelf=shelf,
            turns=Turns(),
            config=config,
            cache=cache,
            clock=clock,
            wall_ns=wall_ns,
        )
        nursery.start_soon(reads.run)
        filesystem = FileSystem(mount, ledger)
        try:
            await filesystem.recover()
            nursery.start_soon(filesystem.saving.run)
            nursery.start_soon(filesystem.neighbours.run)
            yield filesystem
        finally:
            nursery.cancel_scope.cancel()
    reads.close()
    ledger.close()
