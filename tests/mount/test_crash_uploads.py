"""kill -9 in the middle of multipart uploads to radosgw, through a proxy that holds them up."""

import os
import threading
from pathlib import Path

import pytest

from tests.mount.conftest import through
from tests.mount.kit import Mounted, Store, eventually, mounted
from tests.mount.test_crash import crash
from tests.proxy import Fault, Proxy
from tests.servers import Server

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]
MIB = 2**20
PARTS = 5
"""Of the file: 40 MiB."""


def uploads(store: Store) -> list[str]:
    """The keys of the multipart uploads that the server knows."""
    answer = store.client.list_multipart_uploads(Bucket=store.bucket)
    return [upload["Key"] for upload in answer.get("Uploads", ())]


def held_up(store: Store, link: Proxy, mount: Mounted, data: bytes) -> threading.Thread:
    """Begin to store a file; the server has some of its parts, and gets no more."""
    link.fail(Fault("PART", r"partNumber=[45]\b", hang=True))

    def write() -> None:
        with pytest.raises(OSError, match=r"\[Errno"):
            (mount.path / "f").write_bytes(data)

    writer = threading.Thread(target=write)
    writer.start()
    assert eventually(lambda: link.counts["PART"] == PARTS)
    assert uploads(store) == ["f"]
    return writer


def test_a_killed_sync_close_leaves_no_parts(radosgw: Server, link: Proxy, tmp_path: Path) -> None:
    """P6: nothing was promised; the next mount removes the parts, and says so in its log."""
    store = through(radosgw, link)
    mount = Mounted(store, tmp_path)
    mount.mount()
    writer = held_up(store, link, mount, os.urandom(PARTS * 8 * MIB))
    crash(mount)
    writer.join()
    link.mend()
    with mounted(store, tmp_path):
        assert uploads(store) == []
    assert store.objects() == {}
    assert "1 unfinished uploads that nobody owes were removed" in mount.log.read_text()


def test_an_upload_cut_by_a_crash_goes_on(radosgw: Server, link: Proxy, tmp_path: Path) -> None:
    """P3: what close(2) promised is finished by the next mount, which sends the missing parts."""
    store = through(radosgw, link)
    data = os.urandom(PARTS * 8 * MIB)
    mount = Mounted(store, tmp_path)
    mount.mount("--write-back", "async")
    link.fail(Fault("PART", r"partNumber=[45]\b", hang=True))
    (mount.path / "f").write_bytes(data)
    assert eventually(lambda: link.counts["PART"] == PARTS)
    assert eventually(lambda: parts(store) == [1, 2, 3])
    crash(mount)
    link.mend()
    before = link.counts["PART"]
    with mounted(store, tmp_path):
        assert eventually(lambda: uploads(store) == [])
        assert eventually(lambda: store.objects().get("f") == data)
    assert link.counts["PART"] - before == 2
    assert link.counts["START"] == 1


def parts(store: Store) -> list[int]:
    """The numbers of the parts that the server has."""
    answer = store.client.list_multipart_uploads(Bucket=store.bucket)
    if "Uploads" not in answer:
        return []
    [upload] = answer["Uploads"]
    answer = store.client.list_parts(
        Bucket=store.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
    )
    return [part["PartNumber"] for part in answer.get("Parts", ())]
