"""P23: whoever waits for a store that hangs can be interrupted, and killed, on a real mount.

The store answers until `hang`, then takes requests and says nothing, until the proxy is mended.
Programs are real ones, in processes of their own; what is asserted is when they end and how.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.conftest import put, through
from tests.mount.kit import Mounted, Store, eventually, mounted
from tests.proxy import Fault, Proxy
from tests.servers import Server

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

AT_MOST = 2.0
"""Seconds between a signal and the process's end."""
DATA = b"0123456789abcdef" * 40_000
LOST = ["goes on|after its caller|no answer|no connection|not a byte|is not stored"]
"""What the daemon may say of a store that hangs."""
ALARMED = """\
import os, signal, sys

class Late(Exception):
    pass

def late(*_):
    raise Late

signal.signal(signal.SIGALRM, late)
signal.alarm(1)
fd = os.open(sys.argv[1], os.O_RDONLY)
try:
    os.read(fd, 4096)
except Late:
    print("late")
"""


@dataclass
class Hanging:
    """A mount whose store can be made to hang."""

    mount: Mounted
    store: Store
    link: Proxy

    def hang(self) -> Fault:
        """From now on nothing is answered."""
        return self.link.fail(Fault(hang=True))

    def start(self, *command: object, wait: float = 1.0) -> "subprocess.Popen[str]":
        """Run a program in the mount, and wait until it hangs in a call for a while."""
        program = subprocess.Popen(
            [str(word) for word in command],
            cwd=self.mount.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(wait)
        assert program.poll() is None, program.communicate()
        return program

    def stored(self) -> set[str]:
        """What the store has now."""
        found = self.store.client.list_objects_v2(Bucket=self.store.bucket)
        return {item["Key"] for item in found["Contents"]}

    def journaled(self) -> int:
        """Drafts that the journal on the disk has a row for."""
        with closing(sqlite3.connect(self.mount.cache / "journal.db")) as journal:
            (count,) = journal.execute("SELECT count(*) FROM draft").fetchone()
        return int(count)


def ended(program: "subprocess.Popen[str]", number: int) -> tuple[int, float]:
    """Send a signal; the exit code, and the seconds until then."""
    begun = time.monotonic()
    program.send_signal(number)
    try:
        program.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        program.kill()
        raise
    assert program.returncode is not None
    return program.returncode, time.monotonic() - begun


@contextmanager
def hanging(server: Server, link: Proxy, folder: Path, *options: str) -> Iterator[Hanging]:
    """Mounted, and mended at the end so that it can be unmounted."""
    store = through(server, link)
    for key in ("f", "g", "d/x"):
        put(store, key, DATA)
    with mounted(store, folder, "--timeout", "30s", *options, allowed=LOST) as mount:
        try:
            yield Hanging(mount, store, link)
        finally:
            link.mend()


@pytest.fixture
def there(radosgw: Server, link: Proxy, tmp_path: Path) -> Iterator[Hanging]:
    """A mount over radosgw, with the names f, g, d and d/x known to it."""
    with hanging(radosgw, link, tmp_path) as made:
        for name in ("f", "g", "d", "d/x"):
            (made.mount.path / name).stat()
        yield made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_p23_a_reader_can_be_interrupted(there: Hanging, number: int) -> None:
    """P23: `cat` of a file that is not cached ends with the signal."""
    there.hang()
    code, took = ended(there.start("cat", "f"), number)
    assert code == -number
    assert took < AT_MOST


def test_p23_a_listing_can_be_interrupted(there: Hanging) -> None:
    """P23: so does `ls`."""
    there.hang()
    code, took = ended(there.start("ls", "d"), signal.SIGINT)
    assert code == -signal.SIGINT
    assert took < AT_MOST


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_p23_a_lookup_can_be_interrupted(there: Hanging, number: int) -> None:
    """P23: and a look at a name that nobody asked for yet."""
    there.hang()
    code, took = ended(there.start("stat", "d/unknown"), number)
    assert code == -number
    assert took < AT_MOST


def test_p23_ctrl_c_reaches_who_inherited_the_file(there: Hanging) -> None:
    """P23: a shell opened the file, its child reads it and is killed: the child is gone."""
    there.hang()
    shell = there.start("bash", "-c", "exec 3<f; cat <&3; echo $?")
    (child,) = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
    begun = time.monotonic()
    os.kill(int(child), signal.SIGINT)
    assert shell.communicate(timeout=30)[0] == "130\n"
    assert time.monotonic() - begun < AT_MOST


def test_p23_a_handler_runs_in_time(there: Hanging) -> None:
    """P23: a program's own SIGALRM handler ends its read, after a few seconds."""
    there.hang()
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALARMED, there.mount.path / "f"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("late\n", "")
    assert time.monotonic() - begun < 10


def test_p23_daily_signals_interrupt_nothing(there: Hanging) -> None:
    """P23: a child's end, a resized window and Ctrl-Z leave a reader with what it reads."""
    there.hang()
    program = there.start("cat", "f")
    for number in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT):
        program.send_signal(number)
        time.sleep(0.7)
    there.link.mend()
    out, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, "")
    assert out.encode() == DATA


def test_p23_a_neighbour_goes_on(there: Hanging) -> None:
    """P23: another reader of the same bytes is not touched by an interrupt of the first."""
    there.hang()
    first, second = there.start("cat", "f"), there.start("cat", "f")
    assert ended(first, signal.SIGINT)[0] == -signal.SIGINT
    there.link.mend()
    out, errors = second.communicate(timeout=60)
    assert (second.returncode, errors) == (0, "")
    assert out.encode() == DATA


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_p23_an_interrupted_close_is_stored_later(
    there: Hanging, tmp_path: Path, number: int
) -> None:
    """P23: `cp` ends in its close; what it wrote is shown as owed, and stored once it can be."""
    (tmp_path / "source").write_bytes(DATA)
    assert not (there.mount.path / "copy").exists()
    there.hang()
    code, took = ended(there.start("cp", tmp_path / "source", "copy"), number)
    assert code == -number
    assert took < AT_MOST
    owed = there.mount.objfs("pending", str(there.mount.path)).stdout
    assert "copy" in owed
    assert there.journaled() == 1
    there.link.mend()
    assert eventually(lambda: there.store.objects().get("copy") == DATA)
    assert eventually(lambda: not there.journaled())


def test_p23_who_is_killed_while_writing_is_gone(there: Hanging) -> None:
    """P23: a process killed between write and close does not wait for the upload in its exit."""
    assert not (there.mount.path / "new").exists()
    there.hang()
    program = there.start("bash", "-c", "exec 3>new; echo content >&3; sleep 60")
    code, took = ended(program, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert took < AT_MOST
    there.link.mend()
    assert eventually(lambda: there.store.objects().get("new") == b"content\n")


@pytest.mark.parametrize(
    ("command", "key", "stays"),
    [
        (("mkdir", "made"), "made/", True),
        (("rm", "-f", "g"), "g", False),
        (("mv", "g", "moved"), "moved", True),
    ],
    ids=["mkdir", "unlink", "rename"],
)
def test_p23_an_interrupted_change_is_finished(
    there: Hanging, command: tuple[str, ...], key: str, *, stays: bool
) -> None:
    """P23: the process is gone at once; what it asked for happens when the store answers."""
    for absent in ("made", "moved"):
        assert not (there.mount.path / absent).exists()
    there.hang()
    code, took = ended(there.start(*command), signal.SIGINT)
    assert code == -signal.SIGINT
    assert took < AT_MOST
    there.link.mend()
    assert eventually(lambda: (key in there.stored()) == stays)
    name = there.mount.path / key.rstrip("/")
    assert eventually(lambda: name.exists() == stays)


def test_p23_an_unmount_waits_for_what_goes_on(
    radosgw: Server, link: Proxy, tmp_path: Path
) -> None:
    """P23: an interrupted mkdir is finished before `objfs umount` returns."""
    with hanging(radosgw, link, tmp_path) as there:
        assert not (there.mount.path / "made").exists()
        there.link.fail(Fault("PUT", delay=4))
        assert ended(there.start("mkdir", "made"), signal.SIGINT)[0] == -signal.SIGINT
        assert "made/" not in there.store.objects()
        there.mount.umount()
        assert "made/" in there.store.objects()
