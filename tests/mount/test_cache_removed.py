"""What the mount does when its cache folder is removed underneath it, on a real mount.

Reads go on. What was acknowledged, and is open here, is uploaded. Nothing new is taken: it could
not be kept, and a new folder of that name may be another daemon's.
"""

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.mount.conftest import put, through
from tests.mount.kit import eventually, mounted
from tests.proxy import Proxy
from tests.servers import Server

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]
MIB = 2**20


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made-again"])
def test_a_removed_cache_folder(
    radosgw: Server, link: Proxy, tmp_path: Path, *, again: bool
) -> None:
    """P3, P22: reads succeed, writes are EIO and say why, what was closed before is stored."""
    store = through(radosgw, link)
    data = os.urandom(3 * MIB)
    for key in ("cold", "warm", "open"):
        put(store, key, data)
    allowed = ["cache folder .* was removed", "no connection"]
    with mounted(store, tmp_path, allowed=allowed) as mount:
        assert (mount.path / "warm").read_bytes() == data
        for absent in ("owed", "new"):
            assert not (mount.path / absent).exists()
        reader = os.open(mount.path / "open", os.O_RDONLY)
        writer = os.open(mount.path / "written", os.O_CREAT | os.O_WRONLY)
        os.write(writer, b"half, ")
        link.down()
        with pytest.raises(OSError, match="No route"):
            (mount.path / "owed").write_bytes(b"closed before")
        shutil.rmtree(mount.cache)
        if again:
            (mount.cache / "spool").mkdir(parents=True, mode=0o700)
        with pytest.raises(OSError, match="Input/output"):
            os.fsync(writer)  # it would promise what a crash loses
        link.mend()
        assert (mount.path / "warm").read_bytes() == data
        assert (mount.path / "cold").read_bytes() == data
        assert os.pread(reader, MIB, MIB) == data[MIB : 2 * MIB]
        for name in ("new", "cold"):
            with pytest.raises(OSError, match="Input/output") as refused:
                os.open(mount.path / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            assert refused.value.errno == errno.EIO
        os.write(writer, b"whole")
        os.close(writer)
        os.close(reader)
        assert eventually(lambda: store.objects().get("owed") == b"closed before")
        (mount.path / "made").mkdir()
        assert f"the cache folder {mount.cache} was removed" in mount.log.read_text()
        assert store.objects()["cold"] == data
        assert not any((mount.cache / "spool").glob("*"))
        mount.umount()
        if again:
            (mount.cache / "spool").rmdir()  # nothing but a cache of reads is left
        shutil.rmtree(mount.cache, ignore_errors=True)
        mount.mount()
        (mount.path / "new").write_bytes(b"after a remount")
    assert store.objects()["written"] == b"half, whole"
    assert store.objects()["new"] == b"after a remount"
