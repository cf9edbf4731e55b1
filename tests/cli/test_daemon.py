"""The daemon's life around a file system that only pretends: start, signals, uploads, leaving."""

import os
import shutil
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio

from objfs import control, daemon, runtime
from objfs.cli.settings import read_mount_options, resolve
from objfs.errors import Busy, MountError, NoSuchBucket, TimedOut
from objfs.runtime import Left
from objfs.store.base import Driver


class Pretended:
    """A composition that mounts nothing; `end` lets the kernel session end."""

    def __init__(self, *, left: Sequence[Left] = ()) -> None:
        self.ended = trio.Event()
        self.files = list(left)
        self.keeps = False
        self.checked: Callable[[], object] = lambda: None
        self.problem: Exception | None = None

    def check(self) -> None:
        """The driver's first request."""
        self.checked()

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until `end`."""
        if self.problem:
            raise self.problem
        task_status.started()
        await self.ended.wait()

    def end(self) -> None:
        """The kernel session ends."""
        self.ended.set()

    async def drain(self) -> None:
        """Uploads one file after the other, or fails to."""
        while self.files and not self.keeps:
            await trio.sleep(0.02)
            self.files.pop()

    def parts(self) -> daemon.Composition:
        """As `build` would return it."""
        return daemon.Composition(cast("Driver", self), self.alive)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[daemon.Parts]:
        """The file system's life."""
        yield daemon.Parts(self.serve, self.end, self.drain, lambda: list(self.files), self.answer)

    async def answer(self, question: control.Document) -> AsyncGenerator[control.Document, None]:
        """Says what it was asked."""
        yield {"asked": question.get("command")}


@pytest.fixture
def config(tmp_path, mountpoint):
    """A mount of nothing."""
    options = read_mount_options(f"cache_dir={tmp_path / 'cache'}")
    return resolve("mem://", str(mountpoint), list(options))


@pytest.fixture
def files(config):
    """The daemon's record and its result file."""
    path = runtime.record_path(runtime.records_folder(), config.mount.mountpoint)
    return path, runtime.result_path(path, os.getpid())


def test_a_mount_that_ends_well(config, files):
    """While it serves there is a record; afterwards there is nothing."""
    pretended = Pretended(left=[Left("/a", 5)])
    seen = []

    def ready():
        record = runtime.read_record(files[0])
        assert record is not None
        seen.append(record)
        pretended.end()

    assert daemon.run(config, pretended.parts(), ready, log_file="/log") == []
    (record,) = seen
    assert record.pid == os.getpid()
    assert record.mountpoint == config.mount.mountpoint
    assert (record.url, record.log) == ("mem://", "/log")
    assert not list(files[0].parent.iterdir())


def test_files_that_stay(config, files, expected_logs):
    """What could not be uploaded is returned, logged, and listed for umount."""
    expected_logs.allow("1 files are not uploaded")
    pretended = Pretended(left=[Left("/a", 5, "no access")])
    pretended.keeps = True
    assert daemon.run(config, pretended.parts(), pretended.end) == pretended.files
    assert not files[0].exists()
    assert runtime.read_left(files[1]) == (Left("/a", 5, "no access"),)


def test_umount_can_watch_the_uploads(config, files, monkeypatch):
    """During the wait the result file says how much is left."""
    monkeypatch.setattr(daemon, "REPORT_SECONDS", 0.005)
    pretended = Pretended(left=[Left(f"/{n}", 5) for n in range(3)])
    counts = set()
    write = runtime.write_left

    def count(path, left):
        counts.add(len(left))
        write(path, left)

    monkeypatch.setattr(runtime, "write_left", count)
    daemon.run(config, pretended.parts(), pretended.end)
    assert counts == {0, 1, 2, 3}


def test_the_stores_answer_is_the_error(config):
    """The first request's error comes out as it is, and nothing was mounted."""
    pretended = Pretended()

    def check():
        raise NoSuchBucket("no bucket b")

    pretended.checked = check
    with pytest.raises(NoSuchBucket, match="no bucket b"):
        daemon.run(config, pretended.parts(), pytest.fail)


def test_a_store_that_does_not_answer(config, monkeypatch):
    """A hanging request is given up on, with a sentence."""
    monkeypatch.setattr(daemon, "CHECK_SECONDS", 0.05)
    pretended = Pretended()
    release = threading.Event()
    pretended.checked = release.wait
    try:
        with pytest.raises(TimedOut, match="mem:// did not answer within"):
            daemon.run(config, pretended.parts(), pytest.fail)
    finally:
        release.set()


def test_a_mount_that_fails(config):
    """An error of the session is raised bare, not as a group of one."""
    pretended = Pretended()
    pretended.problem = MountError("fusermount3 said no")
    with pytest.raises(MountError, match="said no"):
        daemon.run(config, pretended.parts(), pytest.fail)


def test_a_mount_that_does_not_answer(config, mountpoint):
    """A root that cannot be looked at is a mount error."""
    mountpoint.rmdir()
    with pytest.raises(MountError, match="does not answer"):
        daemon.run(config, Pretended().parts(), pytest.fail)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_unmounts_and_uploads(config, monkeypatch, number):
    """One signal: unmount, wait for the uploads, end well."""
    pretended = Pretended(left=[Left("/a", 5)])
    unmounted = []

    def unmount(mountpoint, *, lazy=False):
        unmounted.append((mountpoint, lazy))
        trio.from_thread.run_sync(pretended.end)

    monkeypatch.setattr(runtime, "unmount", unmount)
    assert daemon.run(config, pretended.parts(), lambda: os.kill(os.getpid(), number)) == []
    assert unmounted == [(config.mount.mountpoint, False)]


def test_a_busy_mount_is_detached(config, monkeypatch):
    """Open files do not keep a daemon alive that was told to go."""
    monkeypatch.setattr(daemon, "BUSY_SECONDS", 0.01)
    pretended = Pretended()
    how = []

    def unmount(mountpoint, *, lazy=False):
        how.append(lazy)
        if not lazy:
            raise Busy("in use")

    monkeypatch.setattr(runtime, "unmount", unmount)
    daemon.run(config, pretended.parts(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert how == [False, True]


def test_a_second_signal_stops_at_once(config, files, monkeypatch, expected_logs):
    """The second signal does not wait for uploads; what is left is on record."""
    expected_logs.allow("SIGTERM again: stopping at once")
    expected_logs.allow("1 files are not uploaded")
    pretended = Pretended(left=[Left("/a", 5)])
    pretended.keeps = True

    class Exited(BaseException):
        """Instead of the end of this process."""

    def leave(code):
        raise Exited(code)

    def unmount(mountpoint, *, lazy=False):
        if not lazy:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(runtime, "unmount", unmount)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    with pytest.raises(Exited):
        daemon.run(config, pretended.parts(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert runtime.read_left(files[1]) == (Left("/a", 5),)


def test_a_successor_keeps_its_record(config, files):
    """A daemon that still uploads leaves the record of the next mount in the same place alone."""
    pretended = Pretended()
    other = runtime.Record(1, runtime.start_time(1), "/m", "s3://next", "/c", "")

    def ready():
        runtime.register(files[0], other)
        pretended.end()

    daemon.run(config, pretended.parts(), ready)
    assert runtime.read_record(files[0]) == other


def test_the_runtime_folder_goes_away(config, files):
    """The end of a login session removes the records; uploads go on all the same."""
    pretended = Pretended(left=[Left("/a", 5)])

    def ready():
        shutil.rmtree(files[0].parent)
        pretended.end()

    assert daemon.run(config, pretended.parts(), ready) == []
    assert not pretended.files
