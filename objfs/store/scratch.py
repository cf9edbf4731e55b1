"""A place in a bucket for objects that are removed again, whatever happens.

Every key lies under a random prefix that no program uses; the one exception is a key that must
begin with a slash. `remove` takes away what was made, and what a listing finds there: a store that
renames keys (`a//b` to `a/b`) has others than those that were asked for.
"""

import secrets
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from objfs.errors import NotFound, ObjfsError
from objfs.store.base import Body, Driver
from objfs.types import ANYTHING, Expect, Headers, ObjectInfo, Part

NAME: Final = "objfs-doctor-"
"""What every temporary prefix begins with, for who finds one that a dead process left."""
_MANY: Final = 1000


class Scratch:
    """A context: temporary objects under `prefix`, gone at its end. Methods block.

    `left` then has the keys that could not be removed. Keys and uploads are noted before they are
    made, so that an interrupt in the middle of a request loses none.
    """

    def __init__(self, driver: Driver, below: str) -> None:
        self.driver = driver
        self.below = below
        self.prefix = f"{below}{NAME}{secrets.token_hex(8)}/"
        self.left: list[str] = []
        self._keys: set[str] = set()
        self._uploads: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def key(self, name: str) -> str:
        """The full key of a temporary object, which is removed at the end."""
        return self.note(self.prefix + name)

    def note(self, key: str) -> str:
        """Remove this key, too."""
        self._keys.add(key)
        return key

    def put(self, name: str, body: Body, expect: Expect = ANYTHING) -> ObjectInfo:
        """Store one; raises what the driver raises."""
        return self.driver.put(self.key(name), body, Headers(), expect=expect)

    def get(self, name: str, size: int) -> bytes:
        """Its first bytes, fewer where the store sends fewer."""
        body = bytearray()
        self.driver.get(self.prefix + name, body.extend, start=0, stop=size)
        return bytes(body)

    def finish(self, name: str, body: bytes, expect: Expect) -> ObjectInfo:
        """Make it by a multipart upload of one part, finished under a condition."""
        key = self.key(name)
        upload = self.driver.start_parts(key, Headers())
        self._uploads.append((key, upload))
        parts: list[Part] = [self.driver.put_part(key, upload, 1, body)]
        return self.driver.finish_parts(key, upload, parts, expect=expect)

    def exists(self, name: str) -> bool:
        """Asked by a HEAD."""
        try:
            self.driver.head(self.prefix + name)
        except NotFound:
            return False
        return True

    def listed(self, name: str = "", delimiter: str = "") -> list[str]:
        """What is under `prefix` + `name`, objects and common prefixes, without `prefix`."""
        found: list[str] = []
        token = ""
        while True:
            page = self.driver.list_page(self.prefix + name, delimiter=delimiter, token=token)
            found += [info.key.removeprefix(self.prefix) for info in page.objects]
            found += [prefix.removeprefix(self.prefix) for prefix in page.prefixes]
            token = page.token
            if not token:
                return found

    def remove(self) -> None:
        """Take away everything; never raises an error of the store, see `left`."""
        for key, upload in self._uploads:
            with suppress(ObjfsError):  # finished ones are gone; a lost one is told by its key
                self.driver.abort_parts(key, upload)
        self._uploads.clear()
        with suppress(ObjfsError):  # without a listing the noted keys are all that is known
            self._keys |= {self.prefix + name for name in self.listed()}
        keys = self.left = sorted(self._keys)  # a second interrupt leaves them
        self._keys.clear()
        refused: list[str] = []
        for at in range(0, len(keys), _MANY):
            some = keys[at : at + _MANY]
            try:
                refused += self.driver.delete_many(some)
            except ObjfsError:
                refused += some
        # a store that refuses odd keys refuses to delete what it never had
        self.left = [key for key in refused if self._stays(key)]

    def _stays(self, key: str) -> bool:
        with suppress(ObjfsError):
            return any(info.key == key for info in self.driver.list_page(key).objects)
        return True
