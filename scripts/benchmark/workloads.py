"""What is measured: ordinary programs on a mount, and what they must have achieved.

Semantics: a time ends when the result is there. For reading that is the last byte (dd and wc count
them), for writing the moment at which the store itself answers with the right size.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmark.data import MIB, Bench, keys_of_many, keys_of_tree
from scripts.benchmark.mounts import Failed, Mount, wait_until

PROGRAMS = Path(__file__).with_name("programs.py")
TIMEOUT_SECONDS = 120.0
MEMORY = 256 * MIB
THREADS = 32
KNOWN_FOLDER, KNOWN_TIMES, KNOWN_SECONDS = "tree/d00", 20, 10.0

Figures = dict[str, float]
"""What else a workload found out, in the units of `FIGURES`; "seconds" is the time itself."""
Job = Callable[[Bench, Mount], Figures]

FIGURES = {
    "middle": "middle of the reads, s",
    "slowest": "slowest read, s",
    "returned": "until the programs were done, s",
}


@dataclass(frozen=True)
class Workload:
    """`job` runs on a fresh mount with an empty cache, once `prepare` has run on the bucket."""

    title: str
    job: Job
    needs: tuple[str, ...] = ()
    """The objects that it reads, see `data.objects_of`."""
    sources: tuple[str, ...] = ()
    """The local files, see `data.make_sources`."""
    prepare: Callable[[Bench, str], None] | None = None
    """Given the tag that what it writes is to begin with."""
    then: str = ""
    """The workload that follows in another mount, and finds what this one left on the disk."""
    follows: bool = False
    early: bool = False
    """close() may return before the store has the bytes."""
    moved: Callable[[Bench], int] = lambda _: 0
    """Bytes, where a throughput says something."""
    without: tuple[str, ...] = ()
    """Contenders that have nothing to show in it."""
    ours_alone: bool = False
    """A requirement rather than a comparison: measured once at each round-trip time."""
    target: tuple[float, float] = (0.0, 0.0)
    """How many times as long the best peer is to take, at no delay and through a link."""
    figure_targets: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The same of its figures."""


# --- running programs ---------------------------------------------------------------------------


def run(mount: Mount, command: Sequence[str | Path]) -> str:
    """Run a program on a mount; what it printed on both outputs. Raises Failed."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        return _finish(mount, process, str(command[0]))


def _finish(mount: Mount, process: "subprocess.Popen[str]", name: str) -> str:
    """Its output. A program in a hung mount cannot be killed before the daemon is."""
    try:
        said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    except BaseException as failure:
        mount.kill(signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if isinstance(failure, subprocess.TimeoutExpired):
            hung = f"{name} was not done after {TIMEOUT_SECONDS:.0f} s"
            raise Failed(hung) from None
        raise
    if process.returncode:
        raise Failed(f"{name} exited with {process.returncode}: {said.strip()[-300:]}")
    return said


def program(mount: Mount, name: str, *arguments: object) -> Figures:
    """Run one of ours, see `programs`; what it told. Raises Failed."""
    command = [sys.executable, "-I", str(PROGRAMS), name, *map(str, arguments)]
    told: Figures = json.loads(run(mount, command))
    return told


def expect(what: str, right: object, found: object) -> None:
    """Raises Failed where a program was fast by not doing its work."""
    if right != found:
        raise Failed(f"{what}: expected {right}, found {found}")


def until_stored(what: str, condition: Callable[[], bool]) -> None:
    """Wait for the store. Raises Failed."""
    if not wait_until(condition, TIMEOUT_SECONDS):
        raise Failed(f"{what} was not stored after {TIMEOUT_SECONDS:.0f} s")


# --- reading ------------------------------------------------------------------------------------


def read_large(bench: Bench, mount: Mount) -> Figures:
    """Read the large object from begin to end."""
    said = run(mount, ["dd", f"if={mount.point}/large", "of=/dev/null", "bs=1M"])
    expect("bytes read", str(bench.sizes.large), said.splitlines()[-1].split()[0])
    return {}


def read_several(bench: Bench, mount: Mount) -> Figures:
    """Read several objects at once."""
    told = program(mount, "several", mount.point / "several")
    expect("bytes read", bench.sizes.several * bench.sizes.several_bytes, told.pop("bytes"))
    return told


def read_scattered(bench: Bench, mount: Mount) -> Figures:
    """Read small pieces at random places of the large object."""
    return program(mount, "scattered", mount.point / "large", bench.sizes.random_reads)


def read_tree(bench: Bench, mount: Mount) -> Figures:
    """Pack a tree of small files. Through a pipe: tar reads nothing when it writes to /dev/null."""
    script = 'set -o pipefail; tar -C "$0" -cf - tree | wc -c'
    packed = int(run(mount, ["bash", "-c", script, mount.point]))
    smallest = len(keys_of_tree(bench.sizes)) * bench.sizes.small
    expect("tar holds every byte", True, packed > smallest)
    return {}


def read_shuffled(bench: Bench, mount: Mount) -> Figures:
    """Read the same files by many threads, in random order."""
    keys = keys_of_tree(bench.sizes)
    told = program(mount, "shuffled", _listed(bench, mount, keys), THREADS)
    expect("bytes read", len(keys) * bench.sizes.small, told.pop("bytes"))
    return told


def _listed(bench: Bench, mount: Mount, keys: Sequence[str]) -> Path:
    listed = bench.folder / "listed"
    listed.write_text("".join(f"{mount.point}/{key}\n" for key in keys))
    return listed


# --- names --------------------------------------------------------------------------------------


def find(bench: Bench, mount: Mount) -> Figures:
    """Walk many directories."""
    found = run(mount, ["find", mount.point / "many", "-mindepth", "1"]).count("\n")
    expect("names found", bench.sizes.many_folders + bench.sizes.many_files, found)
    return {}


def list_flat(bench: Bench, mount: Mount) -> Figures:
    """List a large directory with sizes and times."""
    expect("files", bench.sizes.flat, run(mount, ["ls", "-l", mount.point / "flat"]).count(" f"))
    return {}


def stat_some(bench: Bench, mount: Mount) -> Figures:
    """Stat files here and there."""
    keys = random.Random(4).sample(keys_of_many(bench.sizes), bench.sizes.stats)
    return program(mount, "stats", _listed(bench, mount, keys))


def rename_folder(bench: Bench, mount: Mount) -> Figures:
    """Rename a directory, until every object of it has its new key."""
    old, new = f"{mount.tag}-old", f"{mount.tag}-new"
    run(mount, ["mv", "-T", mount.point / old, mount.point / new])
    right = [bench.sizes.small] * bench.sizes.renamed
    until_stored(new, lambda: bench.sizes_below(new + "/") == right)
    until_stored(f"the end of {old}", lambda: not bench.sizes_below(old + "/"))
    return {}


def put_renamed(bench: Bench, tag: str) -> None:
    """A directory of its own for each contender."""
    for number in range(bench.sizes.renamed):
        bench.put(f"{tag}-old/f{number:03}", bench.sizes.small)


# --- writing ------------------------------------------------------------------------------------


def copy_in(bench: Bench, mount: Mount) -> Figures:
    """Copy one large file in."""
    key = f"{mount.tag}-copied"
    began = time.monotonic()
    run(mount, ["cp", bench.sources / "copied", mount.point / key])
    returned = time.monotonic() - began
    until_stored(key, lambda: bench.head(key) == bench.sizes.copied)
    return {"returned": returned}


def copy_small(bench: Bench, mount: Mount) -> Figures:
    """Copy a folder of small files in."""
    name = f"{mount.tag}-small"
    began = time.monotonic()
    run(mount, ["cp", "-r", bench.sources / "small", mount.point / name])
    returned = time.monotonic() - began
    right = [bench.sizes.small] * bench.sizes.small_files
    until_stored(name, lambda: bench.sizes_below(name + "/") == right)
    return {"returned": returned}


def append(bench: Bench, mount: Mount) -> Figures:
    """Add a line to a large object."""
    key, line = f"{mount.tag}-appended", "one more line"
    returned = program(mount, "append", mount.point / key, line)["seconds"]
    until_stored(key, lambda: bench.head(key) == bench.sizes.appended + len(line) + 1)
    return {"returned": returned}


def put_appended(bench: Bench, tag: str) -> None:
    """A copy for each contender."""
    bench.copy("appended", f"{tag}-appended")


def copy_big(bench: Bench, mount: Mount) -> Figures:
    """Copy a file in that is far larger than the memory that objfs may take, and out again."""
    key = f"{mount.tag}-big"
    run(mount, ["cp", bench.sources / "big", mount.point / key])
    expect("bytes stored", bench.sizes.big, bench.head(key))
    run(mount, ["cmp", bench.sources / "big", mount.point / key])
    return {}


# --- the kernel's own ---------------------------------------------------------------------------


def reuse_known(bench: Bench, mount: Mount) -> Figures:
    """Use what the kernel knows already, first with the daemon stopped: no handler is called.

    Then open and list it anew, which are calls, but not of the store.
    """
    folder = mount.point / KNOWN_FOLDER
    command = [sys.executable, "-I", str(PROGRAMS), "known", str(folder), str(KNOWN_TIMES)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        expect("the program knows its files", "ready", process.stdout.readline().strip())
        asked = mount.requests()
        mount.kill(signal.SIGSTOP)
        # A program that waits for the daemon cannot be ended while that is stopped.
        wake = threading.Timer(KNOWN_SECONDS, mount.kill, [signal.SIGCONT])
        wake.start()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        wake.cancel()
        mount.kill(signal.SIGCONT)
        told: Figures = json.loads(_finish(mount, process, "the program that knows its files"))
    if told["seconds"] >= KNOWN_SECONDS:
        raise Failed("the kernel called the daemon for what it should know")
    run(mount, ["ls", "-l", folder])
    run(mount, ["md5sum", mount.point / keys_of_tree(bench.sizes)[0]])
    expect("requests for what is known", asked, mount.requests())
    return told


WORKLOADS: dict[str, Workload] = {
    "read": Workload(
        "1 GiB read cold, one stream",
        read_large,
        needs=("large",),
        then="reread",
        moved=lambda bench: bench.sizes.large,
        target=(1.5, 1.5),
    ),
    "reread": Workload(
        "the same again from the disk cache",
        read_large,
        needs=("large",),
        follows=True,
        moved=lambda bench: bench.sizes.large,
        without=("rclone-writes",),
        target=(1.5, 1.5),
    ),
    "several": Workload(
        "8 files of 64 MiB at once",
        read_several,
        needs=("several",),
        moved=lambda bench: bench.sizes.several * bench.sizes.several_bytes,
        target=(1.5, 1.5),
    ),
    "random": Workload(
        "200 random 4 KiB reads over 1 GiB, cold",
        read_scattered,
        needs=("large",),
        target=(1.5, 1.5),
    ),
    "tar": Workload(
        "tar of 2,000 files of 16 KiB, cold", read_tree, needs=("tree",), target=(3, 10)
    ),
    "threads": Workload(
        "the same files by 32 threads, shuffled", read_shuffled, needs=("tree",), target=(2, 2)
    ),
    "find": Workload(
        "find over 10,000 keys in 1,100 directories", find, needs=("many",), target=(2, 2)
    ),
    "list": Workload("ls -l of 10,000 entries", list_flat, needs=("flat",), target=(2, 2)),
    "stat": Workload("200 single stats, cold", stat_some, needs=("many",), target=(2, 2)),
    "copy": Workload(
        "512 MiB copied in, until stored",
        copy_in,
        sources=("copied",),
        moved=lambda bench: bench.sizes.copied,
        target=(1.3, 1.3),
    ),
    "small": Workload(
        "300 files of 16 KiB copied in, sync, until stored",
        copy_small,
        sources=("small",),
        target=(1.5, 1),
    ),
    "small-async": Workload(
        "300 files of 16 KiB copied in, async, until stored",
        copy_small,
        sources=("small",),
        early=True,
        target=(0, 5),
        figure_targets={"returned": (0, 10)},
    ),
    "append": Workload(
        "one line appended to 64 MiB, until stored",
        append,
        needs=("appended",),
        prepare=put_appended,
        target=(2, 2),
    ),
    "rename": Workload(
        "directory of 200 objects renamed", rename_folder, prepare=put_renamed, target=(2, 2)
    ),
    "known": Workload(
        "20 re-reads and 2,000 stats, daemon stopped", reuse_known, needs=("tree",), ours_alone=True
    ),
    "big": Workload("2 GiB copied in, compared", copy_big, sources=("big",), ours_alone=True),
}
SMOKE = ("read", "random", "tar", "small", "known")
"""What continuous integration runs, on objfs alone and on `data.SMOKE`."""
