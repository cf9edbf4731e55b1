"""How fast objfs is beside other mounts of the same bucket; `scripts/bench` sets up and starts it.

The workloads are in `workloads`, the contenders in `contenders`, the order of things in `rounds`.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from scripts.benchmark import workloads
from scripts.benchmark.contenders import CONTENDERS, OURS
from scripts.benchmark.data import GIB, SMOKE, Bench, Sizes, load, make_sources
from scripts.benchmark.link import linked
from scripts.benchmark.mounts import CHECKOUT
from scripts.benchmark.report import tables
from scripts.benchmark.results import COUNTING, Results
from scripts.benchmark.rounds import Network, Rounds
from scripts.benchmark.workloads import WORKLOADS
from tests.servers import new_bucket, running

SERVERS = {"radosgw": "radosgw", "weed": "seaweedfs"}
STORE_BYTES = 8 * GIB
"""The most that the gateway may hold: the data, and what was just deleted."""
GARBAGE_SECONDS = 5
"""After which the gateway gives up what was deleted, instead of two hours."""


def names_of(given: str) -> list[str]:
    """A comma-separated list."""
    return [name for name in given.split(",") if name]


def delays_of(given: str) -> list[float]:
    """A comma-separated list of milliseconds. Raises ValueError."""
    delays = [float(one) for one in names_of(given)]
    if not delays or min(delays) < 0:
        raise ValueError(given)
    return delays


def arguments(args: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    listed = "\n".join(f"  {name:12} {workload.title}" for name, workload in WORKLOADS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure objfs and other mounts on the same bucket, in turn.",
        epilog=f"workloads:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", type=names_of, default=[], metavar="A,B", help="these workloads only")
    add("--rounds", type=int, default=3, metavar="N", help="default 3")
    add(
        "--rtt",
        type=delays_of,
        default=[0.0, 20.0],
        metavar="MS,MS",
        help="round trips to the store in milliseconds, default 0,20; 0 is loopback itself",
    )
    add("--server", choices=SERVERS, default="radosgw", help="default radosgw, in memory")
    peers = [name for name in CONTENDERS if name != OURS]
    add("--peers", type=names_of, default=peers, metavar="A,B", help=f"of {', '.join(peers)}")
    add("--objfs-only", action="store_true", help="leave the others out")
    add("--smoke", action="store_true", help="one short round of objfs on little data, for CI")
    add("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    add("--plot", type=Path, metavar="FILE", help="draw the ratios into FILE, a PNG")
    given = parser.parse_args(args)
    for option, names, known in (("only", given.only, WORKLOADS), ("peers", given.peers, peers)):
        if unknown := sorted(set(names) - set(known)):
            parser.error(f"--{option}: unknown {', '.join(unknown)}; of {', '.join(known)}")
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if given.smoke:
        given.only, given.rounds, given.rtt = list(workloads.SMOKE), 1, [0.0]
    given.names = chosen(given.only)
    given.contenders = [OURS] if given.objfs_only or given.smoke else [OURS, *given.peers]
    given.sizes = SMOKE if given.smoke else Sizes()
    return given


def chosen(only: Sequence[str]) -> list[str]:
    """The workloads, and with each that follows another the one before."""
    return [
        name
        for name, work in WORKLOADS.items()
        if not only or name in only or (work.then and work.then in only)
    ]


@contextmanager
def loaded(given: argparse.Namespace, folder: Path, console: Console) -> Iterator[Bench]:
    """A store with the data in it, and the local files."""
    work = [WORKLOADS[name] for name in given.names]
    with running(SERVERS[given.server], folder) as server:
        bench = Bench(server, new_bucket(server), folder, given.sizes)
        console.print(f"loading {server.name} at {server.endpoint}")
        load(bench, sorted({kind for one in work for kind in one.needs}))
        make_sources(folder, bench.sizes, sorted({file for one in work for file in one.sources}))
        yield bench


def networks(given: argparse.Namespace, bench: Bench, open_links: ExitStack) -> list[Network]:
    """Direct where there is no delay; smoke counts on the wire, and nothing is timed."""
    found = []
    for delay in given.rtt:
        link = None
        if delay or given.smoke:
            link = open_links.enter_context(linked(bench.server.endpoint, delay))
        found.append(Network(delay, link))
    return found


def measure(given: argparse.Namespace, folder: Path, results: Results) -> Bench:
    """Everything that was asked for; what was loaded."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 200)
    with loaded(given, folder, console) as bench, ExitStack() as links:
        rounds = Rounds(bench, results, console)
        reached = networks(given, bench, links)
        try:
            if all(network.link is None for network in reached):
                console.print("counting")
                counting = links.enter_context(linked(bench.server.endpoint, 0))
                rounds.run(0, given.names, [Network(COUNTING, counting)], given.contenders)
            for number in range(given.rounds):
                console.print(f"round {number + 1}")
                rounds.run(number, given.names, reached, given.contenders)
        except KeyboardInterrupt:
            console.print("interrupted; this is what there is")
        return bench


def described(given: argparse.Namespace) -> dict[str, object]:
    """When and where a run was made."""
    commit = subprocess.run(
        ["git", "-C", CHECKOUT, "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} CPUs, Linux {platform.release()}",
        "commit": commit.stdout.strip(),
        "server": SERVERS[given.server],
        "rounds": given.rounds,
        "round_trips": given.rtt,
    }


def terminated(*_: object) -> NoReturn:
    """SIGTERM ends us as Ctrl-C does, and so everything that was started."""
    raise KeyboardInterrupt


def main() -> int:
    """Run; 1 when a workload of objfs failed or took more memory than it may."""
    given = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, terminated)
    os.environ.setdefault("STORE_BYTES", str(STORE_BYTES))
    os.environ.setdefault("RGW_GARBAGE_SECONDS", str(GARBAGE_SECONDS))
    results = Results()
    folder = Path(tempfile.mkdtemp(prefix="objfs-bench-"))
    try:
        bench = measure(given, folder, results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    told = {**described(given), **results.as_json()}
    print(f"{told['date']}, {told['server']}, {told['machine']}, commit {told['commit']}")
    for line in tables(results, given.contenders, bench):
        print(line)
    if given.json is not None:
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if given.plot is not None:
        draw(told, given.plot)
    done = {name for _, name in results.timed()}
    return 1 if results.ours_failed() or set(given.names) - done else 0


def draw(told: dict[str, object], picture: Path) -> None:
    """By matplotlib, in its own environment."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(told, file)
        file.flush()
        program = [CHECKOUT / ".venv-bench/bin/python", Path(__file__).with_name("plot.py")]
        subprocess.run([*program, file.name, picture], check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
