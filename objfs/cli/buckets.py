"""The commands that look at a store without mounting it: mb, rb, ls, stat, du.

An embedded store is looked at where it is, and made by `mb` only.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from objfs.cli.flags import STORE, WithOptions, with_options
from objfs.cli.report import shown
from objfs.cli.settings import Given
from objfs.cli.target import Target, bucket_of, exists, target_of
from objfs.cli.values import human
from objfs.errors import Exists, NoSuchBucket, NotFound, Unsupported, UsageError
from objfs.store.base import Driver, Usage
from objfs.types import DELIMITER, ObjectInfo, Page

PAGE: Final = 1000
Entry = dict[str, Any]


@click.command(cls=WithOptions)
@click.argument("url")
@with_options(STORE)
@click.pass_obj
def mb(flags: Sequence[Given], /, url: str, **_: object) -> int:
    """Make the bucket (container) URL. One that is there already is no error."""
    target = bucket_of(url, flags)
    with target.account(create=True) as (account, name):
        try:
            account.create_bucket(name)
        except Exists:
            # is it ours, or has somebody else taken the name?
            driver = account.open_bucket(name)
            try:
                driver.check()
            finally:
                driver.close()
    return 0


@click.command(cls=WithOptions)
@click.argument("url")
@with_options(STORE)
@click.pass_obj
def rb(flags: Sequence[Given], /, url: str, **_: object) -> int:
    """Remove the empty bucket (container) URL. One that holds anything is refused."""
    target = bucket_of(url, flags)
    with target.driver() as driver:
        if not exists(driver):
            raise NoSuchBucket(f"rb {url}: no such bucket")
    with target.account() as (account, name):
        account.remove_bucket(name)
    return 0


# --- ls ------------------------------------------------------------------------------------------


@click.command(cls=WithOptions)
@click.argument("url", default="s3://")
@click.option("-r", "--recursive", is_flag=True, help="All objects below, not one level.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N entries.")
@click.option("--after", default="", metavar="KEY", help="Begin behind this key of the bucket.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each entry.")
@with_options(STORE)
@click.pass_obj
def ls(  # its options
    flags: Sequence[Given],
    /,
    url: str,
    *,
    recursive: bool,
    limit: int | None,
    after: str,
    as_json: bool,
    **_: object,
) -> int:
    """List buckets (s3://, swift://), or what is at URL, which may be a path below a mount.

    \b
    --json: a line for each entry, with
      kind        bucket, prefix (a folder) or object
      name        of a bucket; key of the others, from the bucket's top
      size, etag  of an object, in bytes
      modified    of an object, or of a bucket where the store tells (UTC)
    """  # noqa: D301  # \b is click's
    target = target_of(url, flags)
    for entry in _listed(target, recursive=recursive, limit=limit, after=after):
        click.echo(json.dumps(entry) if as_json else _line(entry))
    return 0


def _listed(target: Target, *, recursive: bool, limit: int | None, after: str) -> Iterator[Entry]:
    entries = (
        _of_account(target, recursive=recursive, after=after)
        if target.is_account
        else (_of_bucket(target, recursive=recursive, after=after, limit=limit))
    )
    for number, entry in enumerate(entries, 1):
        yield entry
        if number == limit:
            return


def _of_account(target: Target, *, recursive: bool, after: str) -> Iterator[Entry]:
    if recursive and after:
        raise UsageError(
            "ls --after takes a key of one bucket", remedy="Name the bucket: s3://BUCKET."
        )
    with target.account() as (account, _):
        found = sorted(account.buckets(), key=lambda bucket: bucket.name.encode())
    for bucket in found:
        if bucket.name.encode() <= after.encode():
            continue
        yield {"kind": "bucket", "name": bucket.name, **_modified(bucket.born_ns)}
        if recursive:
            inside = _of_bucket(target.bucket(bucket.name), recursive=True, after="", limit=None)
            yield from ({**entry, "bucket": bucket.name} for entry in inside)


def _of_bucket(
    target: Target, *, recursive: bool, after: str, limit: int | None
) -> Iterator[Entry]:
    found = False
    with target.driver() as driver:
        delimiter = "" if recursive else DELIMITER
        for page in pages(driver, target.folder, delimiter, after, min(limit or PAGE, PAGE)):
            both = [(prefix, {"kind": "prefix", "key": prefix}) for prefix in page.prefixes]
            both += [(info.key, _entry(info)) for info in page.objects]
            for _, entry in sorted(both, key=lambda one: one[0].encode()):
                found = True
                yield entry
        if not found and target.key and not after:
            yield _entry(driver.head(target.key))


def pages(driver: Driver, prefix: str, delimiter: str, after: str, limit: int) -> Iterator[Page]:
    """All pages of a listing."""
    page = driver.list_page(prefix, delimiter=delimiter, after=after, limit=limit)
    yield page
    while page.token:
        page = driver.list_page(prefix, delimiter=delimiter, token=page.token, limit=limit)
        yield page


def _entry(info: ObjectInfo) -> Entry:
    entry = {"kind": "object", "key": info.key, "size": info.size, "etag": info.etag}
    return {**entry, **_modified(info.mtime_ns)}


def _modified(ns: int) -> dict[str, str]:
    if not ns:
        return {}
    return {"modified": datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _line(entry: Entry) -> str:
    kind = entry["kind"]
    name = entry["name"] if kind == "bucket" else entry["key"]
    if "bucket" in entry:
        name = f"{entry['bucket']}/{name}"
    size = str(entry["size"]) if kind == "object" else kind
    return f"{entry.get('modified', ''):20}  {size:>14}  {shown(name)}"


# --- stat, du ------------------------------------------------------------------------------------


@click.command(cls=WithOptions)
@click.argument("url", metavar="URL|PATH")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options(STORE)
@click.pass_obj
def stat(flags: Sequence[Given], /, url: str, *, as_json: bool, **_: object) -> int:
    """Show the facts of an object, a bucket or an account. Exit code 1 if there is no such object.

    Totals of buckets and accounts are the store's own, where it keeps some (Swift does).
    """
    target = target_of(url, flags)
    facts = _object_facts(target) if target.key else _bucket_facts(target)
    if as_json:
        click.echo(json.dumps({"ok": True, **facts}))
        return 0
    for name, value in facts.items():
        if isinstance(value, dict):
            for key, text in value.items():
                click.echo(f"{name + ' ' + shown(key):20}  {shown(text)}")
        else:
            click.echo(f"{name:20}  {shown(str(value))}")
    return 0


def _object_facts(target: Target) -> Entry:
    with target.driver() as driver:
        try:
            info = driver.head(target.key)
        except NotFound:
            page = driver.list_page(target.folder, limit=1)
            if not page.objects:
                raise
            return {"url": target.url(target.folder), "kind": "prefix"}
    facts: Entry = {"url": target.url(info.key), **_entry(info)}
    facts["content_type"] = info.content_type or ""
    if info.storage_class:
        facts["storage_class"] = info.storage_class
    return {**facts, "metadata": dict(info.metadata or {})}


def _bucket_facts(target: Target) -> Entry:
    facts: Entry = {"url": target.config.url}
    facts["kind"] = "account" if target.is_account else "bucket"
    with target.driver() as driver:
        driver.check()
        usage = driver.usage()
    if target.is_account:
        with target.account() as (account, _):
            facts["buckets"] = len(account.buckets())
    if usage:
        facts |= {"bytes": usage.bytes, "objects": usage.objects}
    with target.sharing() as sharing:
        try:
            facts["metadata"] = dict(sharing.metadata())
        except Unsupported:
            facts["metadata"] = {}
    return facts


@click.command(cls=WithOptions)
@click.argument("url", metavar="URL|PATH")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options(STORE)
@click.pass_obj
def du(flags: Sequence[Given], /, url: str, *, as_json: bool, **_: object) -> int:
    """Count the bytes and objects at URL, which may be a path below a mount.

    Of a whole bucket or account it asks the store's own totals, where it keeps some (Swift's may
    lag behind by seconds); anything else is counted by a listing.
    """
    target = target_of(url, flags)
    usage = _used(target)
    if as_json:
        told = {"url": url, "bytes": usage.bytes, "objects": usage.objects}
        click.echo(json.dumps({"ok": True, **told}))
    else:
        click.echo(f"{usage.bytes} bytes ({human(usage.bytes)}) in {usage.objects} objects")
    return 0


def _used(target: Target) -> Usage:
    if not target.key:
        with target.driver() as driver:
            driver.check()
            known = driver.usage()
        if known:
            return known
    if target.is_account:
        with target.account() as (account, _):
            names = [bucket.name for bucket in account.buckets()]
        each = [_used(target.bucket(name)) for name in names]
        return Usage(sum(one.bytes for one in each), sum(one.objects for one in each))
    size = count = 0
    with target.driver() as driver:
        for page in pages(driver, target.folder, "", "", PAGE):
            size += sum(info.size for info in page.objects)
            count += len(page.objects)
        if not count and target.key:
            return Usage(driver.head(target.key).size, 1)
    return Usage(size, count)


BUCKETS: Final = (mb, rb, ls, stat, du)
