"""`objfs doctor`: what a store is, from here: reachable, as whom, how fast, and what holds there.

Everything is asked through the driver that a mount would use. What is written lies under a random
prefix and is removed at the end, on Ctrl-C and SIGTERM too.
"""

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from objfs.cli.flags import STORE, WithOptions, with_options
from objfs.cli.report import shown
from objfs.cli.settings import resolve
from objfs.cli.values import human
from objfs.config import StoreConfig
from objfs.errors import ObjfsError
from objfs.store import open_store
from objfs.store.base import Driver
from objfs.store.guarantees import Finding, Verdict, believe, examine, markdown_head, markdown_row
from objfs.store.insight import Insight, open_insight
from objfs.store.scratch import Scratch
from objfs.store.speed import latency, throughput

_STYLES: Final = {"yes": "green", "no": "bold red", "not known": "yellow"}
_SHOWN_BUCKETS: Final = 20

Document = dict[str, Any]


@click.command(cls=WithOptions)
@click.argument("url")
@with_options(STORE, also=("read-only",))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", is_flag=True, help="Print the row of the README's table.")
@click.pass_context
def doctor(ctx: click.Context, /, url: str, *, as_json: bool, markdown: bool, **_: object) -> int:
    """Try out what the store at URL keeps of what a mount relies on, and how fast it is.

    Writes some 20 MiB under URL/objfs-doctor-…/, and removes them; nothing with --read-only,
    and nothing where URL names no bucket.

    \b
    --json: {"ok": no guarantee is missing, "url", "where", "who", …}, with
      latency       head, list (seconds)
      throughput    small_put, small_get (seconds), large_put, large_get (bytes/s), large (bytes);
                    null where nothing was written
      versions      on, off, suspended, or "" where that is not known
      guarantees    list of name, title, verdict (yes, no, not known), detail, means
      buckets       names, where URL names none
      left          keys that could not be removed
    Exit code 1 when a guarantee is missing: a mount works, with the window that is told.
    """  # noqa: D301  # \b is click's
    config = resolve(url, "", ctx.obj)
    with contextlib.closing(open_store(config.store)) as driver:
        driver.check()
        with contextlib.closing(open_insight(config.store)) as insight, _terminable():
            document, findings = _examined(
                config.store, driver, insight, read_only=config.mount.read_only
            )
    if as_json:
        click.echo(json.dumps(document))
    elif markdown and findings:
        click.echo(f"{markdown_head()}\n{markdown_row(url, findings)}")
    else:
        _show(document)
    return 0 if document["ok"] else 1


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does: what was written is removed first."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is done now; none where nobody looks."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status("asking") as status:
        yield status.update


def _examined(
    config: StoreConfig, driver: Driver, insight: Insight, *, read_only: bool
) -> tuple[Document, list[Finding]]:
    document: Document = {
        "url": config.url,
        "where": _asked(insight.where),
        "who": _asked(insight.who),
        "latency": asdict(latency(driver, config.prefix, objects=not config.whole_account)),
        "throughput": None,
        "versions": "" if config.whole_account else _asked(insight.versions),
        "left": [],
    }
    findings: list[Finding] = []
    if config.whole_account:
        document["buckets"] = _buckets(driver)
    elif read_only:
        findings = believe(driver.capabilities)
    else:
        findings = _tried(config, driver, insight, document)
    document["guarantees"] = [
        {
            "name": finding.guarantee.name,
            "title": finding.guarantee.title,
            "verdict": finding.verdict.value,
            "detail": finding.detail,
            "means": finding.means,
        }
        for finding in findings
    ]
    missing = any(finding.verdict is Verdict.NO for finding in findings)
    return {"ok": not missing and not document["left"], **document}, findings


def _tried(
    config: StoreConfig, driver: Driver, insight: Insight, document: Document
) -> list[Finding]:
    scratch = Scratch(driver, config.prefix)
    try:
        with _progress() as tell, insight.around(), scratch:
            findings = examine(scratch, insight, tell)
            if findings[0].verdict is Verdict.YES:
                tell("throughput")
                try:
                    document["throughput"] = asdict(throughput(scratch))
                except ObjfsError as error:
                    document["throughput_error"] = str(error)
    finally:
        if scratch.left:
            keys = ", ".join(shown(key) for key in scratch.left[:_SHOWN_BUCKETS])
            click.echo(f"objfs: these could not be removed, please do: {keys}", err=True)
    document["left"] = scratch.left
    return findings


def _asked(question: Callable[[], str]) -> str:
    """An answer that is nice to have: "" where it is refused."""
    try:
        return question()
    except ObjfsError:
        return ""


def _buckets(driver: Driver) -> list[str]:
    names: list[str] = []
    token = ""
    while True:
        page = driver.list_page("", delimiter="/", token=token)
        names += [prefix.removesuffix("/") for prefix in page.prefixes]
        token = page.token
        if not token:
            return names


# --- for people ----------------------------------------------------------------------------------


def _show(document: Document) -> None:
    console = Console(highlight=False)
    for line in _head(document):
        console.print(line, soft_wrap=True)
    if not document["guarantees"]:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("guarantee", "here", ""):
        table.add_column(title, no_wrap=bool(title))
    for one in document["guarantees"]:
        verdict = Text(one["verdict"], style=_STYLES[one["verdict"]])
        table.add_row(one["title"], verdict, Text(shown(one["detail"])))
    console.print()
    console.print(table)
    missing = [one for one in document["guarantees"] if one["means"]]
    if missing:
        console.print(Text("\nWhat is missing, for a mount", style="bold"))
    for one in missing:
        console.print(Text(f"  {one['title']}: {one['means']}"), soft_wrap=True)


def _head(document: Document) -> Iterator[Text]:
    yield Text(shown(document["url"]), style="bold")
    yield Text(f"  reached     {shown(document['where'] or 'yes')}")
    yield Text(f"  as          {shown(document['who'] or 'not known')}")
    times = document["latency"]
    asked = [f"{name.upper()} {_ms(times[name])}" for name in ("head", "list") if times[name]]
    yield Text(f"  latency     {', '.join(asked)}")
    if speed := document["throughput"]:
        yield Text(
            f"  throughput  16 KiB: PUT {_ms(speed['small_put'])}, GET {_ms(speed['small_get'])};"
            f" {human(speed['large'])}: PUT {human(round(speed['large_put']))}/s,"
            f" GET {human(round(speed['large_get']))}/s"
        )
    elif "throughput_error" in document:
        yield Text(f"  throughput  {shown(document['throughput_error'])}")
    if "buckets" in document:
        yield Text(f"  buckets     {_some(document['buckets'])}")
    else:
        yield Text(f"  versions    {document['versions'] or 'not known'}")


def _some(names: Sequence[str]) -> str:
    told = ", ".join(shown(name) for name in names[:_SHOWN_BUCKETS]) or "none"
    more = len(names) - _SHOWN_BUCKETS
    return f"{told}, and {more} more" if more > 0 else told


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
