"""The URL of a mount."""

import pytest

from objfs.cli.url import Location, parse_url
from objfs.config import StoreConfig
from objfs.errors import UsageError
from objfs.store import open_store


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://b", Location("s3", "b", "")),
        ("s3://b/", Location("s3", "b", "")),
        ("s3://b/a/c", Location("s3", "b", "a/c/")),
        ("s3://b/a/", Location("s3", "b", "a/")),
        ("s3://My_Bucket.1/a", Location("s3", "My_Bucket.1", "a/")),
        ("s3://b//x", Location("s3", "b", "/x/")),
        ("s3://b/a?b#c%20d", Location("s3", "b", "a?b#c%20d/")),
        ("s3://b/me@home", Location("s3", "b", "me@home/")),
        ("s3://", Location("s3", "", "", whole_account=True)),
        ("swift://", Location("swift", "", "", whole_account=True)),
        ("swift://c", Location("swift", "c", "")),
        ("swift://My Photos/a", Location("swift", "My Photos", "a/")),
        ("swift://größe//x", Location("swift", "größe", "/x/")),
        ("mem://", Location("mem", "", "")),
        ("mem://name/p", Location("mem", "name", "p/")),
    ],
)
def test_urls(url, location):
    """The prefix is what stands behind the bucket, byte for byte, and ends in a slash."""
    assert parse_url(url) == location


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "bucket",
            "'bucket' is not a URL. Write s3://BUCKET, swift://CONTAINER, az://CONTAINER, gs://B",
        ),
        (
            "s3:///key",
            "names no bucket. Write s3://BUCKET[/PREFIX], or s3:// for all buckets.",
        ),
        ("file://folder", "Write file:///FOLDER (three slashes)."),
        (
            "s3a://b",
            "is not known (known are s3://, swift://, az://, gs://, file://, mem://).",
        ),
        ("swift:///x", "names no container. Write swift://CONTAINER[/PREFIX], or swift:// for"),
        ("swift://" + "é" * 129, "the container's name in the URL is over 256 bytes."),
        ("s4://b", "Did you mean s3://?"),
        ("fil:///b", "Did you mean file://?"),
        ("https://b", "Write s3://BUCKET for a bucket."),
        ("s3://b ucket", "the bucket's name in the URL has characters that no bucket has."),
    ],
)
def test_bad_urls(url, said):
    """Each is refused in one sentence that says what to write."""
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@b/p",
        "s3://hunter2@b",
        "s3://AKIA:hun/ter2@b",
        "https://me:hunter2@host/b",
        "s3://AKIA:hunter2",
    ],
)
def test_credentials_in_a_url_are_not_repeated(url):
    """A secret in a URL is refused, and the refusal does not show it."""
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert not any(secret in str(caught.value) for secret in ("hunter2", "AKIA", "ter2"))


def test_open_store_refuses_unknown_schemes():
    """A scheme without a driver names the nearest that has one."""
    with pytest.raises(UsageError, match="Did you mean mem://"):
        open_store(StoreConfig(url="mam://", scheme="mam", bucket=""))
