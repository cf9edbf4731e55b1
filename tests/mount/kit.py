"""A real kernel mount for a test: made by `objfs mount`, always taken down, its log clean."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.log_rule import check_daemon_log

OBJFS = [sys.executable, "-m", "objfs"]


def eventually(there: Callable[[], bool], seconds: float = 40.0) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


@dataclass
class Store:
    """Where a test's objects lie, and how a mount and a plain client get at them."""

    name: str
    url: str
    options: Sequence[str] = ()
    env: dict[str, str] = field(default_factory=dict)
    client: Any = None
    """A boto3 client, or None for the embedded store and for Swift."""
    fetch: Callable[[], dict[str, bytes]] | None = None
    """How else to get all objects, where there is no boto3 client."""
    bucket: str = ""

    def objects(self) -> dict[str, bytes]:
        """Every object's bytes by key, fetched without objfs where there is another client."""
        if self.fetch is not None:
            return self.fetch()
        if self.client is None:
            return _embedded(Path(self.url.removeprefix("file://")))
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {
            key: self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys
        }


def _embedded(folder: Path) -> dict[str, bytes]:
    from objfs.store.file import FileStore

    store = FileStore(folder)
    try:
        found: dict[str, bytes] = {}
        token = ""
        while True:
            page = store.list_page("", token=token)
            for info in page.objects:
                data = bytearray()
                if info.size:
                    store.get(info.key, data.extend, start=0, stop=info.size)
                found[info.key] = bytes(data)
            token = page.token
            if not token:
                return found
    finally:
        store.close()


class Mounted:
    """A store, mounted."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.path = folder / "mnt"
        self.log = folder / "log"
        self.cache = folder / "cache"
        self._env = {**os.environ, **store.env, "XDG_CONFIG_HOME": str(folder / "config")}
        self._env.setdefault("XDG_RUNTIME_DIR", str(folder))
        self.path.mkdir(exist_ok=True)

    def mount(self, *options: str) -> None:
        """`objfs mount`; a refusal fails the test with its sentence."""
        done = self.objfs(
            "mount",
            *self.store.options,
            *("--cache-dir", str(self.cache), "--log-file", str(self.log)),
            *options,
            self.store.url,
            str(self.path),
        )
        assert done.returncode == 0, done.stderr

    def umount(self) -> None:
        """`objfs umount`, which waits for the daemon's end."""
        done = self.objfs("umount", "--timeout", "60", str(self.path))
        assert done.returncode == 0, done.stderr

    def remount(self, *options: str) -> None:
        """Another daemon on the same cache, as after a restart."""
        self.umount()
        self.mount(*options)

    def objfs(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command as a user does."""
        return subprocess.run(
            [*OBJFS, *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def sh(self, script: str, *, timeout: float = 120) -> str:
        """Run a shell script in the mount; its output. A failing command fails the test."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.path,
            env={**os.environ, "LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": "/dev/null"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert done.returncode == 0, f"exit {done.returncode}:\n{done.stdout}"
        return done.stdout

    def pid(self) -> int:
        """The daemon's process."""
        return int((self.cache / "lock").read_text().split()[0])

    def peak_memory(self) -> int:
        """The most resident memory that the daemon has had, in bytes."""
        status = Path(f"/proc/{self.pid()}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def files(self) -> dict[str, bytes]:
        """Every regular file's bytes by path below the mount."""
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
        }


@contextmanager
def mounted(
    store: Store, folder: Path, *options: str, allowed: Sequence[str] = ()
) -> Iterator[Mounted]:
    """Mount, hand over, unmount; a warning in the daemon's log fails the test."""
    mount = Mounted(store, folder)
    mount.mount(*options)
    try:
        yield mount
    except BaseException:
        subprocess.run(["fusermount3", "-uz", str(mount.path)], check=False, capture_output=True)
        raise
    finally:
        if mount.path.is_mount():
            mount.umount()
    check_daemon_log(mount.log.read_text(), allowed)
