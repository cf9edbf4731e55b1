"""The main job of objfs on real input, told as it goes; `scripts/demo` sets up and starts it.

Everything is done by the commands that a user has: `objfs mount`, cp, mv, rm, sha256sum's like.
Exits with 1, and says at which step, as soon as anything is not as it should be.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from objfs.cli.settings import resolve
from objfs.store import open_store

CHECKOUT = Path(__file__).resolve().parents[1]
OBJFS = CHECKOUT / ".venv" / "bin" / "objfs"
BIG = 64 * 2**20
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


class Failed(Exception):
    """A step did not do what it should; the message says what happened instead."""


class Demo:
    """One run: a store, a mount point, and how long each step took."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.mountpoint = folder / "mnt"
        self.mountpoint.mkdir()
        self.cache = str(folder / "cache")
        self.times: list[tuple[str, float, str]] = []

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Announce a step, time it, and keep what it has to say."""
        said: list[str] = []
        console.print(f"[bold]> {what}[/bold]")
        began = time.monotonic()
        yield said
        self.times.append((what, time.monotonic() - began, "; ".join(said)))
        if said:
            console.print("  " + "; ".join(said))

    def mount(self) -> None:
        """Run `objfs mount` as README gives it."""
        run([str(OBJFS), "mount", "--cache-dir", self.cache, self.url, str(self.mountpoint)])

    def unmount(self) -> None:
        """Run `objfs umount`, which waits for uploads."""
        run([str(OBJFS), "umount", str(self.mountpoint)])


def run(command: list[str]) -> None:
    """Run a command as a user would; its complaint becomes ours."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.strip()}")


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def expect(what: str, right: object, found: object) -> None:
    """Stop the demo where something is not as it should be."""
    if right != found:
        raise Failed(f"{what}: expected {right!r}, found {found!r}")


def copy_in(demo: Demo, sources: Path) -> dict[str, str]:
    """Copy the project's own source tree and one large file; their checksums."""
    top = demo.mountpoint
    ignored = shutil.ignore_patterns("__pycache__")
    with demo.step("copy the project's source tree in") as said:
        for part in ("objfs", "tests"):
            shutil.copytree(CHECKOUT / part, top / "src" / part, ignore=ignored)
        said.append(f"{sum(path.is_file() for path in (top / 'src').rglob('*'))} files")
    big = sources / "big.bin"
    big.write_bytes(os.urandom(BIG))
    with demo.step("copy a file of 64 MiB in") as said:
        began = time.monotonic()
        shutil.copy(big, top / "big.bin")
        said.append(f"{BIG / 2**20 / (time.monotonic() - began):.0f} MiB/s, until it was stored")
    with demo.step("list it and compare checksums") as said:
        right = {"big.bin": digest(big)}
        for part in ("objfs", "tests"):
            for name, found in digests(CHECKOUT / part).items():
                if "__pycache__" not in name:
                    right[f"src/{part}/{name}"] = found
        expect("the files in the mount", right, digests(top))
        said.append(f"{len(right)} files are equal")
    return right


def change(demo: Demo, right: dict[str, str]) -> None:
    """Edit in place, rename, remove; `right` follows."""
    top = demo.mountpoint
    with demo.step("edit one file in place: four bytes in the middle, one line at the end"):
        with (top / "big.bin").open("r+b") as file:
            file.seek(BIG // 2)
            file.write(b"objs")
        with (top / "src/objfs/errors.py").open("a") as file:
            file.write("# a line more\n")
        for name in ("big.bin", "src/objfs/errors.py"):
            found = digest(top / name)
            if found == right[name]:
                raise Failed(f"{name} is what it was before")
            right[name] = found
    with demo.step("rename a file and a directory, remove a file and a directory") as said:
        (top / "big.bin").rename(top / "large.bin")
        right["large.bin"] = right.pop("big.bin")
        (top / "src").rename(top / "sources")
        (top / "sources/objfs/types.py").unlink()
        shutil.rmtree(top / "sources/tests")
        for name in [name for name in right if name.startswith("src/")]:
            found = right.pop(name)
            new = name.replace("src/", "sources/", 1)
            if new != "sources/objfs/types.py" and not new.startswith("sources/tests/"):
                right[new] = found
        expect("the files in the mount", right, digests(top))
        said.append(f"{len(right)} files are left, and equal")


def show_objects(demo: Demo) -> None:
    """What lies in the store, read without the mount."""
    with demo.step("what lies in the store") as said:
        driver = open_store(resolve(demo.url, str(demo.mountpoint)).store)
        objects = driver.list_page("").objects
        table = Table("key", "size", "etag", "type", box=None, header_style="dim")
        table.columns[2].no_wrap = True
        shown = sorted(objects, key=lambda info: -info.size)[:6]
        for info in shown:
            kind = driver.head(info.key).content_type or ""
            table.add_row(info.key, str(info.size), info.etag, kind)
        console.print(table)
        said.append(f"{len(objects)} objects; the {len(shown)} largest are shown")
        driver.close()


def main() -> int:
    """Run the demo; 0 when everything was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--s3", action="store_true", help="on a real S3 server on loopback")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="objfs-demo-") as name:
        folder = Path(name)
        if arguments.s3:
            with s3_server(folder) as url:
                return tell(Demo(url, folder))
        return tell(Demo(f"file://{folder}/store", folder))


def tell(demo: Demo) -> int:
    """All steps, then the summary."""
    console.print(f"objfs demo: {demo.url} at {demo.mountpoint}")
    began = time.monotonic()
    sources = demo.mountpoint.parent / "sources"
    sources.mkdir()
    try:
        with demo.step("mount"):
            demo.mount()
        right = copy_in(demo, sources)
        change(demo, right)
        show_objects(demo)
        with demo.step("unmount, mount again, look again") as said:
            demo.unmount()
            expect("the mount point afterwards", [], list(demo.mountpoint.iterdir()))
            demo.mount()
            expect("the files in the new mount", right, digests(demo.mountpoint))
            said.append(f"all {len(right)} files are there, and equal")
        with demo.step("unmount"):
            demo.unmount()
    except (Failed, OSError) as error:
        console.print(f"[red]demo failed[/red] after {demo.times[-1:] or 'nothing'}: {error}")
        return 1
    finally:
        if os.path.ismount(demo.mountpoint):
            subprocess.run(["fusermount3", "-uz", str(demo.mountpoint)], check=False)
    summary = Table(title="summary", title_justify="left")
    summary.add_column("step")
    summary.add_column("seconds", justify="right")
    summary.add_column("")
    for what, seconds, said in demo.times:
        summary.add_row(what, f"{seconds:.2f}", said)
    summary.add_row("all of it", f"{time.monotonic() - began:.2f}", "", style="bold")
    console.print(summary)
    return 0


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """SeaweedFS with a bucket: its URL; endpoint and credentials go to the environment."""
    sys.path.insert(0, str(CHECKOUT))
    from tests import servers

    with servers.running("seaweedfs", folder / "server") as server:
        os.environ.update(server.environment())
        yield f"s3://{servers.new_bucket(server)}"


if __name__ == "__main__":
    sys.exit(main())
