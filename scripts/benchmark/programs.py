"""Programs that use a mount, where no standard tool does just that.

    python programs.py NAME ARGUMENT...

Each is a process of its own: one that hangs in a dead mount can be left behind. It prints one line
of JSON, with the seconds that the work itself took, without the start of Python.
"""

import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Told = dict[str, float]
CHUNK = 2**20
PIECE = 4096
SEED = 4
"""Every contender and every round reads in the same order."""


def consume(path: str) -> int:
    """Read a file to its end; its bytes."""
    buffer = bytearray(CHUNK)
    total = 0
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a hot loop: no Path for each
        while count := file.readinto(buffer):
            total += count
    return total


def at_once(paths: Sequence[str], threads: int) -> Told:
    """Read all these files, by so many threads."""
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(consume, paths))
    return {"seconds": time.perf_counter() - began, "bytes": total}


def several(folder: str) -> Told:
    """Read every file of a folder, all at once."""
    paths = [str(path) for path in Path(folder).iterdir()]
    return at_once(paths, len(paths))


def shuffled(listed: str, threads: str) -> Told:
    """Read the files that are named in a file, in random order, by so many threads."""
    paths = Path(listed).read_text().splitlines()
    random.Random(SEED).shuffle(paths)
    return at_once(paths, int(threads))


def scattered(path: str, count: str) -> Told:
    """Read 4 KiB at random places of one file: seconds of all, the middle and the slowest."""
    places = random.Random(SEED)
    took = []
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        blocks = os.fstat(file.fileno()).st_size // PIECE
        for block in places.sample(range(blocks), int(count)):
            began = time.perf_counter()
            if len(os.pread(file.fileno(), PIECE, block * PIECE)) != PIECE:
                raise SystemExit(f"short read at {block * PIECE}")
            took.append(time.perf_counter() - began)
    return {"seconds": sum(took), "middle": statistics.median(took), "slowest": max(took)}


def stats(listed: str) -> Told:
    """Stat the files that are named in a file."""
    paths = Path(listed).read_text().splitlines()
    began = time.perf_counter()
    for path in paths:
        os.stat(path)  # noqa: PTH116  # a hot loop: no Path for each
    return {"seconds": time.perf_counter() - began}


def append(path: str, line: str) -> Told:
    """Add a line at the end, and close."""
    began = time.perf_counter()
    with open(path, "ab") as file:  # noqa: PTH123
        file.write(line.encode() + b"\n")
    return {"seconds": time.perf_counter() - began}


def known(folder: str, count: str) -> Told:
    """Let the kernel know a folder and a file in it, and use both without the daemon.

    Prints "ready" when the daemon may be stopped, goes on at a line of input, and ends at the
    next: close() is a call of the daemon. Stats come behind the first read, since that makes the
    kernel ask for the file's atime anew.
    """
    paths = sorted(str(path) for path in Path(folder).iterdir())
    with open(paths[0], "rb", buffering=0) as file:  # noqa: PTH123
        first = file.read()
        sizes = [os.stat(path).st_size for path in paths]  # noqa: PTH116
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        for _ in range(int(count)):
            if os.pread(file.fileno(), len(first), 0) != first:
                raise SystemExit("the kernel holds other bytes")
            if [os.stat(path).st_size for path in paths] != sizes:  # noqa: PTH116
                raise SystemExit("the kernel holds other sizes")
        seconds = time.perf_counter() - began
        print("done", flush=True)
        sys.stdin.readline()
        return {"seconds": seconds}


def client(bucket: str, key: str, size: str, piece: str, threads: str) -> Told:
    """Read an object by ranged GETs of boto3, side by side, without any mount.

    The environment says where, and who we are.
    """
    import boto3
    from botocore.config import Config

    settings = Config(max_pool_connections=int(threads), s3={"addressing_style": "path"})
    s3 = boto3.session.Session().client("s3", config=settings)
    buffers = threading.local()

    def fetch(at: int) -> int:
        wanted = f"bytes={at}-{min(int(size), at + int(piece)) - 1}"
        body = s3.get_object(Bucket=bucket, Key=key, Range=wanted)["Body"]
        buffer = buffers.__dict__.setdefault("one", bytearray(CHUNK))
        total = 0
        while count := body.readinto(buffer):
            total += count
        return total

    began = time.perf_counter()
    with ThreadPoolExecutor(int(threads)) as pool:
        total = sum(pool.map(fetch, range(0, int(size), int(piece))))
    seconds = time.perf_counter() - began
    # Not ru_maxrss: that of the process we were forked from outlives exec.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return {"seconds": seconds, "bytes": total, "cpu": time.process_time(), "peak": peak}


PROGRAMS: dict[str, Callable[..., Told]] = {
    program.__name__: program
    for program in (several, shuffled, scattered, stats, append, known, client)
}

if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]](*sys.argv[2:])))
