"""The fold of a paged listing, against brute force."""

from hypothesis import given
from hypothesis import strategies as st

from objfs.store.memory import MemoryStore
from objfs.tree.listing import Entry, Fold
from objfs.types import FOLDER_TYPE, ETag, Headers, ObjectInfo, Page

keys = st.text(alphabet="a-/.~", min_size=1, max_size=5)


@given(st.sets(keys, max_size=12), st.integers(1, 4), st.sampled_from(["", "a/", "/", "a-/"]))
def test_pages_of_any_size_fold_to_the_same_entries(stored, limit, prefix):
    """Each component once, with its object, its directory or both."""
    store = MemoryStore()
    for key in stored:
        store.put(key, b"x", Headers())
    fold, found, token = Fold(prefix), list[Entry](), ""
    while True:
        page = store.list_page(prefix, delimiter="/", token=token, limit=limit)
        found += fold.feed(page)
        token = page.token
        if not token:
            break
    found += fold.finish()
    below = [key[len(prefix) :] for key in stored if key.startswith(prefix)]
    directories = {rest.partition("/")[0] for rest in below if "/" in rest}
    files = {rest for rest in below if "/" not in rest}
    assert len(found) == len({entry.component for entry in found})
    assert {entry.component for entry in found if entry.directory} == directories
    assert {entry.component for entry in found if entry.info} == files


def test_a_marker_without_a_slash_is_the_directory():
    """Swift's tools keep `a` for the directory `a/`: it shows once, with keys below or without."""

    def folder(key: str, size: int = 0) -> ObjectInfo:
        return ObjectInfo(key, size, ETag("e"), 0, content_type=FOLDER_TYPE)

    plain = ObjectInfo("a.txt", 1, ETag("e"), 0)
    pages = [
        Page((folder("a"), folder("a-"), plain), (), "more"),
        Page((folder("b"), folder("c", size=1)), ("a/",), ""),
    ]
    fold, found = Fold(""), list[Entry]()
    for page in pages:
        found += fold.feed(page)
    found += fold.finish()
    assert sorted((e.component, bool(e.info), e.directory) for e in found) == [
        ("a", False, True),
        ("a-", False, True),
        ("a.txt", True, False),
        ("b", False, True),
        ("c", True, False),
    ]
