"""The versions of objects that are in use, with what is known of their bytes. State only."""

import os

import trio

from objfs.cache.blockfiles import BlockFiles, file_name
from objfs.cache.blocks import BlockMap
from objfs.cache.packs import SMALL, Place
from objfs.cache.sink import BlockSink
from objfs.cache.whole import WholeSum
from objfs.errors import Corrupt, ObjfsError
from objfs.types import ObjectInfo

NO_FD = -1


class Version:
    """One version of one object, while somebody has it open or fetches it."""

    def __init__(self, info: ObjectInfo, file: str, blocks: BlockMap, fd: int) -> None:
        self.info = info
        self.file = file
        self.blocks = blocks
        self.fd = fd
        """Of its blocks; `NO_FD` when it is small."""
        self.place: Place | None = None
        """In a pack, if it is small and was there when it was opened."""
        self.users = 0
        self.readers = 0
        """Users that may still read; the others only fetch."""
        self.error: ObjfsError | None = None
        """Why the last fetch failed; whoever waits takes it."""
        self.failures = 0
        self.whole: WholeSum | None = None
        """The sum of the whole, while it is being made."""
        self.checked = blocks.complete
        """The whole has been compared with its ETag, or was when it was fetched."""
        self.summing = False
        """Whether a thread takes a part of that sum."""
        self.verdict: trio.Event | None = None
        """Set when the sum is compared; reads wait for it once the last block has come."""
        self.damaged: Corrupt | None = None
        self.wanted: dict[int, int] = {}
        """Blocks that readers wait for, and how many do. Threads look into it."""
        self.flights: dict[trio.CancelScope, range] = {}
        """Requests made ahead that are under way, and their blocks."""
        self.sinks: set[BlockSink] = set()
        """Where the bodies of requests under way go."""
        self.landed = trio.lowlevel.ParkingLot()

    @property
    def small(self) -> bool:
        """Whether its bytes are kept in memory and in packs, and not in blocks of its own."""
        return self.fd == NO_FD


class Versions:
    """All versions in use, by the name of their file."""

    def __init__(self, files: BlockFiles) -> None:
        self._files = files
        self._open: dict[str, Version] = {}

    def __contains__(self, file: str) -> bool:
        return file in self._open

    def use(self, info: ObjectInfo) -> Version:
        """Begin to use a version; `unuse` ends it."""
        file = file_name(info.key, info.etag)
        version = self._open.get(file)
        if version is None:
            if info.size <= SMALL:
                version = self._small(info, file)
            else:
                blocks = self._files.map_of(file, info.size)
                version = Version(info, file, blocks, self._files.open(file))
            self._open[file] = version
        version.users += 1
        return version

    def _small(self, info: ObjectInfo, file: str) -> Version:
        version = Version(info, file, BlockMap(info.size), NO_FD)
        hot = self._files.packs.get(file) is not None
        version.place = None if hot else self._files.packs.find(file)
        if hot or version.place:
            version.blocks.land(0, 0)
        return version

    def add(self, info: ObjectInfo, file: str, fd: int) -> Version:
        """Use a version whose file is complete, and whose name nobody uses."""
        version = self._open[file] = Version(info, file, self._files.map_of(file, info.size), fd)
        version.users += 1
        return version

    def unuse(self, version: Version) -> None:
        """The counterpart of `use`."""
        version.users -= 1
        if not version.users:
            del self._open[version.file]
            if not version.small:
                os.close(version.fd)
                self._files.close_map(version.file)

    def rename(self, old: ObjectInfo, new: ObjectInfo) -> None:
        """The same bytes lie under another key or etag now."""
        before, after = file_name(old.key, old.etag), file_name(new.key, new.etag)
        if after in self._open or before == after:
            return
        if old.size <= SMALL:
            self._files.packs.rename(before, after)
        else:
            self._files.rename(before, after)
        if version := self._open.pop(before, None):
            version.info, version.file = new, after
            self._open[after] = version

    def forget(self, info: ObjectInfo) -> None:
        """The version is gone from the store; its bytes go too unless it is in use."""
        file = file_name(info.key, info.etag)
        if file not in self._open:
            self.drop(file, info.size)

    def drop(self, file: str, size: int) -> None:
        """Give up what is cached of a version of this size that is not in use."""
        if size <= SMALL:
            self._files.packs.drop(file)
        else:
            self._files.drop(file)
