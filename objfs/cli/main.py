"""The `objfs` command: verbs, help, and the one place that turns an error into an exit code."""

import difflib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final, NoReturn

import click

from objfs import __version__
from objfs.cli import mount as mounting
from objfs.cli import umount as unmounting
from objfs.cli.buckets import BUCKETS
from objfs.cli.commands import COMMANDS, Bar, duration
from objfs.cli.doctor import doctor
from objfs.cli.export import export
from objfs.cli.flags import WithOptions, with_options
from objfs.cli.metadata import meta
from objfs.cli.publishing import PUBLISHING
from objfs.cli.settings import resolve
from objfs.cli.umount import Outcome
from objfs.cli.values import human
from objfs.errors import ObjfsError, UsageError
from objfs.runtime import Left

EXIT_CODES: Final[Mapping[int, str]] = {
    0: "done",
    1: "failed, or files are not uploaded, or (doctor) a guarantee is missing",
    2: "wrong usage: option, URL or configuration file",
    3: "no such bucket",
    4: "access denied, or missing or wrong credentials",
    5: "the endpoint cannot be reached",
    6: "the mountpoint cannot be used",
    7: "the cache folder is in use by another mount",
    8: "FUSE is missing (/dev/fuse, fusermount3)",
    9: "the journal of drafts is damaged, or of a newer objfs",
}
_INTERRUPTED = 130

_EXAMPLES = """\
\b
Examples:
  objfs mount s3://photos ~/photos
  objfs mount s3://photos/2026 /mnt --read-only --cache-size 50GiB
  objfs mount s3://data /mnt --endpoint-url https://minio.lan:9000
  objfs mount file:///srv/objects /mnt
  objfs umount /mnt
\b
In /etc/fstab:
  s3://photos  /mnt/photos  fuse.objfs  _netdev,allow_other,cache_size=50GiB  0 0
"""

_CREDENTIALS = """\
\b
Credentials are never options. They come from where the AWS tools take them:
  AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN),
  ~/.aws/credentials and ~/.aws/config (--profile), SSO, or the machine's role.
"""

_CONFIGURATION = """\
\b
An option that is not given is looked up in the environment (--cache-size is
OBJFS_CACHE_SIZE), then in ~/.config/objfs/config.toml (cache-size = "50GiB").
"""

_CODES = "\b\nExit codes:\n" + "".join(f"  {code}  {text}\n" for code, text in EXIT_CODES.items())


class _Verbs(click.Group):
    """Commands; without a verb a URL means mount, which is how mount(8) calls its helpers."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in self.commands and any("://" in arg for arg in args):
            args = ["mount", *args]
        elif first and not first.startswith("-") and first not in self.commands:
            near = difflib.get_close_matches(first, list(self.commands), n=1)
            raise UsageError(
                f"{first!r} is neither a command nor a URL",
                remedy=f"Did you mean {near[0]}?" if near else "See objfs --help.",
            )
        return super().parse_args(ctx, args)


_NAMES: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    cls=_Verbs,
    context_settings=_NAMES,
    epilog=f"{_EXAMPLES}\n{_CREDENTIALS}\n{_CONFIGURATION}\n{_CODES}",
)
@click.version_option(__version__, prog_name="objfs", message="%(prog)s %(version)s")
def cli() -> None:
    """Mount object storage as a drive.

    `objfs URL MOUNTPOINT` without a verb means mount.
    """


@cli.command(cls=WithOptions, epilog=f"{_EXAMPLES}\n{_CREDENTIALS}\n{_CONFIGURATION}\n{_CODES}")
@click.argument("url")
@click.argument("mountpoint")
@with_options()
@click.option(
    "-o", "words", multiple=True, metavar="OPT[,OPT]",
    help="Options as in fstab: read_only (or ro), cache_size=50GiB. Later ones win.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("-n", "ignored_n", is_flag=True, hidden=True)
@click.option("-s", "ignored_s", is_flag=True, hidden=True)
@click.option("-v", "ignored_v", is_flag=True, hidden=True)
@click.pass_context
def mount(ctx: click.Context, /, url: str, mountpoint: str, *, as_json: bool, **_: object) -> int:
    """Mount URL at the empty folder MOUNTPOINT, in the background.

    URL is s3://BUCKET[/PREFIX], file:///FOLDER[/PREFIX] or mem:// (gone with the mount).
    The command returns when the mount answers, or within 15 seconds with what is wrong.
    """
    config = resolve(url, mountpoint, ctx.obj)
    mounting.check(config)

    def tell(started: mounting.Started) -> None:
        if as_json:
            click.echo(json.dumps({"ok": True, **asdict(started)}))
        elif sys.stdout.isatty():
            click.echo(f"{started.url} is mounted at {started.mountpoint}")

    if config.foreground:
        return mounting.serve_here(config, tell)
    tell(mounting.start(config))
    return 0


@cli.command(epilog=_CODES)
@click.argument("mountpoint")
@click.option(
    "--timeout", metavar="TIME", default="300", show_default=True,
    help="How long to wait for uploads; they go on afterwards.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def umount(mountpoint: str, timeout: str, *, as_json: bool) -> int:
    """Unmount MOUNTPOINT and wait until everything that was written is in the store."""
    seconds = duration(timeout)
    with Bar() as bar:

        def progress(left: Sequence[Left]) -> None:
            bar.left(len(left), sum(item.bytes for item in left))

        outcome = unmounting.umount(mountpoint, seconds, progress)
    if as_json:
        click.echo(json.dumps({"ok": not outcome.problem, **asdict(outcome)}))
    if outcome.problem:
        _complain(outcome)
    return 1 if outcome.problem else 0


for command in (*COMMANDS, export, doctor, *BUCKETS, *PUBLISHING, meta):
    cli.add_command(command)


def _complain(outcome: Outcome) -> None:
    click.echo(f"objfs: {outcome.mountpoint} is unmounted, but {outcome.problem}", err=True)
    for item in outcome.left:
        why = f": {item.error}" if item.error else ""
        click.echo(f"  {item.path} ({human(item.bytes)}){why}", err=True)


def run(args: Sequence[str]) -> int:
    """One call of the command; its exit code."""
    as_json = "--json" in args
    try:
        code = cli.main(args=list(args), prog_name="objfs", standalone_mode=False)
    except ObjfsError as error:
        return _fail(error, str(error), error.exit_code, as_json=as_json)
    except click.ClickException as error:
        return _fail(error, _sentence(error), UsageError.exit_code, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except OSError as error:
        return _fail(error, f"{error.filename or 'objfs'}: {error.strerror}", 1, as_json=as_json)
    return code if isinstance(code, int) else 0


def _sentence(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    return message[:1].lower() + message[1:].rstrip(".")


def _fail(error: Exception, message: str, code: int, *, as_json: bool) -> int:
    if os.environ.get("OBJFS_DEBUG", "0") not in {"", "0"}:
        sys.excepthook(type(error), error, error.__traceback__)
    if as_json:
        click.echo(json.dumps({"ok": False, "error": message, "exit_code": code}))
    click.echo(f"objfs: {message}", err=True)
    return code


def main() -> NoReturn:
    """The console script. Any other exception is a defect and keeps its traceback."""
    sys.exit(run(sys.argv[1:]))
