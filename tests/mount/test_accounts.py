"""A mount without a bucket: every bucket is a directory at its top, on real mounts."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.kit import Mounted, Store, mounted
from tests.servers import Server, client, new_bucket

pytestmark = pytest.mark.mount


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Mounted]:
    """A folder of embedded stores."""
    store = Store("file", f"file://{tmp_path}/stores/")
    with mounted(store, tmp_path, allowed=["only buckets", "keeps its name", "not empty"]) as mount:
        yield mount


@pytest.fixture
def account(s3_server: Server, tmp_path: Path) -> Iterator[Mounted]:
    """All buckets of an S3 user; other tests make and remove some meanwhile."""
    options = ("--endpoint-url", s3_server.endpoint, "--region", s3_server.region)
    store = Store(s3_server.name, "s3://", options, s3_server.environment())
    with mounted(store, tmp_path, allowed=["only buckets", "not empty"]) as mount:
        yield mount


def test_buckets_of_a_folder(folder: Mounted, tmp_path: Path) -> None:
    """mkdir, ls, cp, mv, df and rmdir, on stores that are mounted one by one afterwards."""
    folder.sh(
        "mkdir one two; echo hello > one/a; mkdir one/d; cp one/a one/d/b; mv one/d/b two/c;"
        " mv one/d two/d; ls > /dev/null; test -d two/d; test ! -e one/d"
    )
    assert sorted(names(folder)) == ["one", "two"]
    assert os.statvfs(folder.path).f_namemax == 255
    refused(errno.ENOTEMPTY, folder.path / "two")
    folder.sh("rm -r one; test ! -e one; ls")
    folder.umount()
    (tmp_path / "alone").mkdir()
    with mounted(Store("file", f"file://{tmp_path}/stores/two"), tmp_path / "alone") as alone:
        assert alone.files() == {"c": b"hello\n"}
        assert alone.sh("df --output=used -B1 .").split()[1] == "4096"


def test_the_top_holds_buckets_only(folder: Mounted) -> None:
    """A file there is refused when it is made, not when it is closed."""
    with pytest.raises(OSError, match="not supported") as caught:
        (folder.path / "file").write_bytes(b"")
    assert caught.value.errno == errno.ENOTSUP
    folder.sh("mkdir b; echo 1 > b/a")
    with pytest.raises(OSError, match="not supported"):
        (folder.path / "b" / "a").rename(folder.path / "a")
    with pytest.raises(OSError, match="not supported"):
        (folder.path / "b").rename(folder.path / "c")
    assert folder.files() == {"b/a": b"1\n"}
    assert folder.objfs("pending", str(folder.path)).returncode == 0


@pytest.mark.server
def test_buckets_of_an_s3_account(account: Mounted, s3_server: Server) -> None:
    """A bucket made by others is found by its name, and moving on copies inside the store."""
    made, s3 = new_bucket(s3_server), client(s3_server)
    assert made in names(account)
    there = account.path / made
    (there / "a b").write_bytes(b"x" * 100_000)
    assert s3.get_object(Bucket=made, Key="a b")["Body"].read() == b"x" * 100_000
    mine = account.path / f"{made}-2"
    mine.mkdir()
    with pytest.raises(FileExistsError):
        mine.mkdir()
    s3.head_bucket(Bucket=mine.name)
    before = requests(account)
    (there / "a b").rename(mine / "c")
    after = requests(account)
    assert (after["copy"] - before.get("copy", 0), after.get("get", 0)) == (1, before.get("get", 0))
    assert (mine / "c").read_bytes() == b"x" * 100_000
    refused(errno.ENOTEMPTY, mine)
    (mine / "d").mkdir()
    (mine / "d" / "e").write_bytes(b"e")
    shutil.move(mine / "d", there / "d")
    assert (there / "d" / "e").read_bytes() == b"e"
    shutil.rmtree(mine)
    shutil.rmtree(there)
    left = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert not {made, mine.name} & set(left)


@pytest.mark.server
def test_a_bucket_of_somebody_else(radosgw: Server, tmp_path: Path) -> None:
    """It is not listed; where its policy lets us in, its name is enough."""
    bucket = new_bucket(radosgw)
    client(radosgw).put_object(Bucket=bucket, Key="d/a", Body=b"theirs")
    client(radosgw).put_bucket_acl(Bucket=bucket, ACL="public-read")
    client(radosgw).put_object_acl(Bucket=bucket, Key="d/a", ACL="public-read")
    env = {
        **radosgw.environment(),
        "AWS_ACCESS_KEY_ID": radosgw.access_key_2,
        "AWS_SECRET_ACCESS_KEY": radosgw.secret_key_2,
    }
    options = ("--endpoint-url", radosgw.endpoint, "--region", radosgw.region)
    with mounted(Store("radosgw", "s3://", options, env), tmp_path, allowed=["denied"]) as mount:
        assert bucket not in names(mount)
        assert (mount.path / bucket / "d" / "a").read_bytes() == b"theirs"
        assert not (mount.path / "no-such-bucket").exists()
        with pytest.raises(PermissionError):
            (mount.path / bucket / "mine").write_bytes(b"")
        assert mount.objfs("discard", "--yes", str(mount.path / bucket / "mine")).returncode == 0


def names(mount: Mounted) -> list[str]:
    """What is at the top."""
    return [path.name for path in mount.path.iterdir()]


def refused(number: int, directory: Path) -> None:
    """rmdir(2) fails so."""
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        directory.rmdir()
    assert caught.value.errno == number


def requests(mount: Mounted) -> dict[str, int]:
    """Those sent so far, by operation."""
    answer = json.loads(mount.objfs("status", str(mount.path), "--json").stdout)
    counted: dict[str, int] = answer["mounts"][0]["requests"]
    return counted
