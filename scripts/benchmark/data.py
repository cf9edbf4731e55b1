"""What the workloads find: objects in a bucket, and local files to copy in.

Semantics: a large object is stored in parts, as most of them are, so that its ETag is not the MD5
of its bytes. One that came in a single PUT costs objfs 1.7 s of CPU more for each GiB, since it
compares the whole with its ETag (PROMISES P7), which the other mounts do not.
"""

import io
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.servers import Server, client

KIB, MIB, GIB = 2**10, 2**20, 2**30
LOADERS = 8
PAGE = 1000
PARTS_FROM = 8 * MIB
"""boto3's `TransferConfig.multipart_threshold`; for small ones its transfers cost threads."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything; the defaults are those of the published table."""

    large: int = GIB
    """Bytes of the object that is read in one stream, and at random."""
    several: int = 8
    """Objects that are read at once."""
    several_bytes: int = 64 * MIB
    random_reads: int = 200
    tree_folders: int = 20
    tree_files: int = 100
    """In each folder of the tree of small files."""
    small: int = 16 * KIB
    """Bytes of a small file."""
    many: tuple[int, int, int] = (100, 10, 10)
    """Folders, folders in each, files in each of those, for find."""
    flat: int = 10_000
    """Files of one folder, for ls -l."""
    stats: int = 200
    copied: int = 512 * MIB
    small_files: int = 300
    """How many are copied in."""
    appended: int = 64 * MIB
    renamed: int = 200
    """Objects below the directory that is renamed."""
    big: int = 2 * GIB

    @property
    def many_folders(self) -> int:
        """Folders that find meets, without the top."""
        return self.many[0] * (1 + self.many[1])

    @property
    def many_files(self) -> int:
        """Files that find meets."""
        return self.many[0] * self.many[1] * self.many[2]


SMOKE = Sizes(
    large=64 * MIB, random_reads=20, tree_folders=4, tree_files=25, many=(5, 4, 5), small_files=30
)
"""For continuous integration: enough to count requests, too little to time anything."""


@dataclass(frozen=True)
class Bench:
    """A loaded store, reached directly: what is measured may reach it through a link."""

    server: Server
    bucket: str
    folder: Path
    sizes: Sizes

    @property
    def sources(self) -> Path:
        """Local files, made by `make_sources`."""
        return self.folder / "sources"

    def head(self, key: str) -> int:
        """The size of an object, -1 when there is none."""
        s3 = client(self.server)
        try:
            return s3.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
        except s3.exceptions.ClientError:
            return -1

    def sizes_below(self, prefix: str) -> list[int]:
        """The sizes of the objects with that prefix, directory markers left out."""
        return [size for key, size in self._listed(prefix) if not key.endswith("/")]

    def put(self, key: str, size: int) -> None:
        """Store random bytes as `aws s3 cp` and boto3's transfers do: from 8 MiB on in parts."""
        s3, data = client(self.server), os.urandom(size)
        if size < PARTS_FROM:
            s3.put_object(Bucket=self.bucket, Key=key, Body=data)
        else:
            s3.upload_fileobj(io.BytesIO(data), self.bucket, key)

    def copy(self, source: str, target: str) -> None:
        """Let the store copy one object of its own."""
        client(self.server).copy_object(
            Bucket=self.bucket, Key=target, CopySource={"Bucket": self.bucket, "Key": source}
        )

    def remove(self, prefix: str) -> None:
        """Remove every object with that prefix."""
        keys = iter(self._listed(prefix))
        while page := list(itertools.islice(keys, PAGE)):
            client(self.server).delete_objects(
                Bucket=self.bucket,
                Delete={"Objects": [{"Key": key} for key, _ in page], "Quiet": True},
            )

    def _listed(self, prefix: str) -> Iterator[tuple[str, int]]:
        pages = client(self.server).get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
            yield from ((item["Key"], item["Size"]) for item in page.get("Contents", ()))


def keys_of_tree(sizes: Sizes) -> list[str]:
    """The small files, as tar meets them."""
    folders = range(sizes.tree_folders)
    return [f"tree/d{a:02}/f{b:03}" for a in folders for b in range(sizes.tree_files)]


def keys_of_many(sizes: Sizes) -> list[str]:
    """The files that find meets."""
    outer, inner, files = (range(count) for count in sizes.many)
    return [f"many/a{a:02}/b{b}/f{c}" for a in outer for b in inner for c in files]


def objects_of(kind: str, sizes: Sizes) -> dict[str, int]:
    """The objects of one kind that a workload `needs`: their sizes by key."""
    kinds: dict[str, dict[str, int]] = {
        "large": {"large": sizes.large},
        "several": {f"several/{n}": sizes.several_bytes for n in range(sizes.several)},
        "tree": dict.fromkeys(keys_of_tree(sizes), sizes.small),
        "many": dict.fromkeys(keys_of_many(sizes), 0),
        "flat": {f"flat/f{n:05}": 0 for n in range(sizes.flat)},
        "appended": {"appended": sizes.appended},
    }
    return kinds[kind]


def load(bench: Bench, kinds: Sequence[str]) -> None:
    """Fill the bucket, see `Bench.put`."""
    wanted: dict[str, int] = {}
    for kind in kinds:
        wanted |= objects_of(kind, bench.sizes)
    with ThreadPoolExecutor(LOADERS) as pool:
        list(pool.map(bench.put, wanted.keys(), wanted.values()))


def make_sources(folder: Path, sizes: Sizes, files: Sequence[str]) -> None:
    """The local files that are copied in, of random bytes, so that nothing is sparse.

    *files*: which of "small" (a folder), "copied" and "big".
    """
    sources = folder / "sources"
    sources.mkdir()
    if "small" in files:
        (sources / "small").mkdir()
        for number in range(sizes.small_files):
            (sources / "small" / f"f{number:03}").write_bytes(os.urandom(sizes.small))
    for name, size in (("copied", sizes.copied), ("big", sizes.big)):
        if name in files:
            with (sources / name).open("wb") as file:
                for at in range(0, size, 64 * MIB):
                    file.write(os.urandom(min(64 * MIB, size - at)))
