"""Uploads in parts: what counts as sent, and what becomes of an upload that is not known."""

import os
import tempfile
from collections.abc import Iterator

import pytest

from objfs.errors import Unavailable
from objfs.store.base import FileRange
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.store.multipart import PART_SIZE
from objfs.types import ETag, Headers, Upload
from tests.doubles import FaultyDriver, RecordingDriver

PLAIN = Headers()
OPAQUE = ETag("opaque")
PARTS = 4


class Notebook:
    """Remembers one upload."""

    def __init__(self) -> None:
        self.upload: Upload | None = None
        self.gone: list[Upload] = []

    def resumable(self, key: str) -> Upload | None:
        """The one upload, if it is to this key."""
        return self.upload if self.upload and self.upload.key == key else None

    async def begun(self, upload: Upload) -> bool:
        """Remembered."""
        self.upload = upload
        return True

    async def expects(self, etag: ETag) -> None:
        """Not of these uploads, whose etags follow from their bytes."""
        raise AssertionError(etag)

    def ended(self, upload: Upload) -> None:
        """Forgotten."""
        self.gone.append(upload)
        self.upload = None

    def unwanted(self, upload: Upload) -> None:
        """No abort fails here."""
        raise AssertionError(upload)


class Case:
    """An upload of four parts of which the store has three, and a body that may be changed."""

    def __init__(self, fd: int) -> None:
        self.memory = MemoryStore()
        self.seen = RecordingDriver(self.memory)
        self.faults = FaultyDriver(self.seen)
        self.bucket = Bucket(self.faults)
        self.notes = Notebook()
        self.fd = fd
        os.pwrite(fd, os.urandom(PARTS * PART_SIZE), 0)
        self.body = FileRange(fd, 0, PARTS * PART_SIZE)

    async def cut_short(self) -> None:
        """The first try."""
        self.faults.plan("put_part", Unavailable("down"), skip=3)
        with pytest.raises(Unavailable):
            await self.bucket.put("a", self.body, PLAIN, notes=self.notes)
        self.seen.clear()

    async def again(self) -> dict[str, int]:
        """The next try; its requests."""
        info = await self.bucket.put("a", self.body, PLAIN, notes=self.notes)
        data = bytearray()
        self.memory.get("a", data.extend, start=0, stop=info.size)
        assert data == os.pread(self.fd, self.body.size, 0)
        assert self.notes.upload is None
        assert self.memory.uploads() == []
        return self.seen.count()


@pytest.fixture
def case() -> Iterator[Case]:
    """A fresh one."""
    with tempfile.TemporaryFile() as file:
        yield Case(file.fileno())


async def test_only_missing_parts_are_sent(case: Case):
    """One list of parts, one part, one finish; the bytes out are those of the part."""
    await case.cut_short()
    before = case.bucket.bytes["out"]
    assert await case.again() == {"list_parts": 1, "put_part": 1, "finish_parts": 1}
    assert case.bucket.bytes["out"] - before == PART_SIZE


async def test_a_part_whose_bytes_changed_is_sent_again(case: Case):
    """A part is known by its MD5, not by its number: one flipped byte is one more part."""
    await case.cut_short()
    there = case.memory.list_parts(*case.memory.uploads()[0])
    at = (there[0].number - 1) * PART_SIZE
    [byte] = os.pread(case.fd, 1, at)
    os.pwrite(case.fd, bytes([byte ^ 1]), at)
    assert (await case.again())["put_part"] == 2


async def test_a_body_that_became_shorter_goes_on_too(case: Case):
    """The parts behind its end are not named, the last one is sent anew."""
    await case.cut_short()
    size = 2 * PART_SIZE + 5
    os.ftruncate(case.fd, size)
    case.body = FileRange(case.fd, 0, size)
    sent = await case.again()
    assert "start_parts" not in sent
    assert case.memory.head("a").size == size


async def test_parts_of_another_size_are_dropped(case: Case):
    """An objfs that cuts otherwise begins anew, and leaves nothing of the old upload."""
    await case.cut_short()
    assert case.notes.upload
    case.notes.upload = Upload("a", case.notes.upload.id, PART_SIZE // 2)
    sent = await case.again()
    assert (sent["abort_parts"], sent["start_parts"], sent["put_part"]) == (1, 1, PARTS)


async def test_a_store_without_md5_gets_all_parts_again(case: Case):
    """An etag that says nothing of the bytes proves nothing (encryption with KMS keys)."""
    await case.cut_short()
    [upload] = case.memory._uploads.values()
    upload.parts = {number: (OPAQUE, body) for number, (_, body) in upload.parts.items()}
    assert (await case.again())["put_part"] == PARTS
