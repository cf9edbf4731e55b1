"""Small uploads do not wait for `100 Continue`."""

import os

from objfs.store.base import FileRange
from objfs.store.s3 import wire


def test_small_files_are_sent_from_memory(tmp_path):
    """A file of up to 1 MiB becomes bytes, for which botocore sends no Expect header."""
    path = tmp_path / "f"
    path.write_bytes(b"abcdef" * 1000)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert wire.in_memory(FileRange(fd, 3, 6)) == b"defabc"
        large = FileRange(fd, 0, wire.IN_MEMORY + 1)
        assert wire.in_memory(large) is large
    finally:
        os.close(fd)
    assert wire.in_memory(b"x") == b"x"
