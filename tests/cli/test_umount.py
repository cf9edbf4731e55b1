"""Unmounting: who is asked, what is waited for, and what is told."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from objfs import runtime
from objfs.cli import umount as unmounting
from objfs.cli.main import run
from objfs.errors import Busy
from objfs.runtime import Left, Record


@pytest.fixture
def process():
    """A process that stands for the daemon."""
    with subprocess.Popen(["sleep", "60"]) as made:
        yield made
        made.kill()


@pytest.fixture
def record(process, mountpoint):
    """Its record, at the mount point."""
    folder = runtime.records_folder()
    runtime.private_folder(folder)
    path = runtime.record_path(folder, str(mountpoint))
    started = runtime.start_time(process.pid)
    runtime.register(path, Record(process.pid, started, str(mountpoint), "s3://b", "/cache", ""))
    return path


@pytest.fixture
def mounted(monkeypatch, mountpoint):
    """The kernel's table says that the folder is a mount of ours; its path."""
    found = runtime.Mounted(str(mountpoint), runtime.FSTYPE, "s3://b")
    monkeypatch.setattr(runtime, "mount_at", lambda _: found)
    return str(mountpoint)


def leave(record: Path, process: "subprocess.Popen[bytes]") -> None:
    """The daemon ends as it does when all is well."""
    record.unlink()
    process.kill()
    process.wait()


def test_not_a_mount(mountpoint, capsys):
    """An ordinary folder, and somebody else's mount, are told apart."""
    assert run(["umount", str(mountpoint)]) == 6
    assert f"objfs: {mountpoint} is not a mount of objfs. " in capsys.readouterr().err
    assert run(["umount", "/proc"]) == 6
    assert "proc (proc) is mounted there" in capsys.readouterr().err


def test_all_is_uploaded(record, process, mounted, monkeypatch, capsys):
    """Exit code 0, nothing on stderr, and a result for machines."""
    monkeypatch.setattr(runtime, "unmount", lambda _: leave(record, process))
    assert run(["umount", mounted, "--json"]) == 0
    written = capsys.readouterr()
    answer = json.loads(written.out)
    assert not written.err
    assert answer["ok"] is True
    assert (answer["pid"], answer["url"], answer["left"]) == (process.pid, "s3://b", [])


def test_files_are_left(record, process, mounted, monkeypatch, capsys):
    """Exit code 1 with each file, its size and its error."""
    result = runtime.result_path(record, process.pid)
    runtime.write_left(result, [Left("/a", 2048, "access denied"), Left("/b", 1)])
    monkeypatch.setattr(runtime, "unmount", lambda _: leave(record, process))
    assert run(["umount", mounted, "--json"]) == 1
    written = capsys.readouterr()
    assert "is unmounted, but files are not uploaded; they are kept in /cache" in written.err
    assert "  /a (2.0 KiB): access denied\n  /b (1 B)\n" in written.err
    answer = json.loads(written.out)
    assert answer["ok"] is False
    assert answer["left"][0] == {"path": "/a", "bytes": 2048, "error": "access denied"}
    assert not result.exists()


def test_the_wait_has_an_end(record, process, mountpoint, capsys):
    """An upload that takes longer goes on; a second umount finds the daemon and waits again."""
    runtime.write_left(runtime.result_path(record, process.pid), [Left("/a", 5)])
    for _ in range(2):
        assert run(["umount", str(mountpoint), "--timeout", "60ms"]) == 1
        written = capsys.readouterr().err
        assert f"not finished after 0.06 s; process {process.pid} goes on" in written
        assert "  /a (5 B)\n" in written
    leave(record, process)
    assert run(["umount", str(mountpoint)]) == 6


def test_progress_is_told(record, process, mountpoint):
    """What waits for uploads is shown the files that are left."""
    runtime.write_left(runtime.result_path(record, process.pid), [Left("/a", 5)])
    told = []

    def progress(left):
        told.append(left)
        leave(record, process)

    unmounting.umount(str(mountpoint), 5, progress)
    assert told == [(Left("/a", 5),)]


def test_a_daemon_that_died(record, process, mounted, monkeypatch, capsys):
    """A daemon that left its record behind did not end well, so nobody says that all is fine."""
    process.kill()
    process.wait()
    monkeypatch.setattr(runtime, "unmount", lambda _: None)
    assert run(["umount", mounted]) == 1
    assert "its daemon has died" in capsys.readouterr().err
    assert not record.exists()


def test_a_daemon_without_a_record(mounted, monkeypatch, capsys):
    """It is unmounted, and the doubt is said."""
    monkeypatch.setattr(runtime, "unmount", lambda _: None)
    assert run(["umount", mounted]) == 1
    assert "left no record" in capsys.readouterr().err


def test_a_busy_mount_names_its_users(mounted, monkeypatch, capsys):
    """The processes in the way are listed, with the way around them."""

    def unmount(path):
        raise Busy("in use")

    monkeypatch.setattr(runtime, "unmount", unmount)
    with subprocess.Popen(["sleep", "60"], cwd=mounted) as user:
        try:
            assert run(["umount", mounted]) == 1
        finally:
            user.kill()
    written = capsys.readouterr().err
    assert f"is in use by process {user.pid} (sleep). " in written
    assert f"fusermount3 -uz {mounted}" in written


def test_an_open_file_is_a_user(mountpoint):
    """Found by its descriptor; a folder whose name only begins alike is another one."""
    (mountpoint.parent / "mnt2").mkdir()
    with (mountpoint / "a").open("w"):
        found = unmounting.users_of(str(mountpoint))
    assert any(user.startswith(f"process {os.getpid()} (") for user in found)
    with (mountpoint.parent / "mnt2/a").open("w"):
        assert not unmounting.users_of(str(mountpoint))


def test_a_record_of_somebody_else_is_not_believed(record, mountpoint, monkeypatch):
    """A record counts only as its folder's owner's own file: /tmp is everybody's."""
    assert runtime.find(str(mountpoint)) is not None
    lstat = Path.lstat

    def foreign(path):
        found = list(lstat(path))
        found[4] += path == record  # the owner
        return os.stat_result(found)

    monkeypatch.setattr(Path, "lstat", foreign)
    assert runtime.find(str(mountpoint)) is None
