"""What `objfs status` and `objfs pending` show to a person: how it is, what is wrong, what to do.

A name in a bucket may hold anything, escape sequences for a terminal among it: `shown` is the only
way for one to get on the screen.
"""

import shlex
from collections.abc import Iterator

from rich.text import Text

from objfs.cli.values import human
from objfs.control import Document

WORDS = {
    "failing": "failing",
    "sending": "being uploaded",
    "waiting": "waiting for its turn",
    "writing": "open, not closed yet",
}
LISTED = 20
"""Drafts that are shown before "and N more"."""


def shown(text: str) -> str:
    """The text with whatever could move a cursor, or break a line, written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def span(seconds: float) -> str:
    """Seconds for people: `5 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = round(seconds)
    for size, unit, small, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {name}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"  # noqa: PLR2004


def draft_line(draft: Document, mountpoint: str = "") -> str:
    """One draft in one line: path, size, what it does, tries, the next try, the last error."""
    parts = [human(draft["bytes"]), WORDS[draft["state"]]]
    if draft["tries"]:
        parts.append(f"{draft['tries']} tries" if draft["tries"] > 1 else "1 try")
    if draft["next_try"] is not None:
        parts.append(f"next in {span(draft['next_try'])}")
    elif draft["state"] == "failing":
        parts.append("being tried now")
    line = f"{shown(mountpoint.rstrip('/') + draft['path'])}  ({', '.join(parts)})"
    return f"{line}: {shown(draft['error'])}" if draft["error"] else line


def of_mount(status: Document) -> Iterator[Text]:
    """The lines about one mount that answers."""
    up = status["uploads"]
    yield Text.assemble(
        (shown(status["mountpoint"]), "bold"),
        f"  {shown(status['url'])}",
        "  (unmounted, ends when all is uploaded)" if status["unmounted"] else "",
    )
    yield Text(f"  daemon   process {status['pid']}, up {span(status['uptime'])}")
    cache = status["cache"]
    yield Text(
        f"  cache    {human(cache['clean'])} clean, {human(cache['dirty'])} not uploaded,"
        f" of {human(cache['limit'])}, in {shown(cache['folder'])}"
    )
    asked = status["requests"]
    most = ", ".join(f"{n} {name}" for name, n in sorted(asked.items(), key=lambda i: -i[1]))
    traffic = status["traffic"]
    yield Text(
        f"  store    {human(traffic['in'])} in, {human(traffic['out'])} out,"
        f" {sum(asked.values())} requests" + (f" ({most})" if most else "")
    )
    if status.get("refused"):
        yield Text(f"  the credentials are refused: {shown(status['refused'])}", style="red")
    ahead = status.get("ahead", {})
    if ahead.get("fetched"):
        yield Text(
            f"  ahead    {ahead['fetched']} small files fetched before they were opened"
            f" ({human(ahead['bytes'])}), {ahead['unused']} of them for nothing"
        )
    counts = [f"{up[state]} {WORDS[state]}" for state in WORDS if up[state]]
    yield Text.assemble(
        "  uploads  ",
        (", ".join(counts) + f" ({human(up['bytes'])})", "red" if up["failing"] else "")
        if counts
        else ("all is stored", "green"),
    )
    yield from _drafts(status)
    yield from _conflicts(status)
    if up["failing"]:
        yield from _remedy(status)


def _drafts(status: Document) -> Iterator[Text]:
    drafts = status["drafts"]
    for draft in drafts[:LISTED]:
        failing = draft["state"] == "failing"
        line = draft_line({**draft, "error": ""}, status["mountpoint"])
        yield Text(f"    {line}", style="red" if failing else "")
        if draft["error"]:
            yield Text(f"      {shown(draft['error'])}")
    if len(drafts) > LISTED:
        yield Text(f"    and {len(drafts) - LISTED} more: objfs pending lists them")


def _conflicts(status: Document) -> Iterator[Text]:
    copies = status["conflicts"]
    if copies:
        yield Text(
            "  conflict copies: these files were changed elsewhere at the same time; compare them"
            " with the originals, and remove them",
            style="yellow",
        )
        for path in copies[-LISTED:]:
            yield Text(f"    {shown(status['mountpoint'].rstrip('/') + path)}")


def _remedy(status: Document) -> Iterator[Text]:
    draft = next(draft for draft in status["drafts"] if draft["state"] == "failing")
    path = shlex.quote(status["mountpoint"].rstrip("/") + draft["path"])
    top = shlex.quote(status["mountpoint"])
    yield Text("  What to do", style="bold")
    yield Text(
        "    Nothing is lost: the bytes are in the cache folder, also after a crash, and are tried"
        " again until they are stored."
    )
    for command, what in {
        f"objfs retry {top}": "try all now, once the cause is mended",
        f"objfs export {path} DEST": "get a copy out",
        f"objfs discard {path}": "give up what was written there",
    }.items():
        yield Text.assemble("    ", (shown(command), "bold"), f"   {what}")


def of_silent(mountpoint: str, url: str, problem: str) -> Iterator[Text]:
    """The lines about a mount whose daemon does not answer."""
    yield Text.assemble((shown(mountpoint), "bold"), f"  {shown(url)}")
    yield Text(f"  {shown(problem)}", style="red")
