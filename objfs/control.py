"""The control socket: how `objfs status` and its like ask a daemon that runs.

A Unix socket for each daemon, beside its record, for its owner only (0600 in a folder of 0700). A
connection is one question: a line of JSON, `{"command": ..., ...}`. The answer is one line of JSON,
or several for a command that reports progress, and then the end of the stream. A line with "error"
(and "remedy", "exit_code") is a refusal. What the commands do is `objfs.filesystem.operator`.

Both ends are here, since they must agree: `serve` for the daemon (trio), `ask` for the commands.
"""

import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import trio

from objfs.errors import Forbidden, NotFound, ObjfsError

log = logging.getLogger(__name__)

Document = Mapping[str, Any]
"""A JSON object."""
Answer = Callable[[Document], AsyncGenerator[Document, None]]
"""What the daemon has to say to a question. Raises `ObjfsError`."""

SILENCE_SECONDS: Final = 5.0
"""How long a daemon may take for a line of its answer."""
_LONGEST = 64 * 1024
"""Bytes of a question: a path has 4,096 at most."""
_QUESTION_SECONDS = 10.0


class DaemonError(ObjfsError):
    """What the daemon refused, in its own words, or that it does not answer."""

    def __init__(self, message: str, remedy: str = "", code: int = 1) -> None:
        super().__init__(message, remedy=remedy)
        self.exit_code = code  # type: ignore[misc]  # the class of the error stayed in the daemon


# --- the daemon's end ----------------------------------------------------------------------------


async def serve(
    path: Path, answer: Answer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer questions until cancelled; the socket is gone afterwards. Raises `OSError`."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        with _short(path) as name:
            await listening.bind(name)
        path.chmod(0o600)  # noqa: ASYNC240  # a folder in memory
        listening.listen(16)
        try:
            task_status.started()
            async with trio.open_nursery() as nursery:
                while True:
                    accepted, _ = await listening.accept()
                    nursery.start_soon(_one, trio.SocketStream(accepted), answer)
        finally:
            path.unlink(missing_ok=True)  # noqa: ASYNC240  # as above


async def _one(stream: trio.SocketStream, answer: Answer) -> None:
    """One connection; whoever hangs up early has lost interest, and nothing else happens."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async with stream:
            try:
                async with contextlib.aclosing(answer(await _question(stream))) as lines:
                    async for line in lines:
                        await _say(stream, line)
            except ObjfsError as error:
                refusal = {"error": error.message, "remedy": error.remedy}
                await _say(stream, {**refusal, "exit_code": error.exit_code})
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise
            except Exception:
                log.exception("a command failed")
                await _say(stream, {"error": "the daemon met a bug; its log has a traceback"})


async def _question(stream: trio.SocketStream) -> Document:
    data = b""
    with trio.move_on_after(_QUESTION_SECONDS):
        while not data.endswith(b"\n") and len(data) < _LONGEST:
            more = await stream.receive_some(_LONGEST)
            if not more:
                break
            data += more
    try:
        question = json.loads(data)
    except ValueError:
        question = None
    if not isinstance(question, dict):
        raise DaemonError("the daemon did not understand the question", code=2)
    return question


async def _say(stream: trio.SocketStream, line: Document) -> None:
    await stream.send_all(json.dumps(line).encode() + b"\n")


# --- the commands' end ---------------------------------------------------------------------------


def ask(
    path: Path, command: str, /, *, silence: float = SILENCE_SECONDS, **arguments: object
) -> Iterator[Document]:
    """The lines of the daemon's answer, as they come.

    `silence`: seconds that the daemon may take for each. Raises `DaemonError`, `Forbidden` for a
    daemon of another user, `NotFound` when nobody listens.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(silence)
            with _short(path) as name:
                stream.connect(name)
            stream.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with stream.makefile("rb") as lines:
                for line in lines:
                    yield _accepted(json.loads(line))
    except TimeoutError:
        raise DaemonError(
            f"the daemon has not answered {command} for {silence:g} s",
            remedy="It hangs, or is very busy: try again, and look into its log.",
        ) from None
    except PermissionError:
        raise Forbidden(
            f"the daemon belongs to another user: {path} may not be used",
            remedy="Run the command as that user, or as root.",
        ) from None
    except (FileNotFoundError, ConnectionError):
        raise NotFound(
            f"no daemon listens at {path}", remedy="It has ended, or is about to."
        ) from None


def _accepted(line: Document) -> Document:
    if "error" in line:
        raise DaemonError(line["error"], line.get("remedy", ""), line.get("exit_code", 1))
    return line


def ask_once(
    path: Path, command: str, /, *, silence: float = SILENCE_SECONDS, **arguments: object
) -> Document:
    """The answer of a command that has one line. Raises what `ask` raises."""
    for line in ask(path, command, silence=silence, **arguments):
        return line
    raise DaemonError(f"the daemon hung up on {command}", remedy="Look into its log.")


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Another name of the socket, since a socket's may have 107 bytes only (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
