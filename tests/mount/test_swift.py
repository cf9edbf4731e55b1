"""What is Swift's own, on a real mount: its tools' directories and large objects, a lost token."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import swift_store
from tests.mount.kit import Mounted, Store, mounted
from tests.servers import Server
from tests.swift import environment, plain

FOLDER = {"Content-Type": "application/directory"}


@pytest.fixture
def here(swift: Server) -> Store:
    """An empty container on OpenStack Swift."""
    return swift_store(swift)


@pytest.fixture
def mount(here: Store, tmp_path: Path) -> Iterator[Mounted]:
    """The container, mounted, and asked anew each time."""
    with mounted(here, tmp_path, "--metadata-ttl", "0") as mount:
        yield mount


def test_directories_of_swift_tools(mount: Mounted, swift: Server) -> None:
    """An empty `application/directory` object is a directory: listed, entered, moved, removed."""
    other, container = plain(swift), mount.store.bucket
    for key in ("full", "empty", "full/inner", "full-x"):
        other.ask("PUT", f"{container}/{key}", data=b"", headers=FOLDER)
    other.ask("PUT", f"{container}/full/file", data=b"content")
    other.ask("PUT", f"{container}/full.txt", data=b"text")
    assert sorted(os.listdir(mount.path)) == ["empty", "full", "full-x", "full.txt"]  # noqa: PTH208
    assert all((mount.path / name).is_dir() for name in ("empty", "full", "full-x", "full/inner"))
    assert (mount.path / "full/file").read_bytes() == b"content"
    mount.sh("rmdir full/inner full-x && mv full moved && mv empty void && ls -d void")
    assert sorted(other.names(container)) == ["full.txt", "moved/", "moved/file", "void/"]
    mount.sh("rmdir void && rm -r moved")
    assert other.names(container) == ["full.txt"]


def test_mkdir_is_known_to_swift_tools(mount: Mounted, swift: Server) -> None:
    """The marker has the content type that the swift command, Horizon and rclone look for."""
    mount.sh("mkdir made")
    answer = plain(swift).ask("HEAD", f"{mount.store.bucket}/made/")
    assert answer.headers["Content-Type"] == "application/directory"


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_large_objects_of_swift_tools(mount: Mounted, swift: Server, kind: str) -> None:
    """Read at random, appended to, renamed, removed: no segment stays, and none is lost."""
    other, container = plain(swift), mount.store.bucket
    bodies = [os.urandom(300_000), os.urandom(300_000), b"end"]
    make = other.put_slo if kind == "static" else other.put_dlo
    make(container, "large", bodies)
    path = mount.path / "large"
    assert path.stat().st_size == 600_003
    with path.open("rb") as file:
        file.seek(299_990)
        assert file.read(20) == (bodies[0] + bodies[1])[299_990:300_010]
    mount.sh("mv large moved && echo more >> moved")
    assert (mount.path / "moved").read_bytes() == b"".join(bodies) + b"more\n"
    assert other.names(container) == ["moved"]
    assert other.names(f"{container}_segments") == []


def test_a_large_file_leaves_no_segment(mount: Mounted, swift: Server) -> None:
    """Written in segments, rewritten, renamed over another and removed."""
    other, container = plain(swift), mount.store.bucket
    mount.sh("head -c 20000000 /dev/urandom > one && cp one two")
    assert len(other.names(f"{container}_segments")) == 6
    mount.sh("printf x | dd of=one bs=1 seek=9999999 conv=notrunc status=none && ! cmp -s one two")
    assert len(other.names(f"{container}_segments")) == 6
    mount.sh("mv one two && stat -c %s two | grep -x 20000000")
    assert len(other.names(f"{container}_segments")) == 3
    mount.sh("rm two")
    assert other.names(f"{container}_segments") == []


def test_all_containers_of_an_account(swift: Server, tmp_path: Path) -> None:
    """One is made by mkdir, left by mv with all segments, and removed by rmdir when empty."""
    account = Store("swift", "swift://", env=environment(swift))
    one, two = (f"objfs-{secrets.token_hex(6)}" for _ in range(2))
    with mounted(account, tmp_path, allowed=["not empty"]) as mount:
        mount.sh(f"mkdir {one} {two} && ! mkdir {one} 2>/dev/null && ls | grep -x {two}")
        mount.sh(f"head -c 20000000 /dev/urandom > {one}/large && echo small > {one}/small")
        mount.sh(f"cp {one}/large ../right && mv {one}/large {one}/small {two}")
        assert plain(swift).names(one) == plain(swift).names(f"{one}_segments") == []
        assert plain(swift).names(two) == ["large", "small"]
        mount.sh(f"cmp ../right {two}/large && ! rmdir {two} 2>/dev/null && rmdir {one}")
        mount.sh(f"test ! -e {one} && rm {two}/* && rmdir {two} && df . > /dev/null")


@pytest.mark.parametrize(
    ("url", "change", "code", "said"),
    [
        ("swift://never-made", {}, 3, "never-made/: no such container"),
        ("swift://c", {"ST_KEY": "wrong"}, 4, "the login is refused (HTTP 401)"),
        ("swift://c", {"ST_KEY": ""}, 4, "ST_KEY not set"),
        ("swift://c", {"ST_AUTH": "http://127.0.0.1:1/auth"}, 5, "no connection"),
        ("swift:///x", {}, 2, "names no container"),
    ],
)
def test_a_mount_that_cannot_be_is_one_sentence(
    swift: Server, tmp_path: Path, *, url: str, change: dict[str, str], code: int, said: str
) -> None:
    """What is wrong and what to do, with the exit code that the README gives."""
    mount = Mounted(Store("swift", url, env=environment(swift) | change), tmp_path)
    done = mount.objfs("mount", "--cache-dir", str(mount.cache), url, str(mount.path))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert swift.swift_key not in done.stderr
