"""What the engine drives: a mount, as the system calls that it makes."""

from typing import Any, Protocol


class System(Protocol):
    """The calls of `FakeKernel` that the engine makes."""

    async def open(self, path: bytes, flags: int) -> Any:
        """open(2)."""

    async def read(self, file: Any, start: int, size: int) -> bytes:
        """pread(2)."""

    async def write(self, file: Any, start: int, data: bytes) -> None:
        """pwrite(2)."""

    async def close(self, file: Any) -> None:
        """close(2)."""

    async def ftruncate(self, file: Any, size: int) -> None:
        """ftruncate(2)."""

    async def fsync(self, file: Any) -> None:
        """fsync(2)."""

    async def truncate(self, path: bytes, size: int) -> None:
        """truncate(2)."""

    async def mkdir(self, path: bytes) -> None:
        """mkdir(2)."""

    async def rmdir(self, path: bytes) -> None:
        """rmdir(2)."""

    async def unlink(self, path: bytes) -> None:
        """unlink(2)."""

    async def rename(self, old: bytes, new: bytes, flags: int) -> None:
        """renameat2(2)."""

    async def listdir(self, path: bytes) -> Any:
        """Names with `Stat`-like values (`kind`, `size`)."""

    async def read_file(self, path: bytes) -> bytes:
        """All of a file."""
