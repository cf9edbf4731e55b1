"""The daemon: builds every object once, serves until unmounted, and waits for the uploads.

Semantics of leaving: an unmount (by anybody), SIGTERM, SIGINT and SIGHUP end the kernel session,
and then uploads that are still owed are waited for; a second signal stops at once. Drafts survive
either way, in the cache folder. While and after it waits the daemon lists them in a
result file beside its record, which is where `objfs umount` reads them.
"""

import contextlib
import logging
import math
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from objfs import control, runtime
from objfs.assembly import assembled
from objfs.config import Config
from objfs.errors import Busy, MountError, ObjfsError, TimedOut
from objfs.interrupts import Calls, Changes
from objfs.runtime import Left, Record
from objfs.store import open_store
from objfs.store.base import Driver
from objfs.store.bucket import Bucket
from objfs.tree.tree import Invalidate
from objfs.types import ROOT

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 10.0
"""How long the store may take to answer the first request."""
ANSWER_SECONDS: Final = 3.0
"""How long the kernel may take to answer the first stat of the new mount."""
BUSY_SECONDS: Final = 5.0
"""How long open files keep a lazily unmounted session alive after a signal."""
REPORT_SECONDS: Final = 0.5
TELL_SECONDS: Final = 2.0
"""How long the answer to a command waits for the kernel to be told."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the daemon needs of a file system that lives, and no more."""

    serve: Callable[..., Awaitable[None]]
    """`serve(*, task_status)`: mounts, calls `task_status.started()`, returns when unmounted."""
    stop: Callable[[], None]
    """Ends `serve` although the kernel still holds the mount."""
    drain: Callable[[], Awaitable[None]]
    """Returns when no upload is pending; what failed for good stays in `left`."""
    left: Callable[[], Sequence[Left]]
    """What is not in the store, now. Good to call afterwards, too."""
    answer: control.Answer
    """What is said on the control socket."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What `build` made: the driver, which is asked first, and the rest, which needs trio."""

    driver: Driver
    alive: Callable[[], AbstractAsyncContextManager[Parts]]
    """The file system's background tasks run inside this block."""


def build(config: Config) -> Composition:
    """The driver, and how the other objects are made of it. Raises `ObjfsError`."""
    driver = open_store(config.store)
    return Composition(driver, partial(compose, config, driver))


@contextlib.asynccontextmanager
async def compose(config: Config, driver: Driver) -> AsyncIterator[Parts]:
    """Every object of one mount, made once and handed what it needs.

    pyfuse3 is imported here and not above: `objfs umount` and `--help` work without it.
    """
    from objfs import fuse

    store = config.store
    bucket = Bucket(
        driver, prefix=store.prefix, connections=store.connections, timeout=store.timeout
    )
    # Without a bound, because a state class tells of changes and must not wait for the kernel.
    send, receive = trio.open_memory_channel[Invalidate](math.inf)
    async with (
        assembled(bucket, config.mount, config.cache, send.send_nowait) as filesystem,
        trio.open_nursery() as going_on,
    ):
        errors: dict[str, str] = {}
        calls = Calls()
        changes = Changes(calls, going_on)

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            operations = fuse.Operations(filesystem, calls, changes)
            fuse.mount(operations, config.mount, config.store.url)
            ours = runtime.mount_at(config.mount.mountpoint)
            try:
                task_status.started()
                await fuse.serve(receive, config.mount.mountpoint, calls)
            finally:
                # ours may be detached by now, and another mount be in its place
                fuse.unmount(there=runtime.mount_at(config.mount.mountpoint) == ours)

        async def drain() -> None:
            await changes.settled()  # what was interrupted, and is not at its end
            failed = await filesystem.drain()
            errors.update({path: str(error) for path, error in failed.items()})

        def left() -> Sequence[Left]:
            return [Left(path, size, errors.get(path, "")) for path, size in filesystem.unsaved()]

        async def answer(question: control.Document) -> AsyncGenerator[control.Document, None]:
            async with contextlib.aclosing(filesystem.operator.answer(question)) as lines:
                async for line in lines:
                    await _passed_on(receive, send)
                    yield line

        yield Parts(serve, fuse.stop, drain, left, answer)
    counted = ", ".join(f"{count} {name}" for name, count in bucket.requests.most_common())
    log.info("requests sent to the store: %s", counted or "none")


async def _passed_on(
    receive: trio.MemoryReceiveChannel[Invalidate], send: trio.MemorySendChannel[Invalidate]
) -> None:
    """Wait until the kernel has been told what it must forget, so that the next look is fresh.

    One at a time is told; the last one, which matters to nobody, is taken when those before it are
    through. The wait is short: the kernel may itself wait for a request that hangs.
    """
    if receive.statistics().current_buffer_used:
        send.send_nowait(Invalidate(ROOT))
        with trio.move_on_after(TELL_SECONDS):
            while receive.statistics().current_buffer_used:  # noqa: ASYNC110  # it has no event
                await trio.sleep(TELL_SECONDS / 1000)


def run(
    config: Config,
    composition: Composition,
    ready: Callable[[], None],
    *,
    log_file: str = "",
) -> Sequence[Left]:
    """Serve the mount until it is gone; what is left is returned and listed in the result file.

    `ready` is called once the mount answers. Raises what the store's first answer was, and
    `MountError` when the mount does not answer. The caller holds the cache folder's lock.
    """
    folder = runtime.records_folder()
    runtime.private_folder(folder)
    path = runtime.record_path(folder, config.mount.mountpoint)
    pid = os.getpid()
    record = Record(
        pid,
        runtime.start_time(pid),
        config.mount.mountpoint,
        config.store.url,
        config.cache.folder,
        log_file,
        asdict(config.store),
    )
    service = _Service(composition, record, path, ready)
    try:
        trio.run(service.run)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        left = service.leave()
    return left


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to tell: the first that was raised on purpose, else the first."""
    expected = group.subgroup(ObjfsError)
    error: BaseException = expected or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Service:
    """One run of the daemon; `_unmounted` is set once the kernel session has ended by itself."""

    def __init__(
        self, composition: Composition, record: Record, path: Path, ready: Callable[[], None]
    ) -> None:
        self._composition = composition
        self._parts: Parts | None = None
        self._record = record
        self._path = path
        self._ready = ready
        self._mountpoint = record.mountpoint
        self._result = runtime.result_path(path, record.pid)
        self._unmounted = False

    async def run(self) -> None:
        """Check the store, mount, serve, drain."""
        await self._reach()
        async with self._composition.alive() as parts:
            self._parts = parts
            await self._serve(parts)

    async def _serve(self, parts: Parts) -> None:
        async with trio.open_nursery() as outer:
            await outer.start(self._obey_signals, parts.stop)
            await outer.start(self._take_commands, parts.answer)
            async with trio.open_nursery() as session:
                await session.start(parts.serve)
                await self._answers()
                runtime.register(self._path, self._record)
                log.info("mounted %s at %s", self._record.url, self._mountpoint)
                self._ready()
            self._unmounted = True
            log.info("unmounted %s", self._mountpoint)
            outer.start_soon(self._report)
            await parts.drain()
            outer.cancel_scope.cancel()

    async def _take_commands(
        self, answer: control.Answer, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """The control socket, from before the mount is there until the last upload has ended."""
        about = {
            "mountpoint": self._mountpoint,
            "url": self._record.url,
            "pid": self._record.pid,
            "log": self._record.log,
        }

        async def say(question: control.Document) -> AsyncGenerator[control.Document, None]:
            facts = {**about, "unmounted": self._unmounted}
            async with contextlib.aclosing(answer(question)) as lines:
                async for line in lines:
                    yield {**facts, **line} if question.get("command") == "status" else line

        path = runtime.socket_path(self._path, self._record.pid)
        try:
            await control.serve(path, say, task_status=task_status)
        except OSError as error:
            log.warning("%s cannot be used, so this mount takes no commands: %s", path, error)
            task_status.started()

    async def _reach(self) -> None:
        """The store's own check, given up on when it takes too long."""
        try:
            with trio.fail_after(CHECK_SECONDS):
                await trio.to_thread.run_sync(
                    self._composition.driver.check, abandon_on_cancel=True
                )
        except trio.TooSlowError:
            raise TimedOut(
                f"{self._record.url} did not answer within {CHECK_SECONDS:.0f} s",
                remedy="Check the endpoint URL and the network.",
            ) from None

    async def _answers(self) -> None:
        """Look at the new root as a program would."""
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await trio.to_thread.run_sync(os.stat, self._mountpoint, abandon_on_cancel=True)
        except (trio.TooSlowError, OSError) as error:
            raise MountError(f"the new mount {self._mountpoint} does not answer") from error

    async def _obey_signals(
        self, stop: Callable[[], None], *, task_status: trio.TaskStatus[None]
    ) -> None:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                task_status.started()
                number = await anext(signals)
                log.info("%s: unmounting", signal.Signals(number).name)
                nursery.start_soon(self._end_session, stop)
                number = await anext(signals)
                log.error("%s again: stopping at once", signal.Signals(number).name)
                # Threads that upload cannot be cancelled; drafts are on the disk already.
                self.leave()
                logging.shutdown()
                os._exit(1)

    async def _end_session(self, stop: Callable[[], None]) -> None:
        try:
            await trio.to_thread.run_sync(runtime.unmount, self._mountpoint)
        except Busy:
            log.info("%s is in use: detaching it", self._mountpoint)
            await trio.to_thread.run_sync(lambda: runtime.unmount(self._mountpoint, lazy=True))
            await trio.sleep(BUSY_SECONDS)
            if not self._unmounted:
                stop()
        except MountError as error:
            # Somebody else may have unmounted it in the same moment.
            if runtime.mount_at(self._mountpoint) is not None:
                log.error("%s", error)  # noqa: TRY400  # the message is all there is to know
                stop()

    async def _report(self) -> None:
        """Keep the result file current while uploads are waited for."""
        while True:
            self._write_left()
            await trio.sleep(REPORT_SECONDS)

    def _write_left(self) -> Sequence[Left]:
        left = self._parts.left() if self._parts else ()
        try:
            runtime.write_left(self._result, left)
        except OSError as error:
            # A login session's end takes its runtime folder away; uploads matter more than news.
            log.info("the result file cannot be written: %s", error)
        return left

    def leave(self) -> Sequence[Left]:
        """Drop the record, keep the result if files are left, and leave no dead mount behind."""
        left = self._write_left()
        if left:
            log.warning("%d files are not uploaded; they are kept in the cache", len(left))
        else:
            self._result.unlink(missing_ok=True)
        # Another daemon may have taken the mount point since: its record and mount stay.
        if runtime.read_record(self._path) == self._record:
            self._path.unlink(missing_ok=True)
        mounted = None if self._unmounted else runtime.mount_at(self._mountpoint)
        if mounted is not None and mounted.fstype == runtime.FSTYPE:
            with contextlib.suppress(ObjfsError):
                runtime.unmount(self._mountpoint, lazy=True)
        return left
