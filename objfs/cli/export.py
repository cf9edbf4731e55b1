"""`objfs export`: copy what is not stored out of a cache folder, with or without its daemon."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from objfs.cache import salvage
from objfs.cache.salvage import Found, Salvage
from objfs.cli.places import every_place, place_of
from objfs.cli.report import shown
from objfs.cli.values import human
from objfs.errors import InvalidName, NameTooLong, NotFound, UsageError
from objfs.tree.keys import name_of
from objfs.types import DELIMITER


@dataclass(frozen=True, slots=True)
class Job:
    """One file to save. `path` is that below the mount, "" for a draft whose name is lost."""

    draft: Found
    path: str
    target: Path


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[PATH] DEST")
@click.option("--all", "everything", is_flag=True, help="Everything that is not stored; no PATH.")
@click.option(
    "--cache-dir", metavar="DIR",
    help="The cache folder to save from; PATH is then one below the mount, such as /a/b.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export(
    words: tuple[str, ...], cache_dir: str | None, *, everything: bool, as_json: bool
) -> int:
    """Copy what is not stored yet at PATH (or --all of it) to DEST.

    Works when the daemon is dead, too, straight from the cache folder, and takes nothing away from
    it. A file goes to DEST, or into it if that is a folder; a directory's files go below DEST.
    Drafts whose name is unknown (no program closed them, or the journal is damaged) are saved by
    --all as DEST/draft-NUMBER. A file that exists is never overwritten.

    \b
    --json: {"ok", "problem": what is wrong with the journal, "saved": [...], "failed": [...]},
      each with path (below the mount, "" if unknown), bytes, to; those that failed with error
    Exit code 1 when something could not be saved.
    """  # noqa: D301  # \b is click's
    wanted = 1 if everything else 2
    if len(words) != wanted:
        usage = "--all DEST" if everything else "PATH DEST, or --all DEST"
        raise UsageError(f"export takes {usage}, not {len(words)} words")
    folder, inside = _source(None if everything else words[0], cache_dir)
    dest = Path(words[-1])
    if words[-1].endswith("/"):
        dest.mkdir(parents=True, exist_ok=True)
    with salvage.opened(folder) as found:
        jobs = list(_jobs(found, inside, dest, everything=everything))
        if not jobs and not everything:
            raise NotFound(f"{inside} has nothing in {folder} that is not stored")
        saved, failed = _save(jobs)
        problem = found.problem
    if as_json:
        told = {"ok": not failed, "problem": problem, "saved": saved, "failed": failed}
        click.echo(json.dumps(told))
    else:
        _tell(saved, failed, problem, folder)
    return 1 if failed else 0


def _source(path: str | None, cache_dir: str | None) -> tuple[Path, str]:
    """The cache folder, and the path below the mount."""
    if cache_dir:
        return Path(cache_dir), os.path.normpath(os.path.join("/", path or ""))  # noqa: PTH118
    if path is not None:
        place, inside = place_of(path, dead=True)
        return Path(place.record.cache), inside
    places = every_place(dead=True)
    caches = {place.record.cache for place in places}
    folders = sorted(cache for cache in caches if Path(cache, "spool").is_dir())
    alive = {place.record.cache for place in places if place.alive}
    owing = [
        cache for cache in folders if cache not in alive and any(Path(cache, "spool").iterdir())
    ]
    if len(folders) == 1 or len(owing) == 1:  # who has lost a daemon asks for what that one left
        return Path((owing or folders)[0]), "/"
    raise UsageError(
        f"{len(folders)} mounts are known here" if folders else "no mount is known here",
        remedy="Choose with --cache-dir" + (f": {', '.join(folders)}" if folders else ""),
    )


def _jobs(found: Salvage, inside: str, dest: Path, *, everything: bool) -> Iterator[Job]:
    for draft in found.drafts:
        path = _path(draft.key) if draft.key is not None else None
        if path is None:
            # Beside a live daemon a draft without a row is being written: nobody lost it.
            if everything and (found.problem or (draft.size and not found.live)):
                yield Job(draft, "", dest / f"draft-{draft.number}")
        elif path == inside:
            yield Job(draft, path, dest / Path(path).name if dest.is_dir() else dest)
        elif path.startswith(inside.rstrip("/") + "/"):
            yield Job(draft, path, dest / path[len(inside.rstrip("/")) + 1 :])


def _path(key: str) -> str | None:
    """The path of a key, as the mount shows it: it has no "..", whatever the key has."""
    try:
        names = [name_of(component) for component in key.split(DELIMITER)]
    except (InvalidName, NameTooLong):
        return None
    return "/" + "/".join(name.decode() for name in names)


Told = dict[str, object]


def _save(jobs: list[Job]) -> tuple[list[Told], list[Told]]:
    saved: list[Told] = []
    failed: list[Told] = []
    for job in jobs:
        told: Told = {"path": job.path, "bytes": job.draft.size, "to": str(job.target)}
        try:
            salvage.copy_out(job.draft, job.target)
        except FileExistsError:
            failed.append({**told, "error": "it exists, and is not overwritten"})
        except OSError as error:
            failed.append({**told, "error": error.strerror or str(error)})
        else:
            saved.append(told)
    return saved, failed


def _tell(saved: list[Told], failed: list[Told], problem: str, folder: Path) -> None:
    for told in saved:
        size = human(int(str(told["bytes"])))
        named = shown(str(told["path"])) or "a draft without a name"
        click.echo(f"{shown(str(told['to']))}  ({size}, {named})")
    if not saved and not failed:
        click.echo(f"nothing to save: {folder} holds nothing that is not stored")
    if problem:
        click.echo(f"objfs: {problem}: drafts whose name is lost are saved by number", err=True)
    for told in failed:
        click.echo(f"objfs: {shown(str(told['to']))} is not saved: {told['error']}", err=True)
