"""One mounted file system, whosesoever: made new, asked what it used, and always ended."""

import contextlib
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from objfs import runtime
from tests.servers import Server

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
END_SECONDS = 60.0
"""What a daemon has, once unmounted, for uploading the rest and leaving."""
KILL_SECONDS = 5.0
POLL_SECONDS = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A workload did not do what it should; the message says what happened instead."""


@dataclass(frozen=True)
class Place:
    """Where a mount is to be, and of what."""

    server: Server
    """As the mount is to reach it: maybe through a link."""
    bucket: str
    point: Path
    cache: Path
    tag: str
    """A prefix of names in the bucket that nobody else uses."""
    early: bool = False
    """close() may return before the store has the bytes."""


class Mount(ABC):
    """One daemon that serves one bucket at one mount point."""

    settling = 0.0
    """Seconds after the last close() until the next mount will find what this one has cached."""

    def __init__(self, place: Place) -> None:
        self.server = place.server
        self.bucket = place.bucket
        self.point = place.point
        self.cache = place.cache
        self.tag = place.tag
        self.early = place.early
        self.pid = 0
        self.started = 0
        """With the PID this names the process for good, see `objfs.runtime.start_time`."""

    @abstractmethod
    def start(self) -> None:
        """Mount, and set `pid` and `started`. Raises Failed."""

    @abstractmethod
    def unmount(self) -> None:
        """Unmount as a user would; the daemon may live on and upload. Raises Failed."""

    def requests(self) -> dict[str, int]:
        """What it says that it has asked of the store, by operation; {} when it cannot tell."""
        return {}

    def run_daemon(self, command: Sequence[str], log: Path) -> None:
        """Start a daemon that stays in the foreground, and wait until it has mounted."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us, who then end it in good order
            )
        self.pid, self.started = process.pid, runtime.start_time(process.pid)
        ready = wait_until(lambda: self.is_mounted or process.poll() is not None, START_SECONDS)
        if not ready or process.returncode is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise Failed(f"{command[0]} did not mount within {START_SECONDS:.0f} s: {last}")

    def environment(self) -> dict[str, str]:
        """Ours without anybody's settings, and how this contender finds the server."""
        dropped = ("AWS_", "OBJFS_", "RCLONE_")
        return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}

    @property
    def alive(self) -> bool:
        """Whether the very process that was started still runs."""
        return self.pid != 0 and runtime.start_time(self.pid) == self.started

    def kill(self, number: int) -> None:
        """Send the daemon a signal, if it is still that process."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def cpu_seconds(self) -> float:
        """User and system time of the daemon so far: fields 14 and 15 of proc(5)'s stat."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak_memory(self) -> int:
        """The most bytes that the daemon had resident: VmHWM in proc(5)'s status."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise Failed(f"process {self.pid} is a zombie")

    def end(self) -> None:
        """Unmount, wait for the daemon, and use force where that does not do. Raises Failed."""
        try:
            if self.alive and self.is_mounted:
                self.unmount()
            if not wait_until(lambda: not self.alive, END_SECONDS):
                raise Failed(f"process {self.pid} did not end {END_SECONDS:.0f} s after unmounting")
        finally:
            self.force()

    def force(self) -> None:
        """Leave neither a process nor a mount, whatever state they are in."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.kill(number)
            if wait_until(lambda: not self.alive, KILL_SECONDS):
                break
        while self.is_mounted:
            call(["fusermount3", "-u", "-z", str(self.point)])

    @property
    def is_mounted(self) -> bool:
        """Whether the kernel has anything mounted there."""
        return runtime.mount_at(str(self.point)) is not None


@contextmanager
def mounted(kind: type[Mount], place: Place) -> Iterator[Mount]:
    """A mount, ended however the block ends. Raises Failed."""
    place.point.mkdir(exist_ok=True)
    mount = kind(place)
    try:
        mount.start()
        yield mount
    except BaseException:
        mount.force()
        raise
    mount.end()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def call(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a short program; its exit code, and what it printed or complained about."""
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=END_SECONDS + START_SECONDS,
    )
    return done.returncode, done.stderr if done.returncode else done.stdout


def call_or_fail(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a short program; what it printed. Raises Failed with what it complained about."""
    try:
        code, said = call(command, environment)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)} does not return") from None
    if code:
        raise Failed(f"{' '.join(command)}: {said.strip()}")
    return said
