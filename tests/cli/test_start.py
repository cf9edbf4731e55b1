"""The way into the background: what the daemon's parent learns, and by when.

Each test runs a program that makes a daemon of a composition which mounts nothing.
"""

import json
import subprocess
import sys
import time

import pytest

from objfs import runtime

PROGRAM = """
import contextlib, sys, time
import trio
from objfs import daemon
from objfs.cli import mount
from objfs.cli.settings import read_mount_options, resolve
from objfs.errors import BadCredentials, ObjfsError

what, folder, seconds = sys.argv[1:]
mount.DEADLINE = float(seconds)

class Driver:
    def check(self):
        if what == "hangs":
            time.sleep(60)
        if what == "refused":
            raise BadCredentials("list b: the key is not known", remedy="Check the profile")
        if what == "broken":
            raise ZeroDivisionError
    def close(self):
        pass

async def serve(*, task_status):
    task_status.started()
    await trio.sleep(0.1)

async def drain():
    print("printed by a library", flush=True)

async def answer(question):
    yield {}

@contextlib.asynccontextmanager
async def alive():
    yield daemon.Parts(serve, lambda: None, drain, lambda: [], answer)

daemon.build = lambda config: daemon.Composition(Driver(), alive)
config = resolve("mem://", folder, list(read_mount_options(f"cache_dir={folder}-cache")))
try:
    print("pid", mount.start(config).pid)
except ObjfsError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def start(mountpoint):
    """Runs the program: its exit code and output, which ends although a daemon may go on."""

    def run(what, seconds=10):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, what, str(mountpoint), str(seconds)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert not done.stderr
        return done.returncode, done.stdout

    return run


def ended(pid: int) -> None:
    """Waits for a daemon that ends by itself."""
    end = time.monotonic() + 5
    while runtime.start_time(pid) >= 0:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_daemon_that_works(start, tmp_path):
    """The parent knows its PID; what it prints later goes to the log, not to the terminal."""
    code, said = start("works")
    assert code == 0
    word, pid = said.split()
    assert word == "pid"
    ended(int(pid))
    log = (tmp_path / "mnt-cache/objfs.log").read_text()
    assert "mounted mem://" in log
    assert "printed by a library" in log


def test_a_daemon_that_is_refused(start):
    """The daemon's own sentence and exit code arrive."""
    assert start("refused") == (4, "list b: the key is not known. Check the profile\n")


def test_a_daemon_that_breaks(start, tmp_path):
    """A defect is no silence: the sentence names the log, which has the traceback."""
    code, said = start("broken")
    assert code == 6
    assert "the daemon ended before the mount was ready" in said
    assert str(tmp_path / "mnt-cache/objfs.log") in said
    assert "ZeroDivisionError" in (tmp_path / "mnt-cache/objfs.log").read_text()


def test_a_daemon_that_hangs(start, tmp_path):
    """Past the deadline the parent says so and ends the process that it started."""
    code, said = start("hangs", seconds=0.5)
    assert code == 6
    assert said.startswith("mem:// was not mounted within 0 s, so it was given up.")
    ended(int((tmp_path / "mnt-cache/lock").read_text()))


def test_the_result_is_json(capsys, monkeypatch):
    """`Started` is what --json prints."""
    from objfs.cli.main import run

    assert run(["mount", "--json", "nowhere", "/nonexistent"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["exit_code"] == 2
