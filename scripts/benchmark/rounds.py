"""The order of things: who runs what when, on which network, and what is kept of it.

Every measurement has a mount of its own, with an empty cache, and the contenders take turns within
a round. Nothing asks the kernel to drop its caches: unmounting drops all it kept for that mount,
and /proc/sys/vm/drop_caches would also drop the programs and local files that all need.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from scripts.benchmark.contenders import CONTENDERS, OURS
from scripts.benchmark.data import MIB, Bench
from scripts.benchmark.link import Linked
from scripts.benchmark.mounts import Failed, Mount, Place, mounted
from scripts.benchmark.results import CLIENT, COUNTING, Results, Sample
from scripts.benchmark.workloads import PROGRAMS, TIMEOUT_SECONDS, WORKLOADS, Workload

ONCE_SECONDS = 40.0
"""A peer that takes longer than this is not asked again."""
CLIENT_PIECE, CLIENT_THREADS = 8 * MIB, 8


@dataclass(frozen=True)
class Network:
    """How the store is reached."""

    round_trip: float
    """Milliseconds; COUNTING for a pass that only counts."""
    link: Linked | None
    """None: directly, and then only objfs itself counts."""


class Rounds:
    """All measurements of one loaded store."""

    def __init__(self, bench: Bench, results: Results, console: Console) -> None:
        self._bench = bench
        self._results = results
        self._console = console
        self._serial = itertools.count()

    def run(
        self, number: int, names: Sequence[str], networks: Sequence[Network], who: Sequence[str]
    ) -> None:
        """One round; each contender is first in every other one."""
        turn = who if number % 2 == 0 else who[::-1]
        for name, network in itertools.product(names, networks):
            work = WORKLOADS[name]
            if work.follows or (number and work.ours_alone):
                continue
            for contender in [OURS] if work.ours_alone else turn:
                if contender not in work.without and not self._settled(network, name, contender):
                    self._measure(network, name, contender, names)
            if name == "read" and network.round_trip != COUNTING:
                self._measure_client(network)

    def _settled(self, network: Network, name: str, contender: str) -> bool:
        runs = self._results.runs(network.round_trip, name, contender)
        return contender != OURS and any(run.error or run.seconds > ONCE_SECONDS for run in runs)

    def _measure(self, network: Network, name: str, contender: str, names: Sequence[str]) -> None:
        """Run one workload, and the one that follows it; keep what came of it."""
        work = WORKLOADS[name]
        bench = self._bench
        place = self._place(network, contender, work)
        try:
            if work.prepare:
                work.prepare(bench, place.tag)
            self._one(network, name, contender, place)
            then = WORKLOADS.get(work.then)
            if then and work.then in names and contender not in then.without:
                self._one(network, work.then, contender, place)
        finally:
            shutil.rmtree(place.cache, ignore_errors=True)
            bench.remove(place.tag + "-")

    def _place(self, network: Network, contender: str, work: Workload) -> Place:
        bench = self._bench
        endpoint = network.link.endpoint if network.link else bench.server.endpoint
        return Place(
            replace(bench.server, endpoint=endpoint),
            bench.bucket,
            bench.folder / "mnt",
            bench.folder / "cache",
            f"{contender}-{next(self._serial)}",
            work.early,
        )

    def _one(self, network: Network, name: str, contender: str, place: Place) -> None:
        try:
            with mounted(CONTENDERS[contender], place) as mount:
                sample = self._sampled(network, WORKLOADS[name], mount)
                if WORKLOADS[name].then:
                    time.sleep(mount.settling)
        except (Failed, OSError) as failure:
            sample = Sample(error=str(failure) or repr(failure))
        self._keep(network, name, contender, sample)

    def _sampled(self, network: Network, work: Workload, mount: Mount) -> Sample:
        """What the job took, without mounting and unmounting."""
        if network.link:
            network.link.taken()
        asked = mount.requests()
        spent = mount.cpu_seconds()
        began = time.monotonic()
        figures = dict(work.job(self._bench, mount))
        seconds = figures.pop("seconds", time.monotonic() - began)
        spent = mount.cpu_seconds() - spent
        sample = Sample(seconds, spent, mount.peak_memory(), figures)
        if network.link:
            passed = network.link.taken()
            return replace(
                sample, requests=dict(passed.requests), fetched=passed.fetched, sent=passed.sent
            )
        since = {key: count - asked.get(key, 0) for key, count in mount.requests().items()}
        return replace(sample, requests=since or None)

    def _measure_client(self, network: Network) -> None:
        """Read the large object without a mount, in a process of its own."""
        bench = self._bench
        server = replace(
            bench.server, endpoint=network.link.endpoint if network.link else bench.server.endpoint
        )
        arguments = [bench.bucket, "large", bench.sizes.large, CLIENT_PIECE, CLIENT_THREADS]
        if network.link:
            network.link.taken()
        try:
            done = subprocess.run(
                [sys.executable, "-I", PROGRAMS, "client", *map(str, arguments)],
                env={**os.environ, **server.environment()},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=TIMEOUT_SECONDS,
            )
            told = json.loads(done.stdout)
            sample = Sample(told["seconds"], told["cpu"], told["peak"])
        except subprocess.SubprocessError as failure:
            sample = Sample(error=str(failure))
        if network.link and not sample.error:
            passed = network.link.taken()
            sample = replace(sample, requests=dict(passed.requests), fetched=passed.fetched)
        self._keep(network, "read", CLIENT, sample)

    def _keep(self, network: Network, name: str, contender: str, sample: Sample) -> None:
        """Note a result, and show it at once: the rest takes minutes."""
        self._results.add(network.round_trip, name, contender, sample)
        told = sample.error or f"{sample.seconds:.3g} s"
        delay = "counting" if network.round_trip == COUNTING else f"{network.round_trip:g} ms"
        self._console.print(f"  {name}, {delay}, {contender}: {told}", markup=False)
