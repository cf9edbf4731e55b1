"""A Google bucket mounted, on the fake: ordinary tools, and one sentence where it cannot be."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.kit import OBJFS, Mounted, Store, mounted
from tests.store.fake_gcs import FakeGcs, fake_gcs

pytestmark = pytest.mark.mount
SOURCE = Path(__file__).parents[2] / "objfs"


@dataclass
class Fake(Store):
    """The fake's bucket, read from its memory."""

    fake: FakeGcs | None = None

    def objects(self) -> dict[str, bytes]:
        """Every object's bytes by name."""
        assert self.fake is not None
        return {name: found.body for name, found in self.fake.objects.items()}


@pytest.fixture
def fake() -> Iterator[FakeGcs]:
    """Google, empty."""
    with fake_gcs() as fake:
        yield fake


@pytest.fixture
def mount(fake: FakeGcs, tmp_path: Path) -> Iterator[Mounted]:
    """Its bucket, mounted; afterwards bucket and mount must agree."""
    store = Fake("gcs", "gs://b", env={"STORAGE_EMULATOR_HOST": fake.endpoint}, fake=fake)
    with mounted(store, tmp_path) as mount:
        yield mount
        in_mount = mount.files()
        mount.umount()
        objects = store.objects()
        assert in_mount == {key: data for key, data in objects.items() if not key.endswith("/")}


def test_ordinary_tools(mount: Mounted) -> None:
    """Copies, diff, append, mv of files and directories, rm, sqlite, odd names, a large file."""
    mount.sh(f"cp -r {SOURCE}/cli tree && diff -r {SOURCE}/cli tree")
    mount.sh("echo a > f; echo b >> f; mv f g; mkdir -p d/e; mv tree/url.py d/e/; mv d moved")
    mount.sh("sqlite3 t.db 'create table t(a); insert into t values (1), (2);' && rm -r tree")
    for name in ("a b", "per%cent", "que?ry", "ha#sh", "pl+us", "am&p", "é", "😀", "back\\slash"):
        (mount.path / name).write_bytes(name.encode())
    right = mount.path.parent / "right"
    mount.sh(f"mkdir empty && head -c {20 * 2**20} /dev/urandom > {right} && cp {right} large")
    mount.sh(f"head -c {3 * 2**20} {right} > middle")
    mount.remount()
    mount.sh(f"cmp {right} large && test -d empty && test $(wc -l < g) = 2")
    assert mount.sh("sqlite3 t.db 'select sum(a) from t; pragma integrity_check'") == "3\nok\n"
    with pytest.raises(OSError, match="Errno 84"):
        (mount.path / "line\nbreak").touch()


@pytest.mark.parametrize(
    ("url", "env", "code", "sentence"),
    [
        ("gs://nosuch", {}, 3, "no such bucket"),
        ("gs://b", {"STORAGE_EMULATOR_HOST": "127.0.0.1:9"}, 5, "no connection"),
        (
            "gs://b",
            {"STORAGE_EMULATOR_HOST": "", "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent"},
            4,
            "gcloud auth application-default login",
        ),
        ("gs:///prefix", {}, 2, "names no bucket"),
        ("gs://", {}, 2, "GOOGLE_CLOUD_PROJECT"),
    ],
)
def test_refusals(  # noqa: PLR0917  # fixtures and parameters
    fake: FakeGcs, tmp_path: Path, url: str, env: dict[str, str], code: int, sentence: str
) -> None:
    """What is wrong is said in one sentence, and by the exit code."""
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    options = ("--timeout", "4", "--cache-dir", str(tmp_path / "cache"))
    done = subprocess.run(
        [*OBJFS, "mount", *options, url, str(mountpoint)],
        env={**os.environ, "STORAGE_EMULATOR_HOST": fake.endpoint, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3
