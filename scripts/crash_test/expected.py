"""What may be found under a path: what was acknowledged last, or something newer on its way.

Before a call that changes a path is made, its outcome is added to what may be; once the call has
returned, nothing else may. After a crash the path is looked at, and what is found is what is.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    """One content of a file: unique, and it says whose it is."""

    label: str
    data: bytes
    least: int = -1
    """At least so many of its bytes must be there; -1 for all. The rest is appended, unpromised."""

    def fits(self, found: bytes) -> bool:
        """Whether these bytes are this version."""
        if self.least < 0:
            return found == self.data
        return len(found) >= self.least and self.data.startswith(found)


Known = Version | None
"""None: the file does not exist."""


def fits(known: Known, found: bytes | None) -> bool:
    """Whether what was found is this."""
    if known is None or found is None:
        return known is None and found is None
    return known.fits(found)


def content(writer: str, path: str, sequence: int, size: int, noise: bytes) -> bytes:
    """Bytes that nobody else writes: a line that says whose they are, and then noise to `size`."""
    digest = hashlib.sha256(noise).hexdigest()[:16]
    head = f"writer {writer} file {path} sequence {sequence} noise {digest}\n".encode()
    return head + noise[: max(0, size - len(head))]


def describe(found: bytes | None) -> str:
    """What was found, for a person."""
    if found is None:
        return "nothing"
    line = found[:100].split(b"\n", 1)[0].decode(errors="replace")
    return f"{len(found)} bytes [{line}]"


class Files:
    """What may be under each path of one writer."""

    def __init__(self) -> None:
        self.may: dict[str, list[Known]] = {}
        self.moving: tuple[str, str] | None = None
        """A rename that was begun and has not returned: of a file, or of a folder."""
        self.folder_moving = False

    def existing(self, below: str = "") -> list[str]:
        """The paths that exist for certain."""
        return [path for path, may in self.may.items() if None not in may and path > below]

    def issued(self, path: str, *versions: Known) -> None:
        """A call that may lead to these was made."""
        self.may.setdefault(path, [None]).extend(versions)

    def acknowledged(self, path: str, version: Known) -> None:
        """The call returned 0."""
        self.may[path] = [version]

    def moved(self, found: dict[str, bytes | None]) -> dict[str, list[Known]] | None:
        """What may be, given where the things that were being moved were found. None: nowhere."""
        assert self.moving
        source, target = self.moving
        if self.folder_moving:
            inside = [path for path in self.may if path.startswith(source + "/")]
            moved = {target + path[len(source) :]: self.may[path] for path in inside}
            done: dict[str, list[Known]] = {
                **self.may,
                **moved,
                **{path: [None] for path in inside},
            }
            return self._either(found, self.may, done)
        there: dict[str, list[Known]] = {
            **self.may,
            target: self.may[source],
            source: [None],
        }
        both = {**self.may, target: self.may[source]}
        return self._either(found, self.may, there, both)

    @staticmethod
    def _either(
        found: dict[str, bytes | None], *worlds: dict[str, list[Known]]
    ) -> dict[str, list[Known]] | None:
        for world in worlds:
            if all(
                any(fits(known, data) for known in world.get(path, [None]))
                for path, data in found.items()
            ):
                return world
        return None

    def looked(self, found: dict[str, bytes | None]) -> list[str]:
        """The files were read after a crash: what is wrong. What is found is so from now on."""
        wrong = []
        if self.moving:
            world = self.moved(found)
            if world is None:
                wrong.append(f"the rename {self.moving} was cut short: neither before nor after it")
            else:
                self.may = world
            self.moving = None
        for path, data in found.items():
            may = self.may.get(path, [None])
            if not any(fits(known, data) for known in may):
                labels = ", ".join(known.label if known else "nothing" for known in may)
                wrong.append(f"{path}: found {describe(data)}; may be {labels}")
            known = next((k for k in may if k and data is not None and k.fits(data)), None)
            label = known.label if known else "found"
            self.may[path] = [None if data is None else Version(label, data)]
        return wrong
