"""The embedded store's folder: which one is a store, which is refused, and one that vanishes."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from objfs.errors import NoSuchBucket, UsageError
from objfs.store.base import Usage
from objfs.store.file import FileStore
from objfs.types import Headers


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("s", ("s", "")),
        ("s/a", ("s", "a/")),
        ("s/a/b", ("s", "a/b/")),
        ("s/../s/a/", ("s", "a/")),
        ("other/new", ("other/new", "")),
        ("", ("", "")),
    ],
)
def test_locate(tmp_path: Path, path: str, found: tuple[str, str]) -> None:
    """A URL's path is split at the nearest folder that is a store."""
    FileStore(tmp_path / "s").close()
    assert FileStore.locate(tmp_path / path) == (tmp_path / found[0], found[1])


def test_refuses_foreign_folders(tmp_path: Path) -> None:
    """A folder with other things in it is named and not touched."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(UsageError, match=r"photos.*cat\.jpg"):
        FileStore(tmp_path / "photos")
    with pytest.raises(UsageError, match="not a folder"):
        FileStore(tmp_path / "photos" / "cat.jpg")
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    with pytest.raises(NoSuchBucket, match="absent"):
        FileStore(tmp_path / "absent", create=False)
    assert not (tmp_path / "absent").exists()


def test_refuses_newer_format(tmp_path: Path) -> None:
    """A store of a later objfs is not opened."""
    FileStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(UsageError, match=r"format 2.*knows 1"):
        FileStore(tmp_path)


def test_half_made_store_is_made(tmp_path: Path) -> None:
    """A creation that was cut short is done again."""
    for name in ("lock", "index.sqlite"):
        (tmp_path / name).touch()
    store = FileStore(tmp_path)
    store.put("x", b"1", Headers())
    assert store.usage() == Usage(1, 1)
    store.close()


def test_folder_that_vanishes(tmp_path: Path) -> None:
    """A store whose folder is removed under it says so, and does not come back empty."""
    store = FileStore(tmp_path / "s")
    shutil.move(tmp_path / "s", tmp_path / "t")
    with pytest.raises(NoSuchBucket):
        store.check()
    with pytest.raises(NoSuchBucket):
        store.put("x", b"1", Headers())
    assert not (tmp_path / "s").exists()
    shutil.move(tmp_path / "t", tmp_path / "s")
    store.close()
