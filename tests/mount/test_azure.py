"""A container mounted: ordinary tools, and one good sentence where it cannot be."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.mount.kit import OBJFS, Mounted, Store, mounted

SOURCE = Path(__file__).parents[2] / "objfs"


@dataclass
class Container(Store):
    """A container, read by Microsoft's own client."""

    server: Azurite | None = None

    def objects(self) -> dict[str, bytes]:
        """Every blob's bytes by name."""
        assert self.server is not None
        with self.server.container(self.bucket) as client:
            names = list(client.list_blob_names())
            return {name: client.download_blob(name).readall() for name in names}


@pytest.fixture
def mount(azurite: Azurite, tmp_path: Path) -> Iterator[Mounted]:
    """A new container, mounted below a prefix; afterwards container and mount must agree."""
    name = azurite.new_container()
    url = f"az://{name}/a prefix"
    store = Container("azurite", url, env=azurite.environment(), bucket=name, server=azurite)
    with mounted(store, tmp_path) as mount:
        yield mount
        in_mount = mount.files()
        mount.umount()
        objects = {key.removeprefix("a prefix/"): data for key, data in store.objects().items()}
        assert in_mount == {key: data for key, data in objects.items() if not key.endswith("/")}


def test_ordinary_tools(mount: Mounted) -> None:
    """Copies, diff, append, truncate, mv of files and directories, rm, sqlite, odd names."""
    mount.sh(f"cp -r {SOURCE}/cli tree && diff -r {SOURCE}/cli tree")
    mount.sh("echo a > f; echo b >> f; truncate -s 3 f; mv f g; mkdir -p d/e; mv tree/url.py d/e/")
    mount.sh("mv d moved && cp -r tree tree2 && rm -r tree")
    mount.sh("sqlite3 t.db 'create table t(a); insert into t values (1), (2);'")
    for name in ("a b", "per%cent", "que?ry", "ha#sh", "pl+us", "am&p", "quo'te\"s", "é", "😀"):
        (mount.path / name).write_bytes(name.encode())
    mount.sh("mkdir empty")
    mount.remount()
    assert (mount.path / "empty").is_dir()
    assert (mount.path / "g").read_bytes() == b"a\nb"
    assert mount.sh("sqlite3 t.db 'select sum(a) from t; pragma integrity_check'") == "3\nok\n"
    assert (mount.path / "moved/e/url.py").read_bytes() == (SOURCE / "cli/url.py").read_bytes()


def test_a_large_file_in_blocks(mount: Mounted) -> None:
    """40 MiB go up in blocks, come back the same after a remount, and are appended to."""
    right = mount.path.parent / "right"
    mount.sh(f"head -c {40 * 2**20 + 1} /dev/urandom > {right} && cp {right} large")
    mount.remount()
    mount.sh(f"cmp {right} large && echo more >> large && echo more >> {right}")
    mount.sh(f"mv large renamed && cmp {right} renamed")


def test_a_name_that_azure_would_change_is_refused(mount: Mounted) -> None:
    """A file whose name Azure would change cannot be made, rather than turn up under another."""
    for name in ("back\\slash", "dot."):
        with pytest.raises(OSError, match="Errno 84"):
            (mount.path / name).touch()
        with pytest.raises(OSError, match="Errno 84"):
            (mount.path / name).mkdir()
    mount.sh("echo x > good && ! mv good dot. 2>/dev/null && cat good")


def test_all_containers(azurite: Azurite, tmp_path: Path) -> None:
    """Without a container the account is mounted: mkdir makes one, mv copies, rmdir removes."""
    one, two = f"one-{tmp_path.name[-1]}-{os.getpid()}", f"two-{tmp_path.name[-1]}-{os.getpid()}"
    store = Container("azurite", "az://", env=azurite.environment(), server=azurite)
    with mounted(store, tmp_path, allowed=["not empty", "not a container"]) as mount:
        mount.sh(
            f"mkdir {one} {two} && echo hello > {one}/a && mkdir {one}/d && mv {one}/a {two}/b"
        )
        mount.sh(f"test ! -e {one}/a && cat {two}/b && ls | grep -x {one} && ! rmdir {two}")
        mount.sh(f"! mkdir Not_A_Name && rm -r {one} && test ! -e {one}")
        mount.umount()
    store.bucket = two
    assert store.objects() == {"b": b"hello\n"}


@pytest.mark.parametrize(
    ("url", "change", "code", "sentence"),
    [
        ("az://nosuch-container", {}, 3, "no such container"),
        ("az://{container}", {"KEY": "d3Jvbmc="}, 4, "Check the key or the SAS token"),
        ("az://{container}", {"KEY": "%%%"}, 4, "Check the key or the SAS token"),
        ("az://{container}", {"KEY": "", "SAS_TOKEN": "?sv=1&sig=SECRET"}, 4, "access denied"),
        ("az://{container}", {"SERVICE_ENDPOINT": "http://127.0.0.1:9"}, 5, "no connection"),
        ("az://{container}", {"ACCOUNT": "", "SERVICE_ENDPOINT": ""}, 2, "AZURE_STORAGE_ACCOUNT"),
        ("az://Under_score", {}, 2, "no container has"),
        ("az:///prefix", {}, 2, "names no container"),
    ],
)
def test_refusals(  # noqa: PLR0917  # fixtures and parameters
    azurite: Azurite,
    tmp_path: Path,
    url: str,
    change: dict[str, str],
    code: int,
    sentence: str,
) -> None:
    """What is wrong is said in one sentence, without a secret, and by the exit code."""
    given = {"ACCOUNT": azurite.account, "KEY": azurite.key, "SERVICE_ENDPOINT": azurite.endpoint}
    env = {f"AZURE_STORAGE_{name}": value for name, value in (given | change).items()}
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    done = subprocess.run(
        [
            *OBJFS,
            "mount",
            *("--timeout", "4", "--cache-dir", str(tmp_path / "cache")),
            url.format(container=azurite.new_container()),
            str(mountpoint),
        ],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "SECRET" not in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3
