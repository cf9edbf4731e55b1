"""Records, cache locks and the table of mounts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from objfs import runtime
from objfs.errors import Busy, CacheInUse, MountError, UsageError
from objfs.runtime import Left, Record

HOLD = """
import sys
from objfs import runtime
with runtime.locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
# The kernel's own format, proc(5): an optional field, an escaped space, a mount over a mount.
MOUNTINFO = rb"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:39 / /mnt/a\040b rw,nosuid - fuse.objfs s3://b/p\134q rw,user_id=0
41 22 0:40 / /mnt/c rw - autofs systemd-1 rw,fd=1
42 41 0:41 / /mnt/c rw shared:7 master:1 - fuse.objfs mem:// rw
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that owns the cache folder tmp_path/cache."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "cache"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()


def record(pid: int) -> Record:
    """A record of a process."""
    return Record(pid, runtime.start_time(pid), "/m", "mem://", "/c", "")


def test_a_held_cache_names_its_owner(tmp_path, holder):
    """The second mount of a cache folder is told which process has it, and what to do."""
    with pytest.raises(CacheInUse) as caught, runtime.locked(str(tmp_path / "cache")):
        pass
    said = str(caught.value)
    assert f"is in use by process {holder.pid}." in said
    assert "--cache-dir" in said


def test_a_cache_outlives_its_owner(tmp_path, holder):
    """A lock dies with its process: SIGKILL leaves nothing to clean up."""
    holder.kill()
    holder.wait()
    with runtime.locked(str(tmp_path / "cache")):
        assert (tmp_path / "cache/lock").read_text() == f"{os.getpid()}\n"


def test_a_cache_is_private(tmp_path):
    """The folder is made with its parents, for its owner only."""
    folder = tmp_path / "a/b"
    with runtime.locked(str(folder)):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "lock").stat().st_mode & 0o777 == 0o600


def test_a_folder_with_other_files_is_no_cache(tmp_path):
    """`--cache-dir ~` is refused, before anything in it changes."""
    (tmp_path / "thesis.tex").touch()
    mode = tmp_path.stat().st_mode
    with pytest.raises(UsageError, match="holds files that are not a cache"):
        runtime.locked(str(tmp_path)).__enter__()
    assert tmp_path.stat().st_mode == mode


def test_a_cache_that_cannot_be_made(tmp_path):
    """A path through a file is a sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(MountError, match="cannot be used: Not a directory"):
        runtime.locked(str(tmp_path / "file/cache")).__enter__()


def test_the_table_of_mounts(tmp_path):
    """The topmost mount at exactly the path, with its escapes undone."""
    table = tmp_path / "mountinfo"
    table.write_bytes(MOUNTINFO)
    found = runtime.mount_at("/mnt/a b", table)
    assert found is not None
    assert (found.mountpoint, found.fstype, found.source, found.owner) == (
        "/mnt/a b",
        "fuse.objfs",
        "s3://b/p\\q",
        0,
    )
    topmost = runtime.mount_at("/mnt/c", table)
    assert topmost is not None
    assert topmost.source == "mem://"
    assert runtime.mount_at("/mnt", table) is None
    assert runtime.mount_at("/") is not None


def test_a_record_is_of_one_process(tmp_path):
    """A PID that was given to another process is not the daemon."""
    path = runtime.record_path(tmp_path, "/m")
    mine = record(os.getpid())
    runtime.register(path, mine)
    assert runtime.read_record(path) == mine
    assert mine.alive
    assert not Record(mine.pid, mine.started - 1, "/m", "mem://", "/c", "").alive
    assert runtime.start_time(2**22 + 1) == -1


def test_a_zombie_is_dead():
    """A daemon whose parent has not waited for it yet is gone all the same."""
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert runtime.start_time(child) == -1
    os.waitpid(child, 0)


def test_results_of_the_dead_are_cleared(tmp_path):
    """A new daemon removes what earlier ones at its mount point left, but not a living one's."""
    path = runtime.record_path(tmp_path, "/m")
    mine, gone = (runtime.result_path(path, pid) for pid in (os.getpid(), 2**22 + 1))
    left = (Left("/a", 5, "why"),)
    runtime.write_left(mine, left)
    runtime.write_left(gone, left)
    runtime.register(path, record(os.getpid()))
    assert runtime.read_left(mine) == left
    assert runtime.read_left(gone) == ()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"left": [{"path": "/a"}]}'])
def test_damaged_records_are_none(tmp_path, text):
    """Half a file, or one of another version, is no record and no result."""
    path = tmp_path / "x.json"
    path.write_text(text)
    assert runtime.read_record(path) is None
    assert runtime.read_left(path) == ()


def test_where_records_lie(home, monkeypatch):
    """In the session's runtime folder, else in one in /tmp that names the user."""
    assert runtime.records_folder() == home / "RUNTIME_DIR/objfs"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
    assert runtime.records_folder() == Path(f"/tmp/objfs-{os.getuid()}")
    assert runtime.records_folder(2**20) == Path(f"/tmp/objfs-{2**20}")


def test_a_private_folder_is_ours(tmp_path):
    """A link that somebody left in /tmp is not followed."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(MountError, match="belongs to somebody else"):
        runtime.private_folder(tmp_path / "link")


def fusermount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A fusermount3 of our own, first in PATH."""
    program = tmp_path / "fusermount3"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_unmount_tells_busy_from_the_rest(tmp_path, monkeypatch):
    """What fusermount3 says becomes an error with the path."""
    fusermount(
        tmp_path, monkeypatch, "echo 'failed to unmount: Device or resource busy' >&2; exit 1"
    )
    with pytest.raises(Busy, match="/m is in use"):
        runtime.unmount("/m")
    fusermount(tmp_path, monkeypatch, "echo 'fusermount3: entry not found' >&2; exit 1")
    with pytest.raises(MountError, match="/m cannot be unmounted: entry not found"):
        runtime.unmount("/m")
    fusermount(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/said')
    runtime.unmount("/m", lazy=True)
    assert (tmp_path / "said").read_text() == "-u -z -- /m\n"
