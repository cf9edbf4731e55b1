"""The command: sentences, exit codes, help, and the ways mount(8) calls it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from objfs import __version__, runtime
from objfs.cli import mount as mounting
from objfs.cli import mountpoints
from objfs.cli.main import EXIT_CODES, run
from objfs.cli.options import OPTIONS
from objfs.config import MountConfig
from objfs.errors import FuseMissing, MountError, ObjfsError


@pytest.fixture
def said(capsys):
    """Runs the command: its exit code and what it wrote to stderr, which is no traceback."""

    def call(*args):
        code = run([str(arg) for arg in args])
        written = capsys.readouterr().err
        assert "Traceback" not in written
        return code, written

    return call


@pytest.fixture
def started(monkeypatch):
    """The configurations that a mount would have been started with; nothing is."""
    configs = []

    def start(config):
        configs.append(config)
        return mounting.Started(1, config.mount.mountpoint, config.store.url, "", "")

    monkeypatch.setattr(mounting, "check_fuse", lambda: None)
    monkeypatch.setattr(mounting, "start", start)
    return configs


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["mount", "s4://b", "/mnt"], "the URL's scheme s4:// is not known"),
        (["mount", "bucket", "/mnt"], "'bucket' is not a URL"),
        (["mount", "s3://b", "/mnt", "--cache-size", "lots"], "cache-size = 'lots' (--cache-size)"),
        (["mount", "s3://b", "/mnt", "-o", "cache_size=lots"], "cache-size = 'lots' (-o cache_siz"),
        (["mount", "s3://b", "/mnt", "-o", "cache_size"], "cache_size (-o) needs a value"),
        (["mount", "s3://b", "/mnt", "-o", "readonly"], "Did you mean read_only?"),
        (["mount", "s3://b", "/mnt", "--cache-sise", "1G"], "--cache-sise"),
        (["mount", "s3://b"], "missing argument 'MOUNTPOINT'"),
        (["moutn", "/mnt"], "'moutn' is neither a command nor a URL. Did you mean mount?"),
        (["umount"], "missing argument 'MOUNTPOINT'"),
        (["umount", "/", "--timeout", "soon"], "timeout = 'soon' (--timeout) is wrong"),
        (["s3://b", "/mnt", "extra"], "extra"),
    ],
)
def test_wrong_usage(said, args, sentence):
    """Exit code 2 and one line that names what is wrong."""
    code, written = said(*args)
    assert code == 2
    assert written.startswith("objfs: ")
    assert written.count("\n") == 1
    assert sentence in written


def test_an_unknown_variable(said, monkeypatch, mountpoint):
    """The environment is checked, too."""
    monkeypatch.setenv("OBJFS_CACHE_SISE", "1")
    code, written = said("mount", "mem://", mountpoint)
    assert code == 2
    assert "Did you mean OBJFS_CACHE_SIZE?" in written


def test_a_missing_mountpoint(said, tmp_path):
    """Exit code 6 and the command that makes it."""
    code, written = said("mount", "mem://", tmp_path / "none")
    assert code == 6
    assert f"does not exist. Create it with mkdir -p {tmp_path}/none\n" in written


def test_a_mountpoint_that_is_a_file(said, tmp_path):
    """Exit code 6."""
    (tmp_path / "file").touch()
    code, written = said("mount", "mem://", tmp_path / "file")
    assert code == 6
    assert "is not a folder" in written
    assert said("mount", "mem://", tmp_path / "file/below")[0] == 6


def test_a_mountpoint_that_is_not_empty(said, mountpoint):
    """Exit code 6: files are not hidden by accident."""
    (mountpoint / "a").touch()
    code, written = said("mount", "mem://", mountpoint)
    assert code == 6
    assert "is not empty (one entry)" in written


def test_a_mountpoint_that_is_taken(said):
    """What is mounted there is named."""
    code, written = said("mount", "mem://", "/proc")
    assert code == 6
    assert "the mountpoint /proc is taken: proc (proc) is mounted there" in written


def test_a_dead_mount(monkeypatch, mountpoint):
    """A mount whose daemon is gone gets the command that clears it."""

    def statvfs(path):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    mounted = runtime.Mounted(str(mountpoint), "fuse.objfs", "mem://")
    monkeypatch.setattr(mountpoints, "mount_at", lambda _: mounted)
    monkeypatch.setattr(os, "statvfs", statvfs)
    with pytest.raises(MountError, match=f"dead mount.*fusermount3 -uz {mountpoint}"):
        mountpoints.check_mountpoint(str(mountpoint))


def test_an_automount_is_free(monkeypatch, mountpoint):
    """Fstab's x-systemd.automount leaves an autofs trigger, which is not listed."""
    (mountpoint / "a").touch()
    mounted = runtime.Mounted(str(mountpoint), "autofs", "systemd-1")
    monkeypatch.setattr(mountpoints, "mount_at", lambda _: mounted)
    mountpoints.check_mountpoint(str(mountpoint))


def test_fuse_is_missing(tmp_path):
    """Exit code 8, for the device and for the program, each with what to install."""
    with pytest.raises(FuseMissing, match="modprobe fuse") as caught:
        mountpoints.check_fuse(tmp_path / "fuse")
    assert caught.value.exit_code == 8
    with pytest.raises(FuseMissing, match="Install the package fuse3"):
        mountpoints.check_fuse(Path(os.devnull), str(tmp_path))


def test_allow_other_needs_a_permission(monkeypatch, tmp_path):
    """A user is told about /etc/fuse.conf before fusermount3 refuses."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    conf = tmp_path / "fuse.conf"
    config = MountConfig("/m", allow_other=True)
    with pytest.raises(MountError, match="Add the line user_allow_other"):
        mountpoints.check_allow_other(config, conf)
    conf.write_text("#user_allow_other\n")
    with pytest.raises(MountError):
        mountpoints.check_allow_other(config, conf)
    conf.write_text("user_allow_other\n")
    mountpoints.check_allow_other(config, conf)


def test_the_cache_is_in_use(said, started, tmp_path, mountpoint):
    """Exit code 7, naming the process and the option."""
    with runtime.locked(str(tmp_path / "cache")):
        code, written = said(
            "mount", "mem://", mountpoint, "--foreground", "--cache-dir", tmp_path / "cache"
        )
    assert code == 7
    assert f"is in use by process {os.getpid()}." in written


@pytest.mark.parametrize("verb", [["mount"], []])
def test_a_call_by_mount8(said, started, mountpoint, verb):
    """What mount.fuse3 runs, with or without a verb, with -n -s -v and an empty -o."""
    args = [*verb, "s3://b/p", mountpoint, "-v", "-n", "-o", "rw,ro,dev,suid,umask=0", "-s", "-o"]
    assert said(*args) == (0, "")
    (config,) = started
    assert config.store.url == "s3://b/p"
    assert config.mount.mountpoint == str(mountpoint)
    assert config.mount.read_only
    assert config.mount.umask == 0


def test_the_later_flag_wins(said, started, mountpoint):
    """Flags and -o are one list, read from left to right."""
    said("mem://", mountpoint, "--connections", 1, "-o", "connections=2", "--connections=3")
    said("mem://", mountpoint, "--connections", 1, "--connections=3", "-o", "connections=2")
    said("mem://", mountpoint, "--path-style", "-o", "virtual_style")
    said("mem://", mountpoint, "-o", "virtual_style", "--path-style")
    assert [config.store.connections for config in started[:2]] == [3, 2]
    assert [config.store.addressing for config in started[2:]] == ["virtual", "path"]


def test_the_mountpoint_is_absolute(said, started, mountpoint, monkeypatch):
    """A relative path and a link mean what they mean where the command runs."""
    monkeypatch.chdir(mountpoint.parent)
    Path("link").symlink_to("mnt")
    said("mem://", "link", "--cache-dir", "cache")
    (config,) = started
    assert config.mount.mountpoint == str(mountpoint)
    assert config.cache.folder == str(mountpoint.parent / "cache")


def test_json_of_a_mount(started, mountpoint, capsys):
    """Machines read one object."""
    assert run(["mount", "mem://", str(mountpoint), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["mountpoint"] == str(mountpoint)


def test_help_is_complete(capsys):
    """Every option, every exit code, examples, and where credentials come from."""
    assert run(["mount", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(option.flag in text for option in OPTIONS)
    assert all(f"{code}  {meaning}" in text for code, meaning in EXIT_CODES.items())
    assert "Examples:" in text
    assert "AWS_ACCESS_KEY_ID" in text


def test_exit_codes_are_those_of_the_errors():
    """No error class has an exit code that the help does not explain."""

    def codes(cls: type[ObjfsError]) -> set[int]:
        return {cls.exit_code}.union(*(codes(sub) for sub in cls.__subclasses__()))

    assert codes(ObjfsError) | {0} == set(EXIT_CODES)


def test_debug_shows_the_traceback(monkeypatch, capsys):
    """OBJFS_DEBUG=1 is for reports."""
    monkeypatch.setenv("OBJFS_DEBUG", "1")
    assert run(["mount", "bucket", "/mnt"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_module_is_the_command():
    """`python -m objfs --version`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "objfs", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"objfs {__version__}\n"
