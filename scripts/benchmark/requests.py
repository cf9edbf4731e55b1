"""What one request costs: CPU of the S3 driver beside boto3's own client, on radosgw.

    scripts/setup servers
    PYTHONPATH=. .venv/bin/python -P -m scripts.benchmark.requests [--rounds N] [--requests N]

Both speak to the same new gateway from this process, in turn within each round; figures are
medians. CPU is that of this process, user and system, so it says little of the server and little
of other work on the machine; requests/s does. The large ranges go through the cache's own sink:
written to a file and summed up block by block.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from objfs.cache.sink import BlockSink
from objfs.config import StoreConfig
from objfs.store.s3 import S3Store
from objfs.store.s3.client import connect
from objfs.types import Headers
from tests.servers import Server, new_bucket, running

KIB, MIB = 2**10, 2**20
SMALL = os.urandom(16 * KIB)
RANGE = 8 * MIB
RANGES = 16
LISTED = 1000
LARGE_REQUESTS = 16
"""How many listings and large ranges make a measurement: they take long enough."""


@dataclass(frozen=True)
class Job:
    """One kind of request, by the driver and by boto3; both get a number from 0 on."""

    title: str
    ours: Callable[[int], None]
    boto3: Callable[[int], None]
    requests: int


@dataclass(frozen=True)
class Cost:
    """Of one measurement."""

    microseconds: float
    """Of CPU for one request."""
    rate: float
    """Requests in a second."""


@contextmanager
def _file_sink(fd: int, start: int) -> Iterator[BlockSink]:
    with BlockSink(fd, start // (128 * KIB), start, start + RANGE, lambda *_: None) as sink:
        yield sink


def jobs(store: S3Store, client: Any, bucket: str, fd: int, requests: int) -> list[Job]:
    """Everything that is measured; the objects it needs are stored first."""
    store.put("small", SMALL, Headers())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.put(f"list/{i:04}", b"", Headers()), range(LISTED)))
        upload = store.start_parts("large", Headers())
        send = [pool.submit(store.put_part, "large", upload, i + 1, SMALL * 512) for i in range(16)]
        store.finish_parts("large", upload, [sent.result() for sent in send])

    def our_range(number: int) -> None:
        start = number % RANGES * RANGE
        with _file_sink(fd, start) as sink:
            store.get("large", sink, start=start, stop=start + RANGE)

    def boto_get(key: str, start: int, size: int, sink: Callable[[memoryview], None]) -> None:
        span = f"bytes={start}-{start + size - 1}"
        body = client.get_object(Bucket=bucket, Key=key, Range=span)["Body"]
        while chunk := body.read(256 * KIB):
            sink(memoryview(chunk))

    def boto_range(number: int) -> None:
        start = number % RANGES * RANGE
        with _file_sink(fd, start) as sink:
            boto_get("large", start, RANGE, sink)

    return [
        Job(
            "HEAD",
            lambda _: void(store.head("small")),
            lambda _: client.head_object(Bucket=bucket, Key="small"),
            requests,
        ),
        Job(
            "GET 16 KiB",
            lambda _: void(store.get("small", void, start=0, stop=len(SMALL))),
            lambda _: boto_get("small", 0, len(SMALL), void),
            requests,
        ),
        Job(
            "PUT 16 KiB",
            lambda i: void(store.put(f"ours/{i}", SMALL, Headers())),
            lambda i: client.put_object(Bucket=bucket, Key=f"theirs/{i}", Body=SMALL),
            requests,
        ),
        Job(
            "DELETE",
            lambda i: store.delete(f"ours/{i}"),
            lambda i: client.delete_object(Bucket=bucket, Key=f"theirs/{i}"),
            requests,
        ),
        Job(
            f"LIST {LISTED}",
            lambda _: void(store.list_page("list/")),
            lambda _: client.list_objects_v2(Bucket=bucket, Prefix="list/"),
            LARGE_REQUESTS,
        ),
        Job("GET 8 MiB to a file", our_range, boto_range, LARGE_REQUESTS),
    ]


def void(_: object) -> None:
    """Take it and do nothing."""


def measure(call: Callable[[int], None], requests: int, threads: int) -> Cost:
    """Make that many requests from that many threads, which exist before it begins."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, range(threads)))  # connections are made, and code is warm
        spent, begun = -time.process_time(), time.monotonic()
        list(pool.map(call, range(requests)))
        spent += time.process_time()
        seconds = time.monotonic() - begun
    return Cost(spent / requests * 1e6, requests / seconds)


def compare(server: Server, rounds: int, requests: int, threads: tuple[int, ...]) -> Table:
    """The table."""
    os.environ |= server.environment()
    bucket = new_bucket(server)
    config = StoreConfig(f"s3://{bucket}", "s3", bucket, endpoint_url=server.endpoint)
    table = Table("request", "threads", "ours us", "boto3 us", "ratio", "ours /s", "boto3 /s")
    with tempfile.TemporaryFile() as file:
        os.ftruncate(file.fileno(), RANGES * RANGE)
        store, client = S3Store(config), connect(config).client
        for job in jobs(store, client, bucket, file.fileno(), requests):
            for count in threads:
                ours: list[Cost] = []
                boto: list[Cost] = []
                for _ in range(rounds):
                    ours.append(measure(job.ours, job.requests, count))
                    boto.append(measure(job.boto3, job.requests, count))
                table.add_row(job.title, str(count), *_cells(ours, boto))
        store.close()
        client.close()
    return table


def _cells(ours: list[Cost], boto: list[Cost]) -> list[str]:
    spent = [statistics.median(cost.microseconds for cost in costs) for costs in (ours, boto)]
    rates = [statistics.median(cost.rate for cost in costs) for costs in (ours, boto)]
    return [
        *(f"{figure:,.0f}" for figure in spent),
        f"{spent[1] / spent[0]:.1f}",
        *(f"{figure:,.0f}" for figure in rates),
    ]


def main() -> None:
    """Start a gateway, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--requests", type=int, default=400, help="in each measurement (400)")
    parser.add_argument("--threads", default="1,16", help="how many at once (1,16)")
    options = parser.parse_args()
    threads = tuple(int(count) for count in options.threads.split(","))
    with tempfile.TemporaryDirectory() as folder, running("radosgw", Path(folder)) as server:
        table = compare(server, options.rounds, options.requests, threads)
    Console().print(table)


if __name__ == "__main__":
    main()
