"""The commands that ask a daemon which runs: status, pending, retry, discard, drain, refresh.

A PATH is one inside a mount, absolute or relative to the working directory.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from objfs import control
from objfs.cli import report
from objfs.cli.places import Place, every_place, ours, place_at, place_of, unknown
from objfs.cli.values import human, parse_duration
from objfs.control import Document
from objfs.errors import NotFound, ObjfsError, UsageError

WATCH_SECONDS = 1.0
LONG = 300.0
"""Seconds that a daemon may take where the store is asked, or an upload has to end first."""


def duration(text: str) -> float:
    """The seconds of a --timeout. Raises `UsageError`."""
    try:
        return parse_duration(text)
    except ValueError:
        raise UsageError(
            f"timeout = {text!r} (--timeout) is wrong: expected a time such as 60, 90s or 5m"
        ) from None


def _print(value: object) -> None:
    click.echo(json.dumps(value))


# --- status --------------------------------------------------------------------------------------


@click.command()
@click.argument("mountpoint", required=False)
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (a line each second).")
def status(mountpoint: str | None, *, watch: bool, as_json: bool) -> int:
    """Show how all mounts, or the one at MOUNTPOINT, do: uploads, errors, cache, traffic.

    \b
    --json: {"ok": all answer, "mounts": [...]}, each mount with
      mountpoint, url, pid, log   what it is
      error                       only when its daemon does not answer, with nothing below
      unmounted                   true while it only uploads what is left
      uptime                      seconds
      cache                       folder, limit, clean, dirty (bytes; dirty is not uploaded)
      uploads                     bytes in all; failing, sending, waiting, writing (counts)
      drafts                      as objfs pending --json
      conflicts                   paths below the mount of copies kept on a conflict
      requests                    number by operation
      ahead                       small files fetched before they were opened: fetched (count),
                                  bytes; used, unused (counts of those opened, and not)
      traffic                     in, out (bytes)
    Exit code 1 when a daemon does not answer.
    """  # noqa: D301  # \b is click's
    while True:
        found = list(_statuses(mountpoint))
        ok = not any("error" in one for one in found)
        if as_json:
            _print({"ok": ok, "mounts": found})
            sys.stdout.flush()
        elif watch and sys.stdout.isatty():
            return _watched(mountpoint)
        else:
            _console().print(_told(found), soft_wrap=True)
        if not watch:
            return 0 if ok else 1
        time.sleep(WATCH_SECONDS)


def _watched(mountpoint: str | None) -> int:
    with Live(console=_console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_told(list(_statuses(mountpoint))), refresh=True)
            time.sleep(WATCH_SECONDS)


def _console() -> Console:
    return Console(highlight=False)


def _statuses(mountpoint: str | None) -> Iterator[dict[str, Any]]:
    places = [place_at(mountpoint)] if mountpoint else every_place()
    for place in places:
        yield _status(place)
    if not mountpoint:
        asked = {place.mountpoint for place in places}
        for path, mounted in ours().items():
            if path not in asked:
                yield {"mountpoint": path, "url": mounted.source, "error": unknown(mounted)}


def _status(place: Place) -> dict[str, Any]:
    record = place.record
    about = {"mountpoint": place.mountpoint, "url": record.url, "pid": record.pid}
    about["log"] = record.log
    if not place.alive:
        error = (
            f"its daemon (process {record.pid}) is dead. What it had not uploaded is in its cache"
            f" folder: `objfs export --all DEST --cache-dir {record.cache}` copies it out,"
            f" `fusermount3 -uz {place.mountpoint}` and the same objfs mount as before upload it"
        )
        return {**about, "error": error}
    try:
        return {**about, **control.ask_once(place.socket, "status")}
    except ObjfsError as error:
        return {**about, "error": str(error)}


def _told(found: list[dict[str, Any]]) -> Group:
    lines: list[Text] = []
    for one in found:
        lines += [Text()] if lines else []
        if "error" in one:
            lines += report.of_silent(one["mountpoint"], one["url"], one["error"])
        else:
            lines += report.of_mount(one)
    return Group(*lines) if lines else Group(Text("no mounts of objfs"))


# --- pending, retry, discard, refresh ------------------------------------------------------------


@click.command()
@click.argument("mountpoint", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def pending(mountpoint: str | None, *, as_json: bool) -> int:
    """List what is not stored yet, one line for each draft, in all mounts or at MOUNTPOINT.

    \b
    --json: {"ok": true, "drafts": [...]}, each draft with
      mountpoint, path            where it is (path: below the mount, with a leading /)
      key, number                 its key below the mount's prefix; its file's name in the spool
      bytes                       its size
      state                       failing, sending, waiting, or writing (no program closed it yet)
      tries, error, next_try      tries so far, what the last met, seconds to the next (null: now)
    """  # noqa: D301  # \b is click's
    drafts: list[Document] = []
    for place in [_living(place_at(mountpoint))] if mountpoint else every_place():
        if place.alive:
            answer = control.ask_once(place.socket, "pending")
            drafts += [{"mountpoint": place.mountpoint, **draft} for draft in answer["drafts"]]
    if as_json:
        _print({"ok": True, "drafts": drafts})
    else:
        for draft in drafts:
            click.echo(report.draft_line(draft, draft["mountpoint"]))
    return 0


@click.command()
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help='Print {"ok": true, "asked": uploads}.')
def retry(path: str | None, *, as_json: bool) -> int:
    """Try the uploads at or below PATH (or all) now instead of at their time."""
    targets = [place_of(path)] if path else [(place, "/") for place in every_place()]
    asked = 0
    for place, inside in targets:
        if path:
            _living(place)
        if place.alive:
            asked += control.ask_once(place.socket, "retry", path=inside)["asked"]
    if as_json:
        _print({"ok": True, "asked": asked})
    else:
        uploads = "1 upload is" if asked == 1 else f"{asked} uploads are"
        click.echo(f"{uploads} tried now; objfs status shows what comes of it")
    return 0


@click.command()
@click.argument("path")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help='Print {"ok": true, "path", "bytes"}.')
def discard(path: str, *, yes: bool, as_json: bool) -> int:
    """Give up what was written to PATH and is not stored.

    The file then shows what the store has, or is gone if it has nothing.
    """
    place, inside = place_of(path)
    drafts = control.ask_once(_living(place).socket, "pending", path=inside)["drafts"]
    drafts = [draft for draft in drafts if draft["path"] == inside]
    if drafts and not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                f"{report.shown(path)} would be lost, and nobody can be asked",
                remedy="Give --yes to discard it.",
            )
        size = human(sum(draft["bytes"] for draft in drafts))
        click.confirm(f"Lose {size} written to {report.shown(path)}, for good?", abort=True)
    answer = control.ask_once(place.socket, "discard", path=inside, silence=LONG)
    if as_json:
        _print({"ok": True, **answer})
    else:
        click.echo(f"{report.shown(path)}: {human(answer['bytes'])} discarded")
    return 0


@click.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help='Print {"ok": true, "path", "exists"}.')
def refresh(path: str, *, as_json: bool) -> int:
    """Ask the store about PATH now: what others changed there is visible when this returns.

    For a directory this lists it, and every directory below it that was looked at before.
    """
    place, inside = place_of(path)
    answer = control.ask_once(_living(place).socket, "refresh", path=inside, silence=LONG)
    if as_json:
        _print({"ok": True, **answer})
    elif not answer["exists"]:
        click.echo(f"{report.shown(path)}: the store has nothing of that name")
    return 0


def _living(place: Place) -> Place:
    """The place, if its daemon runs. Raises `NotFound` with what to do instead."""
    if not place.alive:
        raise NotFound(
            f"the daemon of {place.mountpoint} is dead",
            remedy=f"Its files are in {place.record.cache}: objfs export saves them, and the next"
            " mount with that --cache-dir uploads them.",
        )
    return place


# --- drain ---------------------------------------------------------------------------------------


@click.command()
@click.argument("mountpoint", required=False)
@click.option(
    "--timeout", metavar="TIME", default="300", show_default=True,
    help="How long to wait in all; uploads go on afterwards.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help='Print {"ok", "drafts": what is left}.')
def drain(mountpoint: str | None, timeout: str, *, as_json: bool) -> int:
    """Wait until everything that was closed is in the store, in all mounts or at MOUNTPOINT.

    Uploads that wait after a failure are tried at once, and every ten seconds. Exit code 1, with
    the list of what is left, when the time is over.
    """
    seconds = duration(timeout)
    end = time.monotonic() + seconds
    left: list[Document] = []
    for place in [_living(place_at(mountpoint))] if mountpoint else every_place():
        if place.alive:
            drafts = _drained(place, max(0.0, end - time.monotonic()))
            left += [{"mountpoint": place.mountpoint, **draft} for draft in drafts]
    if as_json:
        _print({"ok": not left, "drafts": left})
    if left:
        click.echo(f"objfs: not stored after {seconds:g} s; the uploads go on:", err=True)
        for draft in left:
            click.echo(f"  {report.draft_line(draft, draft['mountpoint'])}", err=True)
    return 1 if left else 0


def _drained(place: Place, seconds: float) -> list[Document]:
    with Bar() as bar:
        for line in control.ask(place.socket, "drain", seconds=seconds):
            if "done" in line:
                return list(line["drafts"])
            bar.left(line["files"], line["bytes"])
    raise NotFound(f"the daemon of {place.mountpoint} ended", remedy="See objfs status.")


class Bar:
    """A progress bar of uploads on stderr, nothing where that is no terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("uploading", total=None)
        self._most = 0

    def __enter__(self) -> Self:
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress.console.is_terminal:
            self._progress.stop()

    def left(self, files: int, count: int) -> None:
        """So much is not stored yet. The whole is the most that there ever was."""
        self._most = max(self._most, count)
        words = f"{files} files left, {human(count)}" if files else "ending"
        self._progress.update(
            self._task, description=words, total=self._most or None, completed=self._most - count
        )


COMMANDS = (status, pending, retry, discard, refresh, drain)
