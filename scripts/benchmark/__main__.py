"""How fast objfs is beside other mounts of the same bucket; `scripts/bench` sets up and starts it.

Every measurement has a mount of its own, with an empty cache, and the contenders take turns within
a round. Nothing asks the kernel to drop its caches: unmounting drops all it kept for that mount,
and /proc/sys/vm/drop_caches would also drop the programs and local files that all need.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from scripts.benchmark.mounts import CONTENDERS, Failed, mounted
from scripts.benchmark.report import OURS, RAW, Results, Sample, show
from scripts.benchmark.workloads import GIB, WORKLOADS, Bench, Job, load, make_sources
from tests.servers import new_bucket, running

SERVER = "radosgw"
STORE_BYTES = 16 * GIB
"""The most that the gateway may hold: it keeps what was overwritten for hours."""


class Round:
    """One pass over the workloads, on a new store."""

    def __init__(self, bench: Bench, results: Results, console: Console) -> None:
        self.bench = bench
        self.results = results
        self.console = console

    def measure(self, workload: str, contender: str) -> None:
        """Run one workload on one contender and keep what came of it, failure included."""
        what = WORKLOADS[workload]
        cache = self.bench.folder / "cache"
        try:
            if what.before is not None:
                self.use(contender, cache, what.before)
                if not what.keep_cache:
                    shutil.rmtree(cache)
            self.keep(workload, contender, self.use(contender, cache, what.timed))
        except (Failed, OSError) as failure:
            self.keep(workload, contender, Sample(error=str(failure) or repr(failure)))
        finally:
            shutil.rmtree(cache, ignore_errors=True)

    def use(self, contender: str, cache: Path, job: Job) -> Sample:
        """Mount, do the job, unmount; what the job took, without mounting and unmounting."""
        bench = self.bench
        with mounted(contender, bench.server, bench.bucket, bench.folder, cache) as mount:
            spent = mount.cpu_seconds()
            seconds = seconds_of(lambda: job(bench, mount))
            return Sample(seconds, mount.cpu_seconds() - spent, mount.peak_memory())

    def measure_raw(self, workload: str, job: Callable[[Bench], None]) -> None:
        """Do the work without a mount, in this process."""
        spent = time.process_time()
        try:
            seconds = seconds_of(lambda: job(self.bench))
            self.keep(workload, RAW, Sample(seconds, time.process_time() - spent))
        except Failed as failure:
            self.keep(workload, RAW, Sample(error=str(failure)))

    def keep(self, workload: str, contender: str, sample: Sample) -> None:
        """Note a result, and show it at once: the rest takes minutes."""
        self.results.add(workload, contender, sample)
        told = sample.error or f"{sample.seconds:.2f} s"
        self.console.print(f"  {workload}, {contender}: {told}", markup=False)


def seconds_of(job: Callable[[], None]) -> float:
    """How long it takes."""
    began = time.monotonic()
    job()
    return time.monotonic() - began


def run_round(
    number: int, folder: Path, names: Sequence[str], contenders: Sequence[str], results: Results
) -> None:
    """A new store, loaded; then every workload, each contender being first in every other round."""
    console = Console(stderr=True)
    # A new store for each round: an old one slows down, and keeps what was deleted.
    with running(SERVER, folder) as server:
        bench = Bench(server, new_bucket(server), folder)
        console.print(f"round {number + 1}: {SERVER} at {server.endpoint}")
        load(bench, names)
        this = Round(bench, results, console)
        for name in names:
            workload = WORKLOADS[name]
            turn = contenders if number % 2 == 0 else contenders[::-1]
            for contender in [OURS] if workload.objfs_only else turn:
                if number == 0 or not workload.objfs_only:
                    this.measure(name, contender)
            if workload.raw is not None:
                this.measure_raw(name, workload.raw)


def arguments(args: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    listed = "\n".join(f"  {name:10} {workload.title}" for name, workload in WORKLOADS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure objfs and rclone mount on the same bucket, in turn.",
        epilog=f"workloads:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default 3")
    parser.add_argument(
        "--only",
        action="append",
        choices=WORKLOADS,
        metavar="NAME",
        help="this workload only (may be repeated)",
    )
    parser.add_argument("--objfs-only", action="store_true", help="leave the others out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    given = parser.parse_args(args)
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return given


def terminated(*_: object) -> NoReturn:
    """SIGTERM ends us as Ctrl-C does, and so everything that was started."""
    raise KeyboardInterrupt


def main() -> int:
    """Run; 1 when a workload of objfs failed or took more memory than it may."""
    given = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, terminated)
    os.environ.setdefault("STORE_BYTES", str(STORE_BYTES))
    names = [name for name in WORKLOADS if not given.only or name in given.only]
    contenders = [OURS] if given.objfs_only else list(CONTENDERS)
    results = Results()
    folder = Path(tempfile.mkdtemp(prefix="objfs-bench-"))
    try:
        make_sources(folder, names)
        for number in range(given.rounds):
            run_round(number, folder, names, contenders, results)
    except KeyboardInterrupt:
        print("bench: interrupted; this is what there is", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(results, contenders, given.rounds, Console(width=None if sys.stdout.isatty() else 140))
    if given.json is not None:
        given.json.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    expected = {(name, OURS) for name in names}
    done = {(name, who) for name, runs in results.samples.items() for who in runs}
    return 1 if expected - done or any(f", {OURS}: " in line for line in results.problems()) else 0


if __name__ == "__main__":
    sys.exit(main())
