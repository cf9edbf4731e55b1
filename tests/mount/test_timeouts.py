"""P23: a store that hangs holds no call of a reader longer than `--timeout`, on a real mount.

What is timed is one system call each; the errno is ETIMEDOUT. The matrix of all faults is in
`test_faults`.
"""

import errno
import mmap
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from objfs.fuse.repeats import WITHIN
from tests.mount.conftest import put, through
from tests.mount.kit import mounted
from tests.proxy import Fault, Proxy
from tests.servers import Server

pytestmark = [pytest.mark.mount, pytest.mark.timeout(180)]

TIMEOUT = 4.0
MARGIN = 2.0
"""Seconds for a machine of two busy cores; twice the time-out would be 4 more."""
MIB = 2**20


def pread(path: Path) -> None:
    """The first bytes, of a file that is open."""
    fd = os.open(path, os.O_RDONLY)
    try:
        timed(lambda: os.pread(fd, 4096, 0))
    finally:
        os.close(fd)


def direct(path: Path) -> None:
    """The same, past the kernel's cache."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        timed(lambda: os.preadv(fd, [mmap.mmap(-1, 4096)], 0))
    finally:
        os.close(fd)


def mibs(path: Path) -> None:
    """Many requests of the kernel for one call."""
    fd = os.open(path, os.O_RDONLY)
    try:
        timed(lambda: os.pread(fd, 8 * MIB, 0))
    finally:
        os.close(fd)


def rewritten(path: Path) -> None:
    """A write that needs what the file held."""
    fd = os.open(path, os.O_WRONLY)
    try:
        timed(lambda: os.pwrite(fd, b"x", 5))
    finally:
        with suppress(OSError):
            os.close(fd)


CALLS: dict[str, Callable[[Path], None]] = {
    "pread": pread,
    "direct": direct,
    "mibs": mibs,
    "write": rewritten,
    "stat": lambda path: timed((path.parent / "unknown" / "x").stat),
    "open": lambda path: timed(lambda: os.open(path.parent / "nowhere", os.O_RDONLY)),
    "create": lambda path: timed(lambda: os.open(path.parent / "d" / "new", os.O_CREAT)),
    "list": lambda path: timed(lambda: list((path.parent / "d").iterdir())),
    "access": lambda path: timed(lambda: os.access(path.parent / "d" / "no", os.R_OK)),
}


class Verdict(Exception):
    """How long a call took, and what it said."""


def timed(call: Callable[[], object]) -> None:
    """Always raises: the errno and the seconds."""
    begun, said = time.monotonic(), 0
    try:
        call()
    except OSError as error:
        said = error.errno or 0
    raise Verdict(said, time.monotonic() - begun)


@pytest.mark.parametrize("ttl", ["60s", "0"])
def test_p23_no_call_of_a_reader_takes_longer(
    radosgw: Server, link: Proxy, tmp_path: Path, ttl: str
) -> None:
    """P23: neither a repeat by the kernel nor one by us begins the time anew."""
    store = through(radosgw, link)
    data = os.urandom(12 * MIB)
    for name in CALLS:
        put(store, f"{name}.bin", data)
    put(store, "d/x", b"x")
    options = ("--timeout", f"{TIMEOUT:g}s", "--metadata-ttl", ttl)
    with mounted(store, tmp_path, *options, allowed=["WARNING"]) as mount:
        for name in CALLS:
            (mount.path / f"{name}.bin").stat()
        (mount.path / "d").stat()
        wrong = []
        for name, act in CALLS.items():
            if ttl == "0" and name in {"pread", "direct", "mibs", "write"}:
                continue  # the open that comes first is the call that waits
            link.fail(Fault(hang=True))
            with pytest.raises(Verdict) as verdict:
                act(mount.path / f"{name}.bin")
            said, took = verdict.value.args
            print(f"{name:8} {errno.errorcode.get(said, said):12} {took:5.1f} s")  # noqa: T201
            if took > TIMEOUT + MARGIN or (said != errno.ETIMEDOUT and name != "access"):
                wrong.append((name, errno.errorcode.get(said, said), took))
            link.mend()
            time.sleep(2 * WITHIN)  # what failed just now fails at once
        assert not wrong
