"""`objfs meta get|set|rm`: what the user has written on objects, buckets and accounts."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

import click

from objfs.cli.flags import STORE, WithOptions, with_options
from objfs.cli.report import shown
from objfs.cli.settings import Given
from objfs.cli.target import Target, target_of
from objfs.errors import UsageError

# A field name is a token (RFC 9110 section 5.6.2); S3's tags alone may hold more.
_NAME: Final = re.compile(r"[A-Za-z0-9!#$&'*+.^_`|~-]+")
_URL: Final = click.argument("url", metavar="URL|PATH")
_NAMES: Final = click.argument("names", metavar="KEY...", nargs=-1)


@click.group()
def meta() -> None:
    """Read and change metadata of objects (Swift: containers and accounts too; S3: bucket tags).

    An object keeps its bytes and its other headers. Swift gives names back in lower case.
    """


@meta.command(cls=WithOptions)
@_URL
@_NAMES
@click.option("--json", "as_json", is_flag=True, help='Print {"ok": true, "metadata": {...}}.')
@with_options(STORE)
@click.pass_obj
def get(
    flags: Sequence[Given], /, url: str, names: Sequence[str], *, as_json: bool, **_: object
) -> int:
    """Print KEY=VALUE for all metadata, or for those named. Exit code 1 if one is missing."""
    found = _read(target_of(url, flags))
    asked = {name: found[name] for name in names if name in found} if names else dict(found)
    if as_json:
        click.echo(json.dumps({"ok": len(asked) >= len(set(names)), "metadata": asked}))
    else:
        for name, value in sorted(asked.items()):
            click.echo(f"{shown(name)}={shown(value)}")
    return 0 if len(asked) >= len(set(names)) else 1


@meta.command("set", cls=WithOptions)
@_URL
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1, required=True)
@with_options(STORE)
@click.pass_obj
def set_(flags: Sequence[Given], /, url: str, pairs: Sequence[str], **_: object) -> int:
    """Set metadata; what is not named stays."""
    changed: dict[str, str] = {}
    target = target_of(url, flags)
    for word in pairs:
        name, mark, value = word.partition("=")
        if not mark:
            raise UsageError(f"{word!r} is no metadata", remedy="Write KEY=VALUE.")
        _check(target, name, value)
        changed[name] = value
    _change(target, changed, ())
    return 0


@meta.command(cls=WithOptions)
@_URL
@click.argument("names", metavar="KEY...", nargs=-1, required=True)
@with_options(STORE)
@click.pass_obj
def rm(flags: Sequence[Given], /, url: str, names: Sequence[str], **_: object) -> int:
    """Remove metadata; what is not there is no error."""
    target = target_of(url, flags)
    for name in names:
        _check(target, name, "")
    _change(target, {}, names)
    return 0


def _check(target: Target, name: str, value: str) -> None:
    """Raise `UsageError` for what no header, or tag, can hold."""
    tag = target.config.scheme == "s3" and not target.key
    good = name.isprintable() and bool(name) if tag else _NAME.fullmatch(name)
    if not good:
        raise UsageError(
            f"{shown(name)!r} cannot be a key of metadata",
            remedy="Use letters, digits, - and _.",
        )
    if not value.isprintable():
        raise UsageError(f"the value of {name} holds control characters, which no header can")


def _read(target: Target) -> Mapping[str, str]:
    if target.key:
        with target.driver() as driver:
            return driver.head(target.key).metadata or {}
    with target.sharing() as sharing:
        return sharing.metadata()


def _change(target: Target, changed: Mapping[str, str], removed: Sequence[str]) -> None:
    with target.sharing() as sharing:
        if target.key:
            sharing.set_object_metadata(target.key, changed, removed)
        else:
            sharing.set_metadata(changed, removed)
