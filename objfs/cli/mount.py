"""`objfs mount`: check, start the daemon, and report what became of it.

Semantics: the daemon is forked twice before there is any thread and before trio runs. It tells
its parent through a pipe: one line with its PID, and one with the result. The parent waits
`DEADLINE` seconds in all; then it ends the process that it started and says so.
"""

import contextlib
import errno
import faulthandler
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from objfs import daemon, runtime
from objfs.cli import logs
from objfs.cli.mountpoints import (
    check_allow_other,
    check_fuse,
    check_mountpoint,
    check_outside,
)
from objfs.config import Config
from objfs.errors import MountError, ObjfsError, UsageError

DEADLINE: Final = 13.5
"""Seconds for the daemon; with Python's start and `KILL_SECONDS` the prompt is back within 15."""
KILL_SECONDS: Final = 1.0
"""What a daemon that is given up on has between SIGTERM and SIGKILL."""

log = logging.getLogger(__name__)


class StartError(ObjfsError):
    """The daemon said why it could not start; it carries the exit code that goes with that."""

    def __init__(self, message: str, remedy: str, code: int) -> None:
        super().__init__(message, remedy=remedy)
        self.exit_code = code  # type: ignore[misc]  # the class of the error stayed in the daemon


@dataclass(frozen=True, slots=True)
class Started:
    """A mount that works."""

    pid: int
    mountpoint: str
    url: str
    cache: str
    log: str


def check(config: Config) -> None:
    """Everything that can be known to fail before a process is started. Raises `MountError`."""
    check_mountpoint(config.mount.mountpoint)
    check_outside(config, logs.log_file(config))
    check_fuse()
    check_allow_other(config.mount)


def start(config: Config) -> Started:
    """Start the daemon and wait until its mount answers. Raises its error, or `MountError`."""
    deadline = time.monotonic() + DEADLINE
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _become_daemon(config, writing)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb", buffering=0) as pipe:  # noqa: PTH123  # a descriptor
        pid = 0
        try:
            told = _line(pipe.fileno(), deadline).get("pid")
            pid = told if isinstance(told, int) else 0
            answer = _line(pipe.fileno(), deadline)
        except TimeoutError:
            _give_up(config, pid)
    if not answer.get("ok"):
        raise _failure(config, answer)
    return _started(config, pid)


def _started(config: Config, pid: int) -> Started:
    return Started(
        pid,
        config.mount.mountpoint,
        config.store.url,
        config.cache.folder,
        logs.log_file(config),
    )


def _line(fd: int, deadline: float) -> Mapping[str, object]:
    """One JSON line of the pipe, {} at its end. Raises `TimeoutError` past the deadline."""
    data = b""
    while not data.endswith(b"\n"):
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        byte = os.read(fd, 1)
        if not byte:
            return {}
        data += byte
    answer: Mapping[str, object] = json.loads(data)
    return answer


def _failure(config: Config, answer: Mapping[str, object]) -> ObjfsError:
    if "error" in answer:
        code = answer["exit_code"]
        assert isinstance(code, int)
        return StartError(str(answer["error"]), str(answer["remedy"]), code)
    return MountError(
        "the daemon ended before the mount was ready",
        remedy=f"Its log is {logs.log_file(config)}; --foreground shows it here.",
    )


def _give_up(config: Config, pid: int) -> NoReturn:
    """End the daemon that this call started, and what it may have mounted."""
    if pid:
        _end(pid)
    mounted = runtime.mount_at(config.mount.mountpoint)
    if mounted is not None and mounted.fstype == runtime.FSTYPE:
        runtime.unmount(config.mount.mountpoint, lazy=True)
    raise MountError(
        f"{config.store.url} was not mounted within {DEADLINE:.0f} s, so it was given up",
        remedy=f"The log is {logs.log_file(config)}; --foreground waits as long as it takes.",
    )


def _end(pid: int) -> None:
    """SIGTERM, `KILL_SECONDS`, SIGKILL: for a daemon that has not served anybody yet."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + KILL_SECONDS
        while runtime.start_time(pid) >= 0 and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)


def _become_daemon(config: Config, pipe: int) -> NoReturn:
    """The child's life: fork again, let go of the terminal, serve, exit. Never returns."""
    code = 1
    try:
        os.setsid()
        # Forked again: a session leader could get a terminal back by opening one.
        if os.fork():
            os._exit(0)
        _say(pipe, {"pid": os.getpid()})
        os.chdir("/")
        os.umask(0o077)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        code = _serve_and_tell(config, pipe)
    except BaseException:
        log.exception("the daemon failed")
    finally:
        logging.shutdown()
        os._exit(code)


def _serve_and_tell(config: Config, pipe: int) -> int:
    """Serve; the first thing that happens, good or bad, goes into the pipe."""

    def ready() -> None:
        _say(pipe, {"ok": True})
        os.close(pipe)

    try:
        return serve(config, ready)
    except ObjfsError as error:
        log.error("%s", error)  # noqa: TRY400  # an expected error is one sentence, in logs too
        told = {"error": error.message, "remedy": error.remedy, "exit_code": error.exit_code}
        # Once the mount was ready nobody listens: the pipe is closed.
        with contextlib.suppress(OSError):
            _say(pipe, told)
        return error.exit_code


def _say(pipe: int, message: Mapping[str, object]) -> None:
    os.write(pipe, json.dumps(message).encode() + b"\n")


def serve(config: Config, ready: Callable[[], None]) -> int:
    """Serve the mount in this process until it is gone; the exit code: 1 when files are left."""
    with runtime.locked(config.cache.folder), _logging(config):
        with _composed(config) as composition:
            left = daemon.run(config, composition, ready, log_file=logs.log_file(config))
        return 1 if left else 0


@contextlib.contextmanager
def _logging(config: Config) -> Iterator[None]:
    """The log, and in the background also what C libraries and crashes print."""
    path = logs.log_file(config)
    try:
        logs.configure(config)
    except OSError as error:
        raise UsageError(
            f"log-file = {path!r} cannot be written: {error.strerror or errno.errorcode}",
            remedy="Choose another with --log-file.",
        ) from error
    if not config.foreground:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)
        faulthandler.enable()
    yield


@contextlib.contextmanager
def _composed(config: Config) -> Iterator[daemon.Composition]:
    composition = daemon.build(config)
    try:
        yield composition
    finally:
        composition.driver.close()


def serve_here(config: Config, ready: Callable[[Started], None]) -> int:
    """`--foreground`: serve in this process; the exit code."""
    return serve(config, lambda: ready(_started(config, os.getpid())))
