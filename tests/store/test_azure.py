"""The Azure driver keeps the contract on Azurite, and does what only Azure has."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import ContentSettings, generate_container_sas

from objfs.config import StoreConfig
from objfs.errors import Busy, InvalidArgument, NoSuchUpload, NotFound
from objfs.store.azure import wire
from objfs.store.azure.driver import AzureStore
from objfs.types import Expect, Headers
from tests.azurite import Azurite
from tests.store.contract import DriverContract
from tests.store.kit import Bucket, Quirks

_MANGLED = "refused: Azure would store it under another name, or could not list it"
QUIRKS = Quirks(
    refused_keys=dict.fromkeys(("backslash", "control", "dot", "dots", "only dots"), _MANGLED),
    folder_order="it is by UTF-16 units: an emoji comes before U+FFEE",
    replaced_part="blocks are named by their bytes' MD5, so it keeps both",
)


@pytest.fixture
def bucket(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new container."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    name = azurite.new_container()
    driver = AzureStore(StoreConfig(url=f"az://{name}", scheme="az", bucket=name))
    yield Bucket(driver, QUIRKS)
    driver.close()


@pytest.fixture
def container(bucket: Bucket) -> str:
    """The name of the bucket's container."""
    assert isinstance(bucket.driver, AzureStore)
    return bucket.driver._service.container.container_name


class TestAzure(DriverContract):
    """On a new container."""


def test_a_blob_that_stands_for_a_directory(
    bucket: Bucket, azurite: Azurite, container: str
) -> None:
    """`d` with hdi_isfolder, as Hadoop writes it, is the marker `d/`, in every request."""
    with azurite.container(container) as client:
        for name in ("d", "empty"):
            client.upload_blob(name, b"", metadata={"hdi_isfolder": "true"})
    for key in ("d-x", "d/a", "d.txt"):
        bucket.put(key)
    for limit in (1, 2, 100):
        pages = bucket.pages(delimiter="/", limit=limit)
        assert sorted(bucket.names(pages)) == ["d-x", "d.txt", "d/", "empty/"]
    assert sorted(bucket.names(bucket.pages())) == ["d-x", "d.txt", "d/", "d/a", "empty/"]
    assert (bucket.head("empty/").key, bucket.head("empty/").size) == ("empty/", 0)
    with pytest.raises(NotFound):
        bucket.head("empty")
    bucket.copy("empty/", "moved/", size=0)
    bucket.driver.delete_many(["empty/"])
    bucket.driver.delete("d/")
    assert sorted(bucket.names(bucket.pages(delimiter="/"))) == ["d-x", "d.txt", "d/", "moved/"]
    assert bucket.names(bucket.pages()) == ["d-x", "d.txt", "d/a", "moved/"]


def test_our_markers_are_marked(bucket: Bucket, azurite: Azurite, container: str) -> None:
    """A marker that mkdir stores says so to the tools of Azure, and not in our metadata."""
    bucket.put("d/", b"", Headers("application/x-directory", {"mode": "0755"}))
    bucket.copy("d/", "e/", size=0, headers=Headers("application/x-directory", {"mode": "0700"}))
    assert [bucket.head(key).metadata for key in ("d/", "e/")] == [
        {"mode": "0755"},
        {"mode": "0700"},
    ]
    with azurite.container(container) as client:
        for key in ("d/", "e/"):
            found = client.get_blob_client(key).get_blob_properties()
            assert found.metadata["hdi_isfolder"] == "true"


def test_md5_beside_the_etag(bucket: Bucket) -> None:
    """A put, a head, a read and a listing tell the MD5 of the bytes; a copy keeps it."""
    md5 = "900150983cd24fb0d6963f7d28e17f72"
    assert bucket.put("x", b"abc").md5 == md5
    assert bucket.copy("x", "y", headers=Headers("text/other", {"k": "v"})).md5 == md5
    read = bucket.driver.get("x", lambda _: None, start=0, stop=3)
    listed = [info.md5 for info in bucket.page().objects]
    assert [read.md5, bucket.head("y").md5, *listed] == [md5] * 4


@pytest.mark.parametrize(
    "name", ["mode", "a-b", "9", "_x2d_", "_x", "x_y", "a.b/c", "übung", "__", "_xzz_"]
)
def test_metadata_names(bucket: Bucket, name: str) -> None:
    """Any name of a metadata item is kept, though Azure takes only identifiers."""
    bucket.put("x", b"", Headers("text/x", {name: "value"}))
    assert bucket.head("x").metadata == {name: "value"}
    assert wire.unescaped(wire.escaped(name)) == name


def test_metadata_that_no_header_holds(bucket: Bucket) -> None:
    """A value beyond printable ASCII is refused before anything is sent."""
    for value in ("é", "a\nb"):
        with pytest.raises(InvalidArgument):
            bucket.put("x", b"", Headers("text/x", {"k": value}))


def test_two_uploads_of_one_key(bucket: Bucket) -> None:
    """The second of two to finish finds its blocks gone, says so, and harms nothing."""
    driver = bucket.driver
    assert isinstance(driver, AzureStore)
    uploads = [driver.start_parts("x", Headers()) for _ in range(2)]
    parts = [driver.put_part("x", upload, 1, b"%d" % n) for n, upload in enumerate(uploads)]
    assert [list(driver.list_parts("x", upload)) for upload in uploads] == [[p] for p in parts]
    driver.finish_parts("x", uploads[0], [parts[0]])
    for _ in range(2):
        with pytest.raises(NoSuchUpload):
            driver.finish_parts("x", uploads[1], [parts[1]])
    for upload in uploads:
        with pytest.raises(NoSuchUpload):
            driver.list_parts("x", upload)
    assert bucket.get("x") == b"0"


def test_a_part_sent_twice(bucket: Bucket) -> None:
    """Both are listed, told apart by their etags, and the one that is named at the end counts."""
    driver = bucket.driver
    assert isinstance(driver, AzureStore)
    upload = driver.start_parts("x", Headers())
    first = driver.put_part("x", upload, 1, b"first")
    second = driver.put_part("x", upload, 1, b"second")
    tail = driver.put_part("x", upload, 2, b"tail")
    parts = list(driver.list_parts("x", upload))
    assert set(parts[:2]) == {first, second}
    assert parts[2:] == [tail]
    driver.finish_parts("x", upload, [second, tail])
    assert bucket.get("x") == b"secondtail"
    with pytest.raises(NoSuchUpload):
        driver.put_part("x", "not an id", 1, b"")


def test_what_was_stored_packed_is_read_packed(
    bucket: Bucket, azurite: Azurite, container: str
) -> None:
    """A blob with a Content-Encoding comes as its bytes are, whatever requests would do."""
    packed = gzip.compress(b"text" * 100)
    with azurite.container(container) as client:
        client.upload_blob("x", packed, content_settings=ContentSettings(content_encoding="gzip"))
    assert bucket.get("x") == packed


def test_a_sas_for_one_container(
    bucket: Bucket, azurite: Azurite, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SAS token signs every request, a copy's source too, and stands in no error."""
    token = generate_container_sas(
        azurite.account,
        container,
        azurite.key,
        permission="rwdlac",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", azurite.endpoint)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", azurite.account)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", token)
    driver = AzureStore(StoreConfig(url=f"az://{container}", scheme="az", bucket=container))
    signed = Bucket(driver)
    try:
        signed.put("a b/ü", b"body", Headers("text/x", {"k": "v"}))
        assert signed.copy("a b/ü", "c", size=4).size == 4
        upload = driver.start_parts("d", Headers())
        driver.finish_parts("d", upload, [driver.put_part("d", upload, 1, b"part")])
        assert (signed.get("c"), signed.get("d")) == (b"body", b"part")
        assert driver.delete_many(["a b/ü", "c", "d"]) == {}
        assert bucket.names(bucket.pages()) == []
        with pytest.raises(NotFound) as caught:
            signed.head("none")
        assert token.partition("sig=")[2] not in f"{caught.value!r} {caught.value.__cause__!r}"
    finally:
        driver.close()


def test_a_leased_blob_is_busy(bucket: Bucket, azurite: Azurite, container: str) -> None:
    """A lease, answered by 412 as a wrong etag is, is no conflict: nobody changed anything."""
    etag = bucket.put("x", b"1").etag
    with azurite.container(container) as client:
        lease = client.get_blob_client("x").acquire_lease()
        with pytest.raises(Busy, match="lease"):
            bucket.put("x", b"2", expect=Expect(etag=etag))
        lease.release()
