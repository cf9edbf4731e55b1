"""The contract: multipart uploads are invisible until they are finished, then whole."""

import hashlib
import os

import pytest

from objfs.errors import (
    NoSuchUpload,
    NotFound,
    ObjfsError,
    PreconditionFailed,
    Unsupported,
)
from objfs.store.base import parts_etag
from objfs.types import ABSENT, ANYTHING, ETag, Expect, Headers, Part
from tests.store.contract_writes import WRONG, offered
from tests.store.kit import Bucket, file_range


def bodies(bucket: Bucket, count: int = 2) -> list[bytes]:
    """Parts as small as the product takes them, with a last one that is smaller still."""
    least = max(bucket.driver.capabilities.min_part, 1000)
    return [os.urandom(least) for _ in range(count - 1)] + [os.urandom(700)]


def upload(bucket: Bucket, key: str, parts: list[bytes]) -> tuple[str, list[Part]]:
    """An upload with all its parts, unfinished."""
    started = bucket.driver.start_parts(key, Headers("text/parts", {"k": "v"}))
    sent = [
        bucket.driver.put_part(key, started, number, body) for number, body in enumerate(parts, 1)
    ]
    return started, sent


def listed(number: int, body: bytes) -> Part:
    """A part as the store tells of it."""
    return Part(number, ETag(hashlib.md5(body).hexdigest()), len(body))


class PartContract:
    """`start_parts` to `abort_parts`."""

    def test_parts(self, bucket: Bucket) -> None:
        """Parts sent in any order, from files too, are joined in the order of their numbers."""
        parts = bodies(bucket, 3)
        started = bucket.driver.start_parts("x", Headers("text/parts", {"k": "v"}))
        sent: dict[int, Part] = {}
        for number in (3, 1, 2):
            with file_range(b"in front", parts[number - 1], b"behind") as source:
                sent[number] = bucket.driver.put_part("x", started, number, source)
            assert (sent[number].number, sent[number].size) == (number, len(parts[number - 1]))
        info = bucket.driver.finish_parts("x", started, [sent[1], sent[2], sent[3]])
        head = bucket.head("x")
        body = b"".join(parts)
        assert (info.key, info.size, info.etag) == ("x", len(body), head.etag)
        assert head.size == len(body)
        assert (head.content_type, dict(head.metadata or {})) == ("text/parts", {"k": "v"})
        assert bucket.get("x") == body

    def test_one_part(self, bucket: Bucket) -> None:
        """One small part makes an object."""
        started, sent = upload(bucket, "x", [b"only"])
        bucket.driver.finish_parts("x", started, sent)
        assert bucket.get("x") == b"only"

    def test_part_again(self, bucket: Bucket) -> None:
        """A number that is sent again is replaced."""
        started, _ = upload(bucket, "x", [b"first"])
        again = bucket.driver.put_part("x", started, 1, b"second")
        bucket.driver.finish_parts("x", started, [again])
        assert bucket.get("x") == b"second"

    def test_invisible_until_finished(self, bucket: Bucket) -> None:
        """The old object is read and listed until the upload is finished."""
        bucket.put("x", b"old")
        started, sent = upload(bucket, "x", bodies(bucket))
        assert bucket.get("x") == b"old"
        fresh, _ = upload(bucket, "y", [b"1"])
        assert bucket.names(bucket.pages()) == ["x"]
        with pytest.raises(NotFound):
            bucket.head("y")
        bucket.driver.finish_parts("x", started, sent)
        assert bucket.head("x").size == sum(part.size for part in sent)
        bucket.driver.abort_parts("y", fresh)

    def test_abort(self, bucket: Bucket) -> None:
        """An aborted upload is gone, aborting it again is no error, the object stays."""
        bucket.put("x", b"old")
        started, sent = upload(bucket, "x", [b"new"])
        bucket.driver.abort_parts("x", started)
        bucket.driver.abort_parts("x", started)
        with pytest.raises(ObjfsError if bucket.quirks.finish_unknown else NoSuchUpload):
            bucket.driver.finish_parts("x", started, sent)
        with pytest.raises(NoSuchUpload):
            bucket.driver.put_part("x", started, 2, b"more")
        assert bucket.get("x") == b"old"

    def test_copy_part(self, bucket: Bucket) -> None:
        """Parts made of an object and parts that were sent are joined; the old object is read."""
        least = max(bucket.driver.capabilities.min_part, 1000)
        old = os.urandom(2 * least + 7)
        etag = bucket.put("x", old).etag
        started = bucket.driver.start_parts("x", Headers())
        if not bucket.driver.capabilities.part_copy:
            with pytest.raises(Unsupported):
                bucket.driver.copy_part("x", started, 1, "x", start=0, stop=9)
            bucket.driver.abort_parts("x", started)
            return
        expect = Expect(etag=etag) if bucket.driver.capabilities.copy_if_match else ANYTHING

        def copied(number: int, start: int, stop: int) -> Part:
            part = bucket.driver.copy_part(
                "x", started, number, "x", start=start, stop=stop, expect=expect
            )
            assert part == listed(number, old[start:stop])
            return part

        first = copied(1, 3, least + 5)
        sent = bucket.driver.put_part("x", started, 2, bytes(least))
        last = copied(3, 2 * least, 2 * least + 7)
        parts = [first, sent, last]
        assert list(bucket.driver.list_parts("x", started)) == parts
        info = bucket.driver.finish_parts("x", started, parts)
        assert bucket.get("x") == old[3 : least + 5] + bytes(least) + old[2 * least :]
        assert info.etag == parts_etag(parts) == bucket.head("x").etag

    def test_copy_part_refused(self, bucket: Bucket) -> None:
        """A source that is gone, or of another version; an upload that is not known."""
        if not bucket.driver.capabilities.part_copy:
            pytest.skip("this product makes no parts of objects")
        bucket.put("x", b"0123456789")
        started = bucket.driver.start_parts("y", Headers())

        def copy(source: str, upload: str = started, expect: Expect = ANYTHING) -> Part:
            return bucket.driver.copy_part("y", upload, 1, source, start=0, stop=3, expect=expect)

        with pytest.raises(NotFound):
            copy("none")
        able = bucket.driver.capabilities.copy_if_match
        with pytest.raises(PreconditionFailed if able else Unsupported):
            copy("x", expect=WRONG)
        bucket.driver.abort_parts("y", started)
        with pytest.raises(NoSuchUpload):
            copy("x")

    def test_list_parts(self, bucket: Bucket) -> None:
        """What was sent, by number, with size and MD5, whatever the pages."""
        started = bucket.driver.start_parts("x", Headers())
        assert list(bucket.driver.list_parts("x", started)) == []
        for number in (5, 1, 3, 2):
            bucket.driver.put_part("x", started, number, b"%d" % number)
        bucket.driver.put_part("x", started, 3, b"again")
        wanted = [listed(1, b"1"), listed(2, b"2"), listed(3, b"again"), listed(5, b"5")]
        for limit in (1, 2, 1000):
            found = list(bucket.driver.list_parts("x", started, limit=limit))
            if bucket.quirks.replaced_part:
                found = [part for part in found if part.number != 3]
                assert found == [part for part in wanted if part.number != 3]
            else:
                assert found == wanted
        bucket.driver.abort_parts("x", started)
        with pytest.raises(NoSuchUpload):
            bucket.driver.list_parts("x", started)

    def test_parts_of_a_finished_upload(self, bucket: Bucket) -> None:
        """A finished upload is not known any more."""
        started, sent = upload(bucket, "x", [b"1"])
        bucket.driver.finish_parts("x", started, sent)
        with pytest.raises(NoSuchUpload):
            bucket.driver.list_parts("x", started)
        bucket.driver.abort_parts("x", started)
        assert bucket.get("x") == b"1"

    def test_wrong_part(self, bucket: Bucket) -> None:
        """Parts that were not sent so make no object."""
        started, sent = upload(bucket, "x", [b"1"])
        wrong = Part(1, ETag("0" * 32), 1)
        with pytest.raises(ObjfsError):
            bucket.driver.finish_parts("x", started, [wrong])
        with pytest.raises(ObjfsError):
            bucket.driver.finish_parts("x", started, [sent[0], Part(2, sent[0].etag, 1)])
        with pytest.raises(NotFound):
            bucket.head("x")
        bucket.driver.abort_parts("x", started)

    def test_finish_absent(self, bucket: Bucket) -> None:
        """An upload that wants no object does not replace one."""
        able = bucket.driver.capabilities.finish_if_absent
        started, sent = upload(bucket, "x", [b"1"])
        if offered(able, lambda: bucket.driver.finish_parts("x", started, sent, expect=ABSENT)):
            assert bucket.get("x") == b"1"
            started, sent = upload(bucket, "x", [b"2"])
            with pytest.raises(PreconditionFailed):
                bucket.driver.finish_parts("x", started, sent, expect=ABSENT)
            assert bucket.get("x") == b"1"
        bucket.driver.abort_parts("x", started)

    def test_finish_expecting(self, bucket: Bucket) -> None:
        """An upload that wants a version replaces that one only."""
        able = bucket.driver.capabilities.finish_if_match
        right = Expect(etag=bucket.put("x", b"0").etag)
        started, sent = upload(bucket, "x", [b"1"])
        if offered(able, lambda: bucket.driver.finish_parts("x", started, sent, expect=right)):
            assert bucket.get("x") == b"1"
            for expect in (right, WRONG):
                started, sent = upload(bucket, "x", [b"2"])
                with pytest.raises(PreconditionFailed):
                    bucket.driver.finish_parts("x", started, sent, expect=expect)
                bucket.driver.abort_parts("x", started)
            assert bucket.get("x") == b"1"
        bucket.driver.abort_parts("x", started)
