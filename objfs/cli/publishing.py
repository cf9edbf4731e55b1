"""The commands that let others read: share, publish, unpublish."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import click

from objfs.cli.flags import STORE, WithOptions, with_options
from objfs.cli.settings import Given
from objfs.cli.target import Target, object_of, target_of
from objfs.cli.values import parse_duration
from objfs.errors import UsageError

_URL: Final = click.argument("url", metavar="URL|PATH")
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command(cls=WithOptions)
@_URL
@click.option(
    "--expires", default="1h", show_default=True, metavar="TIME",
    help="How long the URL is good: 90s, 30m, 1h, 7d.",
)  # fmt: skip
@_JSON
@with_options(STORE)
@click.pass_obj
def share(flags: Sequence[Given], /, url: str, *, expires: str, as_json: bool, **_: object) -> int:
    """Print a URL by which anybody can read one object for a while, without credentials.

    S3: a presigned URL, of at most 7 days, which ends earlier with temporary credentials. Swift: a
    temporary URL, signed with the key of the container or account; if there is none it is made.
    Who has the URL can read; it cannot be taken back alone.
    """
    seconds = _seconds(expires)
    target = object_of(url, flags)
    with target.sharing() as sharing:
        until = int(time.time()) + seconds
        made = sharing.share(target.key, seconds)
    if as_json:
        when = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        click.echo(json.dumps({"ok": True, "url": made, "expires": when}))
    else:
        click.echo(made)
    return 0


def _seconds(text: str) -> int:
    try:
        seconds = int(parse_duration(text))
    except ValueError:
        seconds = 0
    if seconds < 1:
        raise UsageError(
            f"expires = {text!r} (--expires) is wrong: expected a time such as 90s, 1h or 7d"
        )
    return seconds


@click.command(cls=WithOptions)
@_URL
@_JSON
@with_options(STORE)
@click.pass_obj
def publish(flags: Sequence[Given], /, url: str, *, as_json: bool, **_: object) -> int:
    """Let anybody read a bucket, from now on, and print the URL in front of its keys.

    S3: by the bucket's policy, also of a prefix (s3://BUCKET/PREFIX/). Swift: by the container's
    read ACL, of the whole container, and its listing too.
    """
    target = _publishable(url, flags)
    with target.sharing() as sharing:
        where = sharing.publish(target.folder)
    click.echo(json.dumps({"ok": True, "url": where}) if as_json else where)
    return 0


@click.command(cls=WithOptions)
@_URL
@_JSON
@with_options(STORE)
@click.pass_obj
def unpublish(flags: Sequence[Given], /, url: str, *, as_json: bool, **_: object) -> int:
    """Take `objfs publish` back. What was not public is no error."""
    target = _publishable(url, flags)
    with target.sharing() as sharing:
        sharing.unpublish(target.folder)
    if as_json:
        click.echo(json.dumps({"ok": True}))
    return 0


def _publishable(url: str, flags: Sequence[Given]) -> Target:
    target = target_of(url, flags)
    if target.is_account:
        raise UsageError(
            f"{url} is a whole account, which is published bucket by bucket",
            remedy="Write s3://BUCKET or swift://CONTAINER.",
        )
    return target


PUBLISHING: Final = (share, publish, unpublish)
