"""The contract: listings are complete, in order, without repeats, page by page."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from tests.store.kit import Bucket, expected, met

KEYS = [
    "a",
    "a b",
    "a-b",
    "a/",
    "a/b",
    "a/b/c",
    "a/c",
    "a0",
    "b/x/1",
    "b/x/2",
    "b/y",
    "c",
    "z/1",
    "é/1",
    "é/2",
    "\uffee",
    "🎉",  # behind \uffee in UTF-8 bytes, before it in UTF-16
]
PREFIXES = ["", "a", "a/", "a/b", "b/", "b/x/", "é/", "nothing", "a b/"]


class ListingContract:
    """`list_page`."""

    @pytest.fixture
    def keys(self, bucket: Bucket) -> list[str]:
        """What is in the bucket: KEYS, as far as the product can hold them together."""
        keys = [key for key in KEYS if key != "a/" or not bucket.quirks.no_marker_beside_file]
        for key in keys:
            bucket.put(key)
        return keys

    def test_order(self, bucket: Bucket, keys: list[str]) -> None:
        """Keys come in the order of their UTF-8 bytes; a product that does not says so."""
        found = [info.key for info in bucket.page().objects]
        assert sorted(found) == sorted(keys)
        if bucket.quirks.folder_order:
            assert not bucket.driver.capabilities.ordered
        else:
            assert bucket.driver.capabilities.ordered
            assert found == sorted(keys, key=str.encode)

    @pytest.mark.parametrize("delimiter", ["", "/"])
    @pytest.mark.parametrize("limit", [1, 2, 3, 1000])
    def test_pages(
        self,
        bucket: Bucket,
        keys: list[str],
        delimiter: str,
        limit: int,
        request: pytest.FixtureRequest,
    ) -> None:
        """All pages together are the full listing, whatever their size."""
        met(request, bucket.quirks.one_entry_pages if limit == 1 else "")
        for prefix in PREFIXES:
            pages = bucket.pages(prefix, delimiter=delimiter, limit=limit)
            assert all(len(page.objects) + len(page.prefixes) <= limit for page in pages)
            found, want = bucket.names(pages), expected(keys, prefix, delimiter)
            assert len(set(found)) == len(found)
            assert sorted(found) == sorted(want)
            assert found == want or bucket.quirks.folder_order

    @pytest.mark.parametrize("delimiter", ["", "/"])
    def test_after(
        self, bucket: Bucket, keys: list[str], delimiter: str, request: pytest.FixtureRequest
    ) -> None:
        """A listing goes on behind a key, a common prefix, or a name that does not exist."""
        met(request, bucket.quirks.no_after)
        for prefix, after in [
            ("", "a"),
            ("", "a/"),
            ("", "a/b"),
            ("", "a/zzz"),
            ("", "a-"),
            ("", "b/x/1"),
            ("", "🎉"),
            ("a/", "a/b"),
            ("a/", "a/b/"),
            ("a/", "a/b/c"),
            ("b/", "a"),
        ]:
            pages = bucket.pages(prefix, delimiter=delimiter, after=after, limit=2)
            found, want = bucket.names(pages), expected(keys, prefix, delimiter, after)
            assert sorted(found) == sorted(want), after
            assert found == want or bucket.quirks.folder_order

    def test_facts(self, bucket: Bucket) -> None:
        """A listed object has the size, etag and time that a head tells."""
        for key in ("x", "y"):
            bucket.put(key, key.encode() * 9)
        for info in bucket.page().objects:
            head = bucket.head(info.key)
            assert (info.size, info.etag) == (9, head.etag)
            # Semantics: HTTP's Last-Modified has whole seconds, a listing may have more.
            assert abs(info.mtime_ns - head.mtime_ns) < 1_500_000_000
            assert (info.content_type, info.metadata) == (None, None)

    def test_exact_page(self, bucket: Bucket) -> None:
        """A listing that fits its page exactly needs at most one more, empty one."""
        for number in range(4):
            bucket.put(f"k{number}")
        pages = bucket.pages(limit=4)
        assert bucket.names(pages) == ["k0", "k1", "k2", "k3"]
        assert len(pages) <= 2

    def test_changes_between_pages(self, bucket: Bucket) -> None:
        """A token goes on where it was, also when its key was deleted meanwhile."""
        for number in range(6):
            bucket.put(f"k{number}")
        first = bucket.page(limit=2)
        bucket.driver.delete("k1")
        bucket.driver.delete("k3")
        rest = bucket.driver.list_page("", token=first.token)
        assert bucket.names([first, rest]) == ["k0", "k1", "k2", "k4", "k5"]


@dataclass(frozen=True)
class Listing:
    """A bucket's keys, and a question about them."""

    keys: list[str]
    prefix: str
    delimiter: str
    after: str
    limit: int

    def check(self, bucket: Bucket) -> None:
        """Pages put together are the sorted listing: nothing twice, nothing left out."""
        pages = bucket.pages(
            self.prefix, delimiter=self.delimiter, after=self.after, limit=self.limit
        )
        want = expected(self.keys, self.prefix, self.delimiter, self.after)
        assert bucket.names(pages) == want
        assert all(len(page.objects) + len(page.prefixes) == self.limit for page in pages[:-1])


listings = st.builds(
    Listing,
    keys=st.lists(st.text("ab/-", min_size=1, max_size=5), max_size=12, unique=True),
    prefix=st.text("ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "-", "ab"]),
    after=st.text("ab/-", max_size=4),
    limit=st.integers(1, 5),
)
"""For the drivers that are quick enough to try any."""
