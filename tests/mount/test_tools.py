"""What people run on a mount, on a real kernel mount of each store: ordinary tools, unchanged.

After each, the bytes in the store, fetched without objfs, must be the bytes in the mount.
"""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.kit import Mounted, Store, mounted

SOURCE = Path(__file__).parents[2]


@pytest.fixture
def mount(store: Store, tmp_path: Path) -> Iterator[Mounted]:
    """The store, mounted; afterwards store and mount must agree."""
    with mounted(store, tmp_path) as mount:
        yield mount
        in_mount = mount.files()
        mount.umount()
        objects = store.objects()
        assert in_mount == {key: data for key, data in objects.items() if not key.endswith("/")}


def test_cp_r_and_diff(mount: Mounted) -> None:
    """`cp -r` of a source tree in and out, and `diff -r` says nothing."""
    mount.sh(f"cp -r {SOURCE}/objfs tree && diff -r {SOURCE}/objfs tree")
    mount.sh(f"cp -r tree '{mount.path.parent}/out' && diff -r tree '{mount.path.parent}/out'")


def test_rsync_twice(mount: Mounted) -> None:
    """`rsync -a` a second time transfers nothing."""
    mount.sh(f"rsync -a {SOURCE}/objfs/ tree/")
    again = mount.sh(f"rsync -a --itemize-changes {SOURCE}/objfs/ tree/")
    assert again == ""


def test_tar_out_and_in(mount: Mounted) -> None:
    """An archive unpacked in the mount, packed from it, and compared."""
    archive = mount.path.parent / "out.tar"
    mount.sh(f"tar -C {SOURCE} -cf - objfs | tar -xf -")
    mount.sh(f"tar -cf {archive} objfs && tar --compare -f {archive}")


def test_git_clone_commit_fsck(mount: Mounted, tmp_path: Path) -> None:
    """A clone in the mount is whole, clean, and takes a commit."""
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "file").write_text("one\n")
    git = "git -c user.name=t -c user.email=t@localhost -c safe.directory='*'"
    mount.sh(f"cd {origin} && git init -q . && {git} add . && {git} commit -qm one && {git} gc -q")
    mount.sh(
        f"{git} clone -q {origin} clone && cd clone && {git} fsck --full && test -z "
        f'"$({git} status --short)" && echo two > second && {git} add second && '
        f"{git} commit -qm two && {git} fsck --full && {git} log --oneline | wc -l | grep -x 2"
    )


def test_sqlite3(mount: Mounted) -> None:
    """Create, insert, select, update; the database checks out."""
    mount.sh("sqlite3 t.db 'create table t(a, b); insert into t values (1, 2), (3, 4);'")
    mount.sh("sqlite3 t.db 'update t set b = b + 1; insert into t select a + 10, b from t;'")
    found = mount.sh("sqlite3 t.db 'select sum(a), sum(b) from t; pragma integrity_check;'")
    assert found.split() == ["28|16", "ok"]


def test_find_and_grep_r(mount: Mounted) -> None:
    """`find` and `grep -r` see in the mount what they see on the local disk."""
    mount.sh(f"cp -r {SOURCE}/objfs tree")
    for command in ("find . -type f | sort", "grep -rc import . | sort", "du -ab . | wc -l"):
        here = mount.sh(f"cd tree && {command}")
        there = mount.sh(f"cd {SOURCE}/objfs && {command}")
        assert here == there


@pytest.mark.parametrize(("bs", "count"), [(1, 4097), (1337, 777), (131_073, 40), (1_048_577, 3)])
def test_dd_with_odd_sizes(mount: Mounted, bs: int, count: int) -> None:
    """Odd block sizes, in and out."""
    right = mount.path.parent / "right"
    mount.sh(f"head -c {bs * count} /dev/urandom > {right}")
    mount.sh(f"dd if={right} of=odd bs={bs} status=none && cmp odd {right}")
    mount.sh(f"dd if=odd bs={bs} status=none | cmp - {right}")
    mount.sh(f"dd if={right} of=odd bs={bs} seek=1 conv=notrunc status=none")


def test_atomic_save(mount: Mounted) -> None:
    """Write a temporary file, fsync, rename over: readers see old or new, nothing is left over."""
    for number in range(5):
        mount.sh(f"echo {number} > .doc.tmp && sync .doc.tmp && mv .doc.tmp doc && cat doc")
    assert mount.files() == {"doc": b"4\n"}


@pytest.mark.parametrize("rw", ["write", "randwrite", "randrw"])
def test_fio_verify(mount: Mounted, rw: str) -> None:
    """`fio --verify` finds what it wrote."""
    mount.sh(
        f"fio --name=v --filename=data --rw={rw} --bs=4k --size=4m --verify=crc32c"
        " --do_verify=1 --verify_state_save=0 --ioengine=psync --output=/dev/null"
    )


def test_fio_verify_by_mapping(mount: Mounted) -> None:
    """The same through mmap."""
    mount.sh(
        "fio --name=m --filename=data --rw=randrw --bs=4k --size=2m --verify=crc32c"
        " --do_verify=1 --verify_state_save=0 --ioengine=mmap --output=/dev/null"
    )


def test_build_a_c_program(mount: Mounted) -> None:
    """make, cc and the program that comes of them, twice: the second has nothing to do."""
    mount.sh(
        """
        printf '#include <stdio.h>\\nint b(void);\\nint main(){printf("%%d", b());}\\n' > a.c
        echo 'int b(void) { return 42; }' > b.c
        printf 'p: a.o b.o\\n\\tcc -o p a.o b.o\\n' > Makefile
        make -s
        """
    )
    assert mount.sh("./p") == "42"
    assert "up to date" in mount.sh("make")


def test_mmap_write_with_fsync(mount: Mounted) -> None:
    """A mapping's writes are in the file after msync, fsync and close."""
    path = mount.path / "mapped"
    with path.open("wb+") as file:
        file.truncate(10_000)
        with mmap.mmap(file.fileno(), 10_000) as mapping:
            mapping[5000:5005] = b"hello"
            mapping.flush()
        os.fsync(file.fileno())
    assert path.read_bytes() == bytes(5000) + b"hello" + bytes(4995)


def test_shell_redirections(mount: Mounted) -> None:
    """Append, truncate, here-documents, a subshell whose children share a descriptor."""
    mount.sh(
        "(echo a; cat /dev/null; echo b) > f; echo c >> f; : > empty; echo d > f2; echo e > f2"
    )
    assert mount.files() == {"f": b"a\nb\nc\n", "empty": b"", "f2": b"e\n"}


def test_large_file_in_parts(mount: Mounted) -> None:
    """40 MiB goes up in parts, and comes back the same after a remount."""
    right = mount.path.parent / "right"
    mount.sh(f"head -c {40 * 2**20 + 1} /dev/urandom > {right} && cp {right} large")
    mount.remount()
    mount.sh(f"cmp {right} large")


def test_names_that_tools_find_hard(mount: Mounted) -> None:
    """Spaces, quotes, percent signs, newlines, emoji: what was written is listed and read."""
    names = ["a b", "per%cent", "que?ry", "ha#sh", "pl+us", "am&p", "quo'te\"s", "é", "😀", "%41"]
    if mount.store.name != "seaweedfs":
        names += ["new\nline", "back\\slash"]  # it mangles them, servers/REPORT.md
    for name in names:
        (mount.path / name).write_bytes(name.encode())
    mount.remount()
    assert mount.files() == {name: name.encode() for name in names}


def test_rm_r_of_a_tree(mount: Mounted) -> None:
    """`rm -r` leaves neither file nor marker."""
    mount.sh(
        "mkdir -p a/b/c d && touch a/1 a/b/2 a/b/c/3 d/4 && rm -r a && rmdir d 2>&1 || rm -r d"
    )
    assert os.listdir(mount.path) == []  # noqa: PTH208  # as a user would see it


def test_mv_of_directories(mount: Mounted) -> None:
    """Directories move with all below them, empty ones too, onto absent and empty targets."""
    mount.sh("mkdir -p a/b/empty && echo 1 > a/1 && echo 2 > a/b/2 && mv a c && test ! -e a")
    mount.sh("mkdir d && mv -T c d && find d | sort | xargs | grep -x 'd d/1 d/b d/b/2 d/b/empty'")
    mount.sh("mkdir e && echo x > e/x && ! mv -T d e 2>/dev/null && mv d e/ && cat e/d/b/2")
    assert mount.files() == {"e/x": b"x\n", "e/d/1": b"1\n", "e/d/b/2": b"2\n"}
