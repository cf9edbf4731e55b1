"""What is measured: ordinary programs on a mount, and what they must have achieved.

Semantics: a time ends when the result is there. For reading that is the last byte (dd and wc count
them), for writing the moment at which the store answers a HEAD with the right size.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.mounts import Failed, Mount, wait_until
from tests.servers import Server, client

KIB, MIB, GIB = 2**10, 2**20, 2**30
LARGE_BYTES = GIB
COPY_BYTES = 512 * MIB
BIG_BYTES = 2 * GIB
BIG_MEMORY = 256 * MIB
SMALL_BYTES = 16 * KIB
TREE_FOLDERS, TREE_FILES = 20, 100
SMALL_FILES = 300
RANGE_BYTES, RANGE_THREADS = 8 * MIB, 8
TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class Bench:
    """What every workload finds: a loaded bucket, local files to copy in, a folder to copy out."""

    server: Server
    bucket: str
    folder: Path

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


Job = Callable[[Bench, Mount], None]


@dataclass(frozen=True)
class Workload:
    """`timed` runs on a mount with an empty cache.

    Where there is a `before`, it runs first, in a mount of its own and unmeasured; with
    `keep_cache` the measured mount finds what that one left on the disk.
    """

    title: str
    timed: Job
    moved: int = 0
    """Bytes, where a throughput says something."""
    before: Job | None = None
    keep_cache: bool = False
    raw: Callable[[Bench], None] | None = None
    """The same work by a plain client, without any mount."""
    objfs_only: bool = False
    """A requirement rather than a comparison: measured in the first round only."""
    memory_limit: int = 0
    """Bytes that objfs may have resident; 0 is any number."""


def run(mount: Mount, command: Sequence[str | Path]) -> str:
    """Run a program on a mount; what it printed on both outputs. Raises Failed.

    A program in a hung mount cannot be killed before the daemon is.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        except BaseException as failure:
            mount.kill(signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(failure, subprocess.TimeoutExpired):
                hung = f"{command[0]} was not done after {TIMEOUT_SECONDS:.0f} s"
                raise Failed(hung) from None
            raise
    if process.returncode:
        raise Failed(f"{command[0]} exited with {process.returncode}: {said.strip()[-300:]}")
    return said


def expect(what: str, right: object, found: object) -> None:
    """Raises Failed where a program was fast by not doing its work."""
    if right != found:
        raise Failed(f"{what}: expected {right}, found {found}")


def name_of(mount: Mount) -> str:
    """A name in the bucket for what this contender copies in."""
    return type(mount).__name__.lower()


def read_large(_bench: Bench, mount: Mount) -> None:
    """Read the large object from begin to end."""
    said = run(mount, ["dd", f"if={mount.point}/large", "of=/dev/null", "bs=1M"])
    expect("bytes read", str(LARGE_BYTES), said.splitlines()[-1].split()[0])


def read_large_raw(bench: Bench) -> None:
    """Read the large object with ranged GETs of boto3, side by side."""
    s3 = client(bench.server)

    def read(offset: int) -> int:
        wanted = f"bytes={offset}-{offset + RANGE_BYTES - 1}"
        answer = s3.get_object(Bucket=bench.bucket, Key="large", Range=wanted)
        return len(answer["Body"].read())

    with ThreadPoolExecutor(RANGE_THREADS) as pool:
        expect("bytes read", LARGE_BYTES, sum(pool.map(read, range(0, LARGE_BYTES, RANGE_BYTES))))


def read_tree(_bench: Bench, mount: Mount) -> None:
    """Pack a tree of small files. Through a pipe: tar reads nothing when it writes to /dev/null."""
    script = 'set -o pipefail; tar -C "$0" -cf - tree | wc -c'
    packed = int(run(mount, ["bash", "-c", script, mount.point]))
    expect("tar holds every byte", True, packed > TREE_FOLDERS * TREE_FILES * SMALL_BYTES)


def copy_file(bench: Bench, mount: Mount) -> None:
    """Copy one file in."""
    key = f"copy-{name_of(mount)}"
    run(mount, ["cp", bench.sources / "copy", mount.point / key])
    if not wait_until(lambda: bench.head(key) == COPY_BYTES, TIMEOUT_SECONDS):
        raise Failed(f"{key} is not stored: its size is {bench.head(key)}")


def stored_small(bench: Bench, prefix: str) -> int:
    """How many of the small files are in the bucket in full."""
    answer = client(bench.server).list_objects_v2(Bucket=bench.bucket, Prefix=prefix + "/f")
    return sum(item["Size"] == SMALL_BYTES for item in answer.get("Contents", ()))


def copy_small(bench: Bench, mount: Mount, folder: str = "small") -> None:
    """Copy a folder of small files in."""
    name = f"{folder}-{name_of(mount)}"
    run(mount, ["cp", "-r", bench.sources / "small", mount.point / name])
    if not wait_until(lambda: stored_small(bench, name) == SMALL_FILES, TIMEOUT_SECONDS):
        raise Failed(f"{stored_small(bench, name)} of {SMALL_FILES} files are stored")


def copy_listed(bench: Bench, mount: Mount) -> None:
    """The same into another folder: cp -r into one that is there would nest them."""
    copy_small(bench, mount, "listed")


def list_small(_bench: Bench, mount: Mount) -> None:
    """Find these files, and list them with their sizes and times."""
    folder = mount.point / f"listed-{name_of(mount)}"
    expect("files found", SMALL_FILES, run(mount, ["find", folder, "-type", "f"]).count("\n"))
    expect("files listed", SMALL_FILES, run(mount, ["ls", "-l", folder]).count(f" {SMALL_BYTES} "))


def copy_big_in(bench: Bench, mount: Mount) -> None:
    """Copy a file in that is far larger than the memory that objfs may take."""
    run(mount, ["cp", bench.sources / "big", mount.point / "big"])
    expect("bytes stored", BIG_BYTES, bench.head("big"))


def store_big(bench: Bench, mount: Mount) -> None:
    """The same, unless it is in the bucket already."""
    if bench.head("big") != BIG_BYTES:
        copy_big_in(bench, mount)


def copy_big_out(bench: Bench, mount: Mount) -> None:
    """Copy it out again, and compare."""
    copy = bench.folder / "big"
    try:
        run(mount, ["cp", mount.point / "big", copy])
        expect("SHA-256", digest(bench.sources / "big"), digest(copy))
    finally:
        copy.unlink(missing_ok=True)


def copy_big(bench: Bench, mount: Mount) -> None:
    """In and out in one mount: one peak of memory for both."""
    copy_big_in(bench, mount)
    copy_big_out(bench, mount)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


WORKLOADS: dict[str, Workload] = {
    "read-cold": Workload("read 1 GiB, cold", read_large, moved=LARGE_BYTES, raw=read_large_raw),
    "read-warm": Workload(
        "read 1 GiB, cached on disk",
        read_large,
        moved=LARGE_BYTES,
        before=read_large,
        keep_cache=True,
    ),
    "tar": Workload("tar 2,000 files of 16 KiB, cold", read_tree),
    "copy-in": Workload("copy in 512 MiB, until stored", copy_file, moved=COPY_BYTES),
    "small-in": Workload("copy in 300 files of 16 KiB, until stored", copy_small),
    "list": Workload("find and ls -l these 300, cold", list_small, before=copy_listed),
    "big": Workload(
        "copy 2 GiB in and out, compare",
        copy_big,
        objfs_only=True,
        memory_limit=BIG_MEMORY,
    ),
    "big-out": Workload(
        "copy 2 GiB out, cold, compare",
        copy_big_out,
        before=store_big,
        objfs_only=True,
        memory_limit=BIG_MEMORY,
    ),
}


def make_sources(folder: Path, names: Sequence[str]) -> None:
    """The local files that the workloads *names* copy in: random, so that nothing is dense."""
    sources = folder / "sources"
    small = sources / "small"
    small.mkdir(parents=True)
    for number in range(SMALL_FILES):
        (small / f"f{number:03}").write_bytes(os.urandom(SMALL_BYTES))
    wanted = {"copy": COPY_BYTES} if "copy-in" in names else {}
    if {"big", "big-out"} & set(names):
        wanted["big"] = BIG_BYTES
    for name, size in wanted.items():
        with (sources / name).open("wb") as file:
            for _ in range(0, size, 64 * MIB):
                file.write(os.urandom(64 * MIB))


def load(bench: Bench, names: Sequence[str]) -> None:
    """Fill the bucket with what the workloads *names* read."""
    s3 = client(bench.server)
    if {"read-cold", "read-warm"} & set(names):
        s3.put_object(Bucket=bench.bucket, Key="large", Body=os.urandom(LARGE_BYTES))
    if "tar" in names:
        keys = [f"tree/d{a:02}/f{b:03}" for a in range(TREE_FOLDERS) for b in range(TREE_FILES)]

        def put(key: str) -> None:
            s3.put_object(Bucket=bench.bucket, Key=key, Body=os.urandom(SMALL_BYTES))

        with ThreadPoolExecutor(RANGE_THREADS) as pool:
            list(pool.map(put, keys))
