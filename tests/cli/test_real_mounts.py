"""The command as a user runs it: real mounts, real signals, real refusals."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from objfs import runtime
from objfs.cli.mount import DEADLINE
from tests.log_rule import check_daemon_log

pytestmark = pytest.mark.mount

Done = subprocess.CompletedProcess[str]


class Command:
    """Runs `objfs` with a cache folder of its own."""

    def __init__(self, folder: Path, mountpoint: Path) -> None:
        self.cache = folder / "cache"
        self.mountpoint = mountpoint
        self.environ = {
            **os.environ,
            "OBJFS_CACHE_DIR": str(self.cache),
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "hunter2",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def __call__(self, *args: str) -> Done:
        """One call, and what it said."""
        return self.run(sys.executable, "-m", "objfs", *args)

    def run(self, *command: str, path: str = "") -> Done:
        """A program in the same environment, with `path` in front of PATH."""
        before = f"{path}:" if path else ""
        return subprocess.run(
            command,
            env={**self.environ, "PATH": f"{before}{os.environ['PATH']}:/usr/sbin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def mount(self, *options: str) -> int:
        """Mount a bucket in memory; the daemon's PID."""
        done = self("mount", "mem://", str(self.mountpoint), "--json", *options)
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["pid"])

    def log(self) -> str:
        """What the daemon wrote."""
        return (self.cache / "objfs.log").read_text()


@pytest.fixture
def objfs(tmp_path, mountpoint):
    """The command; what it mounted is unmounted afterwards."""
    command = Command(tmp_path, mountpoint)
    yield command
    if runtime.mount_at(str(mountpoint)):
        runtime.unmount(str(mountpoint), lazy=True)


def gone(pid: int) -> None:
    """Waits until a daemon has ended."""
    end = time.monotonic() + 10
    while runtime.start_time(pid) >= 0:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_mount_use_umount(objfs, mountpoint):
    """A file goes in and comes out; then nothing of the mount is left, and the log is clean."""
    pid = objfs.mount()
    (mountpoint / "a").write_text("hello")
    assert (mountpoint / "a").read_text() == "hello"
    done = objfs("umount", str(mountpoint), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["pid"], answer["left"]) == (pid, [])
    assert runtime.mount_at(str(mountpoint)) is None
    assert not list(runtime.records_folder().iterdir())
    gone(pid)
    check_daemon_log(objfs.log())


def test_the_mount_is_taken_and_so_is_its_cache(objfs, mountpoint, tmp_path):
    """A second mount is refused by the mount point, and elsewhere by the cache folder."""
    pid = objfs.mount()
    done = objfs("mount", "mem://", str(mountpoint))
    assert done.returncode == 6
    assert "is taken: mem:// (fuse.objfs) is mounted there" in done.stderr
    (tmp_path / "other").mkdir()
    done = objfs("mount", "mem://", str(tmp_path / "other"))
    assert done.returncode == 7
    assert f"is in use by process {pid}." in done.stderr
    assert objfs("umount", str(mountpoint)).returncode == 0


def test_umount_of_a_busy_mount(objfs, mountpoint):
    """It stays mounted, and the process in the way is named."""
    objfs.mount()
    with (mountpoint / "a").open("w"):
        done = objfs("umount", str(mountpoint))
    assert done.returncode == 1
    assert f"in use by process {os.getpid()} (" in done.stderr
    assert objfs("umount", str(mountpoint)).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(objfs, mountpoint, number):
    """The mount is gone, the record too."""
    pid = objfs.mount()
    os.kill(pid, number)
    gone(pid)
    assert runtime.mount_at(str(mountpoint)) is None
    assert not list(runtime.records_folder().iterdir())
    check_daemon_log(objfs.log())


def test_a_killed_daemon(objfs, mountpoint):
    """Its dead mount is recognised, and umount clears it without saying that all is well."""
    pid = objfs.mount()
    os.kill(pid, signal.SIGKILL)
    gone(pid)
    done = objfs("mount", "mem://", str(mountpoint))
    assert done.returncode == 6
    assert "is a dead mount" in done.stderr
    assert f"fusermount3 -uz {mountpoint}" in done.stderr
    done = objfs("umount", str(mountpoint))
    assert done.returncode == 1
    assert "its daemon has died" in done.stderr
    objfs.mount()
    assert objfs("umount", str(mountpoint)).returncode == 0


def test_the_foreground(objfs, mountpoint):
    """It logs to stderr, says when it is mounted, and Ctrl-C ends it with 0."""
    with subprocess.Popen(
        [sys.executable, "-m", "objfs", "mem://", mountpoint, "--foreground", "--json"],
        env=objfs.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "SIGINT: unmounting" in said
    check_daemon_log(said)


def test_mount8_calls_it(objfs, mountpoint):
    """`mount -t fuse.objfs` goes through mount.fuse3, which finds objfs in PATH."""
    helper = shutil.which("mount.fuse3", path=f"{os.environ['PATH']}:/usr/sbin")
    assert helper
    programs = Path(sys.executable).parent
    options = "ro,_netdev,nofail,x-systemd.automount,umask=077"
    command = [helper, "mem://", str(mountpoint), "-t", "fuse.objfs", "-o", options]
    done = objfs.run(*command, path=str(programs))
    assert done.returncode == 0, done.stderr
    assert mountpoint.stat().st_mode & 0o777 == 0o700
    with pytest.raises(OSError, match="Read-only file system"):
        (mountpoint / "a").touch()
    assert objfs("umount", str(mountpoint)).returncode == 0


def test_an_endpoint_that_refuses(objfs, mountpoint):
    """Exit code 5 at once, and no secret in the sentence or in the log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        done = objfs("s3://b", str(mountpoint), "--endpoint-url", endpoint)
    assert done.returncode == 5
    assert done.stderr.startswith("objfs: ")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr + objfs.log()
    assert runtime.mount_at(str(mountpoint)) is None


def test_an_endpoint_that_is_silent(objfs, mountpoint):
    """A server that takes the connection and says nothing: a sentence before the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = time.monotonic()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = objfs("s3://b", str(mountpoint), "--endpoint-url", endpoint)
    assert time.monotonic() - begun < DEADLINE
    assert done.returncode == 5
    assert "did not answer within 10 s" in done.stderr
    assert runtime.mount_at(str(mountpoint)) is None


def test_a_new_mount_in_the_place_of_a_detached_one(objfs, mountpoint, tmp_path):
    """A daemon that ends while its mount is detached and in use leaves the next one alone."""
    pid = objfs.mount()
    (mountpoint / "a").write_text("x")
    held = os.open(mountpoint / "a", os.O_RDONLY)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 5
    while runtime.mount_at(str(mountpoint)) and time.monotonic() < end:
        time.sleep(0.05)
    objfs.mount("--cache-dir", str(tmp_path / "other"))
    gone(pid)
    assert runtime.mount_at(str(mountpoint)) is not None
    with pytest.raises(OSError, match="not connected"):  # its daemon is gone
        os.close(held)
    assert objfs("umount", str(mountpoint)).returncode == 0


@pytest.mark.parametrize("option", ["--cache-dir", "--log-file"])
def test_the_mount_must_not_cover_its_own_files(objfs, mountpoint, option):
    """A cache or a log inside the mount would deadlock: refused at once."""
    done = objfs("mount", "mem://", str(mountpoint), option, str(mountpoint / "own"))
    assert done.returncode == 2
    assert "lies in the mountpoint" in done.stderr
    assert not list(mountpoint.iterdir())
