"""What a local file's bytes are called by a store: its ETags, to recognise our own upload by."""

import hashlib

from objfs.store.base import FileRange
from objfs.types import ETag

_PIECE = 2**20


def etags_of(body: FileRange, part: int) -> set[ETag]:
    """The ETags that S3 gives these bytes: stored whole, and stored in parts of this size."""
    whole, parts = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    count = 0
    for at in range(0, body.size, part):
        piece = hashlib.md5(usedforsecurity=False)
        with FileRange(body.fd, body.start + at, min(part, body.size - at)).open() as file:
            while chunk := file.read(_PIECE):
                whole.update(chunk)
                piece.update(chunk)
        parts.update(piece.digest())
        count += 1
    return {ETag(whole.hexdigest()), ETag(f"{parts.hexdigest()}-{count}")}


def sha256_of(body: FileRange) -> bytes:
    """Of a local file's bytes, to compare an object with where no ETag tells."""
    with body.open() as file:
        return hashlib.file_digest(file, "sha256").digest()
