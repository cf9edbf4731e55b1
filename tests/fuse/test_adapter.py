"""The kernel adapter without a kernel: what an error becomes, what attributes become."""

import errno
import stat
from typing import cast

import pytest
import trio
from pyfuse3 import FUSEError

from objfs.errors import Forbidden, NotFound, ObjfsError
from objfs.filesystem import FileSystem
from objfs.fuse.operations import Operations, answers_errno, attributes
from objfs.interrupts import Calls, Changes
from objfs.types import Ino, Kind, Stat


def handler(error: Exception):
    """A handler that fails."""

    @answers_errno
    async def read() -> None:
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (NotFound("no"), errno.ENOENT),
        (Forbidden("no"), errno.EACCES),
        (ObjfsError("no"), errno.EIO),
        (FUSEError(errno.EPERM), errno.EPERM),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (OSError("without a number"), errno.EIO),
    ],
)
async def test_errors_become_errnos(error, number, expected_logs):
    """Each class's own errno, an OSError's number, EIO where there is none."""
    expected_logs.allow("no|disk")
    with pytest.raises(FUSEError) as failed:
        await handler(error)()
    assert failed.value.errno == number


async def test_p24_a_bug_is_eio_and_a_traceback(expected_logs, caplog):
    """P24: what nobody foresaw is EIO for the program and a traceback for the log."""
    expected_logs.allow("nobody foresaw")
    with pytest.raises(FUSEError) as failed:
        await handler(ZeroDivisionError("a bug"))()
    assert failed.value.errno == errno.EIO
    assert "ZeroDivisionError" in caplog.text


async def test_what_programs_expect_is_not_worth_a_warning(caplog):
    """ENOENT and its like are part of daily life."""
    with pytest.raises(FUSEError):
        await handler(NotFound("no"))()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_attributes():
    """Type and mode together, sizes in blocks of 512, times in nanoseconds, belief as time-outs."""
    found = attributes(
        Stat(Ino(7), Kind.FILE, 513, 0o640, 1, 2, 10**18 + 5, 10**18 + 6, 10**18 + 7, 9.5)
    )
    assert found.st_ino == 7
    assert found.st_mode == stat.S_IFREG | 0o640
    assert (found.st_size, found.st_blocks) == (513, 2)
    assert (found.st_mtime_ns, found.st_atime_ns) == (10**18 + 5, 10**18 + 7)
    assert (found.entry_timeout, found.attr_timeout) == (9.5, 9.5)


async def test_p24_forget_raises_nothing_at_all(expected_logs):
    """P24: pyfuse3 takes no error of forget, not even its own: it would end the main loop."""
    expected_logs.allow("nobody foresaw")

    class Broken:
        ttl = 0.0

        def forget(self, _: object) -> None:
            raise ZeroDivisionError

        def known(self, _: object) -> bool:
            return True

    async with trio.open_nursery() as nursery:
        calls = Calls()
        operations = Operations(cast(FileSystem, Broken()), calls, Changes(calls, nursery))
        await operations.forget([(2, 1)])
