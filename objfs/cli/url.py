"""Reading a mount's URL.

`s3://bucket[/prefix]`, `swift://container[/prefix]`, `az://container[/prefix]`,
`gs://bucket[/prefix]`, `file:///folder[/prefix]`, `mem://[name]`.

Without a bucket it means all buckets of the account: `s3://`. For the embedded store that is a
folder of stores, written with a slash at its end: `file:///folder/`.

Semantics: nothing is percent-decoded and nothing is normalised. `?`, `#`, `%` and `//` are legal
in keys, so the prefix is what stands behind the bucket, byte for byte.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from objfs.errors import UsageError
from objfs.store import ACCOUNTS, SCHEMES, unknown_scheme

# botocore's VALID_BUCKET (botocore/handlers.py) without the \w that lets other alphabets in.
_BUCKETS: Final = {
    "s3": re.compile(r"[A-Za-z0-9._-]{1,255}"),
    "gs": re.compile(r"[A-Za-z0-9._-]{1,255}"),
    "az": re.compile(r"[A-Za-z0-9-]{1,63}|\$root|\$web|\$logs"),
}
_CALLED: Final = {"az": "container"}
"""What a bucket is called where it is not called a bucket."""

_CONTAINER_MAX = 256
"""Bytes in the name of a Swift container."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a mount's root is; `prefix` is "" or ends in "/"."""

    scheme: str
    bucket: str
    prefix: str
    whole_account: bool = False


def refuse_credentials(url: str, what: str) -> None:
    """Raise `UsageError` when `url` carries user information (RFC 3986 section 3.2.1).

    The message never repeats the URL. A secret key may hold a "/", so an "@" anywhere behind an
    authority with a ":" counts as well.
    """
    rest = url.partition("://")[2]
    authority = rest.partition("/")[0]
    if "@" in authority or (":" in authority and "@" in rest):
        raise UsageError(
            f"{what} holds credentials, which every user of this machine could see in the list of"
            " processes",
            remedy="Put them into ~/.aws/credentials or the environment and leave them out here.",
        )


def parse_url(url: str) -> Location:
    """Where `url` points. Raises `UsageError`."""
    refuse_credentials(url, "the URL")
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise UsageError(
            f"{url!r} is not a URL",
            remedy="Write s3://BUCKET, swift://CONTAINER, az://CONTAINER, gs://BUCKET,"
            " file:///FOLDER or mem://.",
        )
    if scheme not in SCHEMES:
        raise unknown_scheme(scheme)
    if scheme == "file":
        return _locate_folder(url, rest)
    bucket, _, prefix = rest.partition("/")
    if not rest and scheme in ACCOUNTS:
        return Location(scheme, "", "", whole_account=True)
    if scheme in _BUCKETS:
        _check_bucket(url, scheme, bucket)
    if scheme == "swift":
        _check_container(url, bucket)
    return Location(scheme, bucket, _closed(prefix))


def _closed(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith("/") else prefix + "/"


def _check_bucket(url: str, scheme: str, bucket: str) -> None:
    called = _CALLED.get(scheme, "bucket")
    form = f"{scheme}://{called.upper()}[/PREFIX]"
    if not bucket:
        some = f", or {scheme}:// for all {called}s" if scheme in ACCOUNTS else ""
        raise UsageError(f"the URL {url} names no {called}", remedy=f"Write {form}{some}.")
    if not _BUCKETS[scheme].fullmatch(bucket):
        # What stands there may be half of a key pair, so it is not repeated.
        raise UsageError(
            f"the {called}'s name in the URL has characters that no {called} has",
            remedy=f"Write {form}; a server goes into --endpoint-url.",
        )


def _check_container(url: str, container: str) -> None:
    """Any UTF-8 up to 256 bytes without a slash (Swift's API, "Create container")."""
    if not container:
        raise UsageError(
            f"the URL {url} names no container",
            remedy="Write swift://CONTAINER[/PREFIX], or swift:// for all containers.",
        )
    if len(container.encode(errors="replace")) > _CONTAINER_MAX:
        raise UsageError(
            f"the container's name in the URL is over {_CONTAINER_MAX} bytes",
            remedy="Write swift://CONTAINER[/PREFIX].",
        )


def _locate_folder(url: str, path: str) -> Location:
    from objfs.store.file import FileStore

    if not path.startswith("/"):
        raise UsageError(
            f"the URL {url} needs an absolute path", remedy="Write file:///FOLDER (three slashes)."
        )
    folder, prefix = FileStore.locate(Path(path))
    if path.endswith("/") and not prefix and not FileStore.is_store(folder):
        return Location("file", str(folder), "", whole_account=True)
    return Location("file", str(folder), _closed(prefix))
