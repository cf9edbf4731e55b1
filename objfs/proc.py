"""Which signals wait for a thread, as /proc shows them (proc_pid_status(5), proc_pid_stat(5)).

A thread that waits for FUSE's answer is not killable: the kernel lets it go when the daemon
answers, not before. What waits for it is visible, though, and this module says whether it is reason
enough to answer at once.

What counts is a choice, since a call that is not restarted is a failure to most programs: no
answer of FUSE can ask for a restart, so a handler with SA_RESTART looks like any other here.

- Whatever ends the process counts: SIGKILL, and every signal that nobody caught.
- SIGINT, SIGQUIT and SIGTERM count when caught as well: somebody wants it to stop.
- SIGALRM counts when caught and when the call has waited for long: it is how programs limit the
  time of a call, and also how git shows progress, once in a second.
- Others that are caught do not: SIGCHLD, SIGWINCH, SIGHUP, SIGURG ... come in daily life, and the
  call is expected to go on.
- Ctrl-Z does not: no program expects a call to fail because it was stopped.

Semantics: every function answers with "no" for a process that is gone or not to be looked at.
"""

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

_ASKED = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_HARMLESS = frozenset(
    {
        *(signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
        *(signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH),
    }
)
"""What does not end a process that has no handler for it (signal(7))."""
_EXITING = 0x4
"""PF_EXITING of the kernel's include/linux/sched.h, in the flags of /proc/PID/stat."""
_FAMILY = 64
"""Processes that are looked at for one opened file."""
PROC = Path("/proc")


def mask(signals: Iterable[int]) -> int:
    """These signals as /proc writes a set of them: signal n is bit n - 1."""
    return sum(1 << (number - 1) for number in signals)


def ends_call(status: str, *, long: bool = False) -> bool:
    """Whether a thread with this /proc/TID/status should have its answer now.

    `long`: the call has waited for so long that an alarm is meant for it.
    """
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    try:
        own, shared, blocked, ignored, caught = (
            int(fields[name], 16) for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
        )
    except (KeyError, ValueError):  # a process that is ending has no signals left
        return False
    waiting = (own | shared) & ~blocked & ~ignored
    asked = mask(_ASKED | {signal.SIGALRM}) if long else mask(_ASKED)
    return bool(waiting & ~caught & ~mask(_HARMLESS) or waiting & caught & asked)


def was_killed(stat: str) -> bool:
    """Whether the thread with this /proc/TID/stat is ending by a signal."""
    fields = stat.rpartition(")")[2].split()  # from field 3 on
    try:
        flags, code = int(fields[6]), int(fields[49])
    except (IndexError, ValueError):
        return False
    return bool(flags & _EXITING and code & 0x7F)


def thread_is_called(tid: int, *, long: bool) -> bool:
    """Whether a signal calls this thread away from what it waits for."""
    return ends_call(_read(f"{tid}/status"), long=long)


def family_is_called(tid: int, *, long: bool) -> bool:
    """The same of any thread of the thread's process, and of those that it started.

    What they opened they share, and FUSE does not tell who of them reads; and whoever was killed
    waits in its last close.
    """
    return any(
        ends_call(_read(f"{each}/status"), long=long) or was_killed(_read(f"{each}/stat"))
        for each in _family(tid)
    )


def _family(tid: int) -> Iterator[int]:
    process = _read(f"{tid}/status").partition("\nTgid:\t")[2].partition("\n")[0]
    queue = [int(process)] if process else []
    for _ in range(_FAMILY):
        if not queue:
            return
        pid = queue.pop()
        try:
            threads = [int(each.name) for each in (PROC / f"{pid}/task").iterdir()]
        except OSError:  # it is gone
            continue
        yield from threads
        for thread in threads:
            queue += map(int, _read(f"{pid}/task/{thread}/children").split())


def _read(name: str) -> str:
    try:
        return (PROC / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
