"""The reference: what a mount of one dict of objects shows, and what each call does to both.

Plain on purpose. The only thing taken from objfs is how one key component is written as a name,
which `tests/tree/test_keys.py` judges by itself. Everything else is stated here once more, in the
most direct way: all names are derived from the whole dict at every question.

Semantics that are stated here:
- a directory exists if a key has its prefix (a marker is one such key), if a file that is not
  uploaded yet lies below it, or if the local user emptied it (P14);
- an object whose key is a prefix too is shown as NAME%file;
- a file with local content exists here whatever others do; its upload is refused (ESTALE) when the
  store holds another version than it derives from (P10), but not when it holds none any more, or
  the very same bytes;
- an open file whose object was replaced or removed elsewhere keeps its version, and what is
  written to it then is refused at close (ESTALE).
"""

import errno
from dataclasses import dataclass
from typing import NoReturn

from objfs.tree.keys import name_of


@dataclass(eq=False)
class Content:
    """The bytes behind open handles, or of a file that is not uploaded."""

    key: str | None
    """None when no path leads to it any more."""
    data: bytes
    base: bytes | None
    """What the store held when it was opened."""
    dirty: bool = False
    handles: int = 0
    promised: bool = False
    """Its close was refused, or it was fsynced: the journal has it."""
    lost: bool = False
    """Others replaced or removed the object."""


def fail(number: int) -> NoReturn:
    """What a system call answers."""
    raise OSError(number, errno.errorcode[number])


class Model:
    """One mount over one store."""

    def __init__(self) -> None:
        self.store: dict[str, bytes] = {}
        self.local: dict[str, Content] = {}
        """By key: open files that a path leads to, and files not uploaded."""
        self.kept: set[str] = set()
        """Prefixes of directories that the local user emptied."""

    # --- what is shown -------------------------------------------------------------------------

    def keys(self) -> set[str]:
        """Keys of all files, and of markers."""
        return set(self.store) | {key for key, content in self.local.items() if content.dirty}

    def entries(self, prefix: str) -> dict[bytes, tuple[str, bool]]:
        """Names in a directory: of files with their key, of directories with their prefix and True.

        The body of a marker is a file whose key ends in "/", too.
        """
        below = [key[len(prefix) :] for key in self.keys() | self.kept if key.startswith(prefix)]
        directories = {rest.split("/")[0] for rest in below if "/" in rest}
        files = {rest for rest in below if "/" not in rest}
        content = self.local.get(prefix)
        if not self.store.get(prefix) and not (content and content.dirty):
            files.discard("")  # a marker, and not the body of one
        shown = {name_of(each): (f"{prefix}{each}/", True) for each in directories}
        for each in files:
            shown[name_of(each, clash=each in directories)] = prefix + each, False
        return shown

    def tree(self) -> dict[bytes, bytes | None]:
        """All paths; a file with its content, a directory with None."""
        found: dict[bytes, bytes | None] = {}
        todo = [(b"", "")]
        while todo:
            path, prefix = todo.pop()
            for name, (key, directory) in self.entries(prefix).items():
                below = path + b"/" + name if path else name
                if directory:
                    found[below] = None
                    todo.append((below, key))
                else:
                    found[below] = self.content(key)
        return found

    def content(self, key: str) -> bytes:
        """What a newly opened reader sees."""
        content = self.local.get(key)
        return content.data if content else self.store[key]

    # --- names ---------------------------------------------------------------------------------

    def resolve(self, path: bytes) -> tuple[str, bool]:
        """The key or prefix of a path, and whether it is a directory."""
        key, directory = "", True
        for name in filter(None, path.split(b"/")):
            if not directory:
                fail(errno.ENOTDIR)
            entries = self.entries(key)
            if name not in entries:
                fail(errno.ENOENT)
            key, directory = entries[name]
        return key, directory

    def _place(self, path: bytes) -> tuple[str, str, tuple[str, bool] | None]:
        """The parent's prefix, the key of a file of that name, and what is there."""
        head, _, name = path.rpartition(b"/")
        parent, directory = self.resolve(head)
        if not directory:
            fail(errno.ENOTDIR)
        return parent, parent + name.decode(), self.entries(parent).get(name)

    def mkdir(self, path: bytes) -> None:
        """mkdir(2)."""
        _, key, found = self._place(path)
        if found:
            fail(errno.EEXIST)
        self.store[f"{key}/"] = b""
        self._settle()

    def rmdir(self, path: bytes) -> None:
        """rmdir(2)."""
        parent, _, found = self._place(path)
        prefix = self._must(found, directory=True)
        if self.entries(prefix):
            fail(errno.ENOTEMPTY)
        self.store.pop(prefix, None)
        self.kept.discard(prefix)
        self._keep(parent)

    def unlink(self, path: bytes) -> None:
        """unlink(2)."""
        parent, _, found = self._place(path)
        key = self._must(found, directory=False)
        self.store.pop(key, None)
        self._detach(key)
        self._keep(parent)

    def rename(self, old: bytes, new: bytes, *, replace: bool = True) -> None:
        """rename(2); without `replace` RENAME_NOREPLACE."""
        parent, _, found = self._place(old)
        if found is None:
            fail(errno.ENOENT)
        source, directory = found
        new_parent, key, target = self._place(new)
        if target and not replace:
            fail(errno.EEXIST)
        if directory and new_parent.startswith(source):
            fail(errno.EINVAL)
        if old.startswith(new + b"/"):
            fail(errno.ENOTEMPTY)
        if target == found:
            return
        if target and target[1] != directory:
            fail(errno.EISDIR if target[1] else errno.ENOTDIR)
        if directory:
            self._rename_directory(source, key + "/", target)
        else:
            self._rename_file(source, target[0] if target else key, new_parent)
        self._keep(parent)

    def _rename_file(self, source: str, key: str, parent: str) -> None:
        content = self.local.pop(source, None)
        self._detach(key)
        if content and content.dirty and content.promised:
            # what was promised is uploaded under the new name; the old object is not moved there
            self.store.pop(source, None)
            self.kept.add(parent)
        elif source in self.store:
            self.store[key] = self.store.pop(source)
        else:
            self.kept.add(parent)
        if content:
            content.key, content.base = key, self.store.get(key)
            self.local[key] = content

    def _rename_directory(self, source: str, key: str, target: tuple[str, bool] | None) -> None:
        if target and self.entries(target[0]):
            fail(errno.ENOTEMPTY)
        moved = [each for each in self.store if each.startswith(source)]
        for each in moved:
            self.store[key + each[len(source) :]] = self.store.pop(each)
        for each in [each for each in self.local if each.startswith(source)]:
            content = self.local.pop(each)
            content.key = key + each[len(source) :]
            content.base = self.store.get(content.key, content.base)
            self.local[content.key] = content
        self.kept = {
            key + each[len(source) :] if each.startswith(source) else each for each in self.kept
        }
        if not moved:
            self.kept.add(key)

    # --- contents ------------------------------------------------------------------------------

    def open(
        self, path: bytes, *, create: bool = False, exclusive: bool = False, truncate: bool = False
    ) -> Content:
        """open(2)."""
        parent, key, found = self._place(path)
        if found and create and exclusive:
            fail(errno.EEXIST)
        if found and found[1]:
            fail(errno.EISDIR)
        if found:
            content = self._use(found[0])
        elif create:
            content = self.local[key] = Content(key, b"", None, dirty=True)
            self._keep_path(parent)
        else:
            fail(errno.ENOENT)
        content.handles += 1
        if truncate:
            content.data, content.dirty = b"", True
        return content

    def write(self, content: Content, start: int | None, data: bytes) -> None:
        """pwrite(2); at the end where `start` is None."""
        start = len(content.data) if start is None else start
        head = content.data[:start].ljust(start, b"\0")
        content.data = head + data + content.data[start + len(data) :]
        content.dirty = True

    def ftruncate(self, content: Content, size: int) -> None:
        """ftruncate(2)."""
        content.data = content.data[:size].ljust(size, b"\0")
        content.dirty = True

    @staticmethod
    def fsync(content: Content) -> None:
        """fsync(2): what is not uploaded is promised."""
        content.promised |= content.dirty

    def truncate(self, path: bytes, size: int) -> None:
        """truncate(2), which uploads."""
        key, directory = self.resolve(path)
        if directory:
            fail(errno.EISDIR)
        content = self._use(key)
        self.ftruncate(content, size)
        self._save(content)

    def close(self, content: Content, *, writable: bool) -> None:
        """close(2) of the only descriptor of a handle; `writable`: or its open changed the file."""
        content.handles -= 1
        if writable:
            self._save(content)
        elif content.dirty and not content.handles and not content.promised:
            content.promised = True  # and uploaded behind the last close; nobody hears of it
            if self._fits(content):
                self._save(content)
        self._put_away(content)

    # --- others --------------------------------------------------------------------------------

    def foreign_put(self, key: str, data: bytes) -> None:
        """Somebody else stores an object."""
        self.store[key] = data
        self._lose(key)
        self._settle()

    def foreign_delete(self, key: str) -> None:
        """Somebody else removes an object."""
        del self.store[key]
        self._lose(key)
        self._settle()

    # --- inside --------------------------------------------------------------------------------

    @staticmethod
    def _must(found: tuple[str, bool] | None, *, directory: bool) -> str:
        if found is None:
            fail(errno.ENOENT)
        if found[1] is not directory:
            fail(errno.ENOTDIR if directory else errno.EISDIR)
        return found[0]

    def _use(self, key: str) -> Content:
        if key not in self.local:
            self.local[key] = Content(key, self.store[key], self.store[key])
        return self.local[key]

    def _fits(self, content: Content) -> bool:
        if content.key is None:
            return False
        held = self.store.get(content.key)
        return held is None or held in (content.base, content.data)

    def _save(self, content: Content) -> None:
        if content.dirty and content.lost:
            self._put_away(content)
            fail(errno.ESTALE)
        if content.dirty and content.key is not None:
            if not self._fits(content):
                content.promised = True
                fail(errno.ESTALE)
            self.store[content.key] = content.base = content.data
            content.dirty = content.promised = False
            self._settle()
        self._put_away(content)

    def _put_away(self, content: Content) -> None:
        if not content.handles and not content.dirty and content.key is not None:
            self.local.pop(content.key, None)

    def _detach(self, key: str) -> None:
        if content := self.local.pop(key, None):
            content.key = None

    def _lose(self, key: str) -> None:
        content = self.local.get(key)
        if content and not content.dirty:
            self._detach(key)
            content.lost = True

    def _keep(self, prefix: str) -> None:
        self.kept.add(prefix)
        self._settle()

    def _keep_path(self, prefix: str) -> None:
        while prefix:
            self.kept.add(prefix)
            prefix = prefix.removesuffix("/").rpartition("/")[0]
            prefix = f"{prefix}/" if prefix else ""
        self._settle()

    def _settle(self) -> None:
        """A directory that the store knows needs nobody to keep it."""
        self.kept = {
            each for each in self.kept if each and not any(k.startswith(each) for k in self.store)
        }
