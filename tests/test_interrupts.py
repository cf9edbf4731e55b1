"""Which signals end a call, and what becomes of its work: without a kernel mount."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import trio

from objfs import interrupts, proc
from objfs.errors import Forbidden, Interrupted
from objfs.interrupts import Calls, Changes, asking, watch

CALLER = 4711


def status(*, pending=(), shared=(), blocked=(), ignored=(), caught=()) -> str:
    """What /proc/TID/status says, as far as it matters."""
    sets = {
        "SigPnd": pending,
        "ShdPnd": shared,
        "SigBlk": blocked,
        "SigIgn": ignored,
        "SigCgt": caught,
    }
    lines = [f"{name}:\t{proc.mask(signals):016x}" for name, signals in sets.items()]
    return "\n".join(["Name:\tcat", "Tgid:\t4711", *lines, ""])


@pytest.mark.parametrize(
    ("facts", "ends"),
    [
        ({}, False),
        ({"pending": [signal.SIGKILL]}, True),
        ({"shared": [signal.SIGHUP]}, True),
        ({"shared": [signal.SIGUSR1]}, True),
        ({"shared": [signal.SIGRTMIN + 3]}, True),
        ({"shared": [signal.SIGINT], "caught": [signal.SIGINT]}, True),
        ({"shared": [signal.SIGTERM], "caught": [signal.SIGTERM]}, True),
        ({"shared": [signal.SIGINT], "blocked": [signal.SIGINT]}, False),
        ({"shared": [signal.SIGINT], "ignored": [signal.SIGINT]}, False),
        ({"shared": [signal.SIGHUP], "caught": [signal.SIGHUP]}, False),
        ({"shared": [signal.SIGCHLD], "caught": [signal.SIGCHLD]}, False),
        ({"shared": [signal.SIGCHLD]}, False),
        ({"shared": [signal.SIGTSTP]}, False),
        ({"pending": [signal.SIGSTOP]}, False),
        ({"shared": [signal.SIGALRM], "caught": [signal.SIGALRM]}, False),
        ({"shared": [signal.SIGALRM]}, True),
    ],
)
def test_p23_which_signals_end_a_call(facts, ends):
    """P23: what ends the process does, and Ctrl-C whoever handles it; daily signals do not."""
    assert proc.ends_call(status(**facts)) == ends


def test_p23_an_alarm_is_meant_for_a_long_call():
    """P23: SIGALRM is also how git shows progress: it ends only what has waited for long."""
    caught = status(shared=[signal.SIGALRM], caught=[signal.SIGALRM])
    assert not proc.ends_call(caught)
    assert proc.ends_call(caught, long=True)


@pytest.mark.parametrize("text", ["", "Name:\tcat\n", "SigPnd:\tnothing"])
def test_who_is_gone_is_not_called(text):
    """A process that ends while it is looked at has no signals."""
    assert not proc.ends_call(text)
    assert not proc.was_killed(text)


def test_p23_a_family_is_its_threads_and_children():
    """P23: who shares an opened file is looked at; a signal that is blocked calls nobody."""
    script = "import signal; signal.pthread_sigmask(0, [signal.SIGINT]); print(); input()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert not proc.thread_is_called(child.pid, long=False)
        assert {os.getpid(), child.pid} <= set(proc._family(threading.get_native_id()))
        child.kill()
    assert not list(proc._family(child.pid))


@pytest.fixture
def called(monkeypatch):
    """Threads that a signal waits for; looks come every few milliseconds."""
    waiting: set[int] = set()
    monkeypatch.setattr(interrupts, "EVERY", 0.01)
    monkeypatch.setattr(proc, "thread_is_called", lambda tid, **_: tid in waiting)
    monkeypatch.setattr(proc, "family_is_called", lambda tid, **_: tid in waiting)
    return waiting


async def test_p23_a_question_is_cancelled(called, nursery):
    """P23: EINTR for the one who is called, and only for that one."""
    calls = Calls()
    nursery.start_soon(watch, calls)
    answer = trio.Event()
    called.add(CALLER)

    async def neighbour() -> None:
        await asking(calls, CALLER + 1, answer.wait())

    async with trio.open_nursery() as others:
        others.start_soon(neighbour)
        with pytest.raises(Interrupted):
            await asking(calls, CALLER, answer.wait())
        assert {caller for caller, *_ in calls.due()} == {CALLER + 1}
        answer.set()
    assert not calls.due()


async def test_a_caller_without_a_number_waits(called, nursery):
    """A process of another PID namespace is 0 here: nothing is known of it."""
    calls = Calls()
    nursery.start_soon(watch, calls)
    called.add(0)
    with trio.move_on_after(0.1) as enough:
        await asking(calls, 0, trio.Event().wait())
    assert enough.cancelled_caught


@pytest.mark.parametrize("fails", [False, True])
async def test_p23_a_change_goes_on(called, nursery, expected_logs, caplog, fails):
    """P23: it is made safe first, ends later, tells the kernel then, and its error is logged."""
    expected_logs.allow("mkdir of b'x'")
    calls = Calls()
    nursery.start_soon(watch, calls)
    said: list[object] = []
    go = trio.Event()

    async def work() -> str:
        await go.wait()
        if fails:
            raise Forbidden("not allowed")
        return "made"

    async def first() -> None:
        said.append("first")

    async with trio.open_nursery() as going_on:
        changes = Changes(calls, going_on)
        called.add(CALLER)
        with pytest.raises(Interrupted):
            await changes.changing(CALLER, "mkdir of b'x'", work, first=first, late=said.append)
        assert said == ["first"]
        go.set()
        await changes.settled()
        assert said == ["first", None if fails else "made"]
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warned) == int(fails)
    assert all("mkdir of b'x'" in line and "not allowed" in line for line in warned)


async def test_p23_who_is_not_called_hears_the_verdict(called, nursery):
    """A change's value, or error, is the caller's; nothing is called late."""
    calls = Calls()
    changes = Changes(calls, nursery)

    async def refused() -> None:
        raise Forbidden("no")

    async def made() -> int:
        return 5

    said: list[object] = []
    assert await changes.changing(CALLER, "mkdir", made, late=said.append) == 5
    with pytest.raises(Forbidden):
        await changes.changing(CALLER, "mkdir", refused, late=said.append)
    assert not said


async def test_p24_a_bug_in_what_goes_on_ends_nothing(called, nursery, expected_logs):
    """P24: it is a traceback in the log, and other changes go on."""
    expected_logs.allow("nobody foresaw")
    calls = Calls()
    nursery.start_soon(watch, calls)
    go = trio.Event()

    async def broken() -> None:
        await go.wait()
        raise ZeroDivisionError

    async with trio.open_nursery() as going_on:
        changes = Changes(calls, going_on)
        called.add(CALLER)
        with pytest.raises(Interrupted):
            await changes.changing(CALLER, "mkdir", broken)
        go.set()
        await changes.settled()
