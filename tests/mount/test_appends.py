"""Small changes of large objects, on a real mount of each store."""

import json
import os
from pathlib import Path

from tests.mount.kit import Mounted, Store, mounted

MIB = 2**20
LINE = b"one line more\n"
SENDS_ALL = {"seaweedfs"}
"""Stores whose copied parts cannot be checked."""


def sent(mount: Mounted) -> int:
    """Bytes that the daemon has sent since it began."""
    [status] = json.loads(mount.objfs("status", "--json", str(mount.path)).stdout)["mounts"]
    return int(status["traffic"]["out"])


def test_only_what_was_changed_is_sent(store: Store, tmp_path: Path) -> None:
    """A line appended to 40 MiB, and a byte in its middle: the object is right, the bytes few."""
    data = bytearray(os.urandom(40 * MIB))
    with mounted(store, tmp_path) as mount:
        path = mount.path / "f"
        path.write_bytes(data)
        mount.remount()
        with path.open("ab") as file:
            file.write(LINE)
        data += LINE
        appended = sent(mount)
        with path.open("r+b") as file:
            file.seek(20 * MIB)
            file.write(b"!")
        data[20 * MIB] = ord("!")
        edited = sent(mount) - appended
        assert path.read_bytes() == data
    assert store.objects() == {"f": data}
    if store.name in SENDS_ALL:
        assert (appended, edited) == (len(data), len(data))
    else:
        assert appended == len(LINE)
        assert edited <= 5 * MIB
