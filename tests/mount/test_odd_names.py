"""Names at the edge of what a path holds, on a real server and a real mount (PROMISES P13)."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.conftest import put, s3_store
from tests.mount.kit import mounted
from tests.servers import Server

pytestmark = [pytest.mark.mount]

CONTROL = ["tab\there", "new\nline", "bell\x07", "escape\x1b[31m", "delete\x7f", "one\x01"]
"""XML 1.0 cannot hold two of these: a listing without encoding-type=url breaks on them."""


def test_p13_one_odd_key_does_not_break_its_folder(radosgw: Server, tmp_path: Path) -> None:
    """P13: control characters and a leading "/" beside plain keys: all are listed and read.

    In two peers one such key makes the whole folder EIO.
    """
    store = s3_store(radosgw)
    keys = [f"folder/{name}" for name in (*CONTROL, "plain")] + ["/lead", "/", "//two", "plain"]
    for key in keys:
        put(store, key, f"of {key!r}".encode())
    with mounted(store, tmp_path) as mount:
        assert sorted(path.name for path in (mount.path / "folder").iterdir()) == sorted(
            [*CONTROL, "plain"]
        )
        (tmp_path / "second").mkdir()
        with mounted(store, tmp_path / "second") as other:  # nothing is known: names are looked up
            assert (other.path / "folder").is_dir()
        shown = {data.decode() for data in mount.files().values()}
        assert shown == {f"of {key!r}" for key in keys}
        for name in CONTROL:
            path = mount.path / "folder" / name
            path.write_bytes(b"changed")
            path.rename(path.with_name(f"{name} moved"))
        (mount.path / "folder" / f"{CONTROL[0]} moved").unlink()
    left = {key for key, data in store.objects().items() if data == b"changed"}
    assert left == {f"folder/{name} moved" for name in CONTROL[1:]}


LONG = "n" * 256
TOO_LONG: dict[str, Callable[[Path], object]] = {
    "stat": lambda root: (root / LONG).stat(),
    "open": lambda root: (root / LONG).read_bytes(),
    "create": lambda root: (root / LONG).write_bytes(b"x"),
    "mkdir": lambda root: (root / LONG).mkdir(),
    "unlink": lambda root: (root / LONG).unlink(),
    "rmdir": lambda root: (root / LONG).rmdir(),
    "rename from": lambda root: (root / LONG).rename(root / "x"),
    "rename to": lambda root: (root / "f").rename(root / LONG),
    "mknod": lambda root: os.mknod(root / LONG),
    "two bytes each": lambda root: (root / ("é" * 128)).write_bytes(b"x"),
}


def test_p13_a_component_of_256_bytes_is_enametoolong(radosgw: Server, tmp_path: Path) -> None:
    """P13: the kernel lets 1,024 bytes through; 255 work, and one more is refused everywhere."""
    store = s3_store(radosgw)
    with mounted(store, tmp_path) as mount:
        (mount.path / "f").write_bytes(b"content")
        for name in ("n" * 255, "é" * 127):
            (mount.path / name).write_bytes(name.encode())
            assert (mount.path / name).read_bytes() == name.encode()
        for what, act in TOO_LONG.items():
            with pytest.raises(OSError) as refused:  # noqa: PT011  # the errno is looked at
                act(mount.path)
            assert refused.value.errno == errno.ENAMETOOLONG, what
        assert (mount.path / "f").read_bytes() == b"content"
    assert sorted(map(len, store.objects())) == [1, 127, 255]
