"""Two mounts of one store, each with a daemon and a cache of its own, writing the same names.

Every content names its writer and the content that the writer had read before (its parent), so that
at the end the tree of contents tells whether anything acknowledged was lost.
"""

import errno
import os
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.mount.kit import Mounted, Store

SECONDS = float(os.environ.get("TWO_MOUNTS_SECONDS", "10"))
"""A minute by hand: TWO_MOUNTS_SECONDS=60."""
NAMES = ("a", "b", "c")
LINE = 64


@dataclass
class Writer:
    """Rewrites the same few files through one mount, and notes what close acknowledged."""

    name: str
    root: Path
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Contents by label, with the label of what was read before."""
    conflicts: set[str] = field(default_factory=set)
    """Labels whose close said ESTALE: they must be conflict copies."""
    issued: dict[str, bytes] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def run(self, until: float) -> None:
        """One file after the other."""
        chance = random.Random(self.name)
        number = 0
        while time.monotonic() < until:
            number += 1
            label = f"{self.name}{number}"
            try:
                self.rewrite(self.root / chance.choice(NAMES), label, chance.choice([1, 50, 3000]))
            except OSError as error:
                if error.errno != errno.ESTALE:
                    self.wrong.append(f"{label}: {error!r}")
            time.sleep(chance.uniform(0, 0.05))

    def rewrite(self, path: Path, label: str, lines: int) -> None:
        """Read, write anew through the same descriptor, close."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        closed = False
        try:
            parent = label_of(os.read(fd, LINE))
            data = content(label, parent, lines)
            os.ftruncate(fd, 0)
            os.pwrite(fd, data, 0)
            self.issued[label] = data
            closed = True
            try:
                os.close(fd)
            except OSError as error:
                if error.errno == errno.ESTALE:
                    self.conflicts.add(label)
                raise
            self.acknowledged[label] = parent
        finally:
            if not closed:
                os.close(fd)


def content(label: str, parent: str, lines: int) -> bytes:
    """The same line again and again: a mixture of two contents shows."""
    return (f"{label} after {parent}".ljust(LINE - 1).encode() + b"\n") * lines


def label_of(data: bytes) -> str:
    """Whose content it is; "-" for none."""
    return data.split(b" ", 1)[0].decode() or "-"


def ancestors(label: str, parents: dict[str, str]) -> set[str]:
    """The content itself and all that it replaced knowingly."""
    found = set()
    while label in parents and label not in found:
        found.add(label)
        label = parents[label]
    return found | {label}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_nothing_is_lost_and_nothing_mixes(store: Store, tmp_path: Path, mode: str) -> None:
    """P10: each acknowledged content is the object, its ancestor, or a conflict copy (its own)."""
    mounts = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        mounts.append(Mounted(store, tmp_path / name))
    try:
        for mount in mounts:
            mount.mount("--metadata-ttl", "0", "--write-back", mode)
        writers = [Writer(mount.path.parent.name, mount.path) for mount in mounts]
        until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=writer.run, args=(until,)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for mount in mounts:
            if mount.path.is_mount():
                mount.objfs("umount", "--timeout", "60", str(mount.path))
    objects = store.objects()
    assert not [line for writer in writers for line in writer.wrong]
    issued = {label: data for writer in writers for label, data in writer.issued.items()}
    for key, data in objects.items():
        assert data == b"" or data == issued.get(label_of(data)), f"{key} is a mixture"
    parents = {label: data.split()[2].decode() for label, data in issued.items()}
    kept: set[str] = set()
    for data in objects.values():
        kept |= ancestors(label_of(data), parents)
    acknowledged = {label for writer in writers for label in writer.acknowledged}
    conflicts = {label for writer in writers for label in writer.conflicts}
    assert len(acknowledged) > 10
    lost = sorted(acknowledged - kept)
    assert not lost
    assert not conflicts - {label_of(data) for data in objects.values()}
