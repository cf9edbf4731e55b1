"""Credentials as boto3 finds them, on a mount that outlives them."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.mount.conftest import put, s3_store, through
from tests.mount.kit import Store, eventually, mounted
from tests.proxy import Fault, Proxy, refusal
from tests.servers import Server

PROCESS = """\
import json, sys, pathlib
folder = pathlib.Path(sys.argv[1])
with (folder / "calls").open("a") as calls:
    calls.write("x")
print((folder / "credentials").read_text())
"""


def by_process(server: Server, folder: Path) -> Store:
    """A bucket whose credentials come from a program, `folder/credentials` being its answer."""
    (folder / "process.py").write_text(PROCESS)
    (folder / "config").write_text(
        f"[profile made]\ncredential_process = {sys.executable} {folder}/process.py {folder}\n"
    )
    store = s3_store(server)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        store.env.pop(name)
    store.env |= {"AWS_CONFIG_FILE": str(folder / "config"), "AWS_PROFILE": "made"}
    return store


def hand_out(server: Server, folder: Path, seconds: float, *, secret: str = "") -> None:
    """What the program answers from now on."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    answer = {
        "Version": 1,
        "AccessKeyId": server.access_key,
        "SecretAccessKey": secret or server.secret_key,
        "Expiration": until.isoformat(),
    }
    fresh = folder / "credentials.new"
    fresh.write_text(json.dumps(answer))
    fresh.replace(folder / "credentials")


def test_credentials_that_expire_are_fetched_anew(radosgw: Server, tmp_path: Path) -> None:
    """A mount goes on when its keys expire: the profile's program is asked again, no remount."""
    source = tmp_path / "source"
    source.mkdir()
    store = by_process(radosgw, source)
    # botocore asks anew for keys that have less than ten minutes left
    hand_out(radosgw, source, 60)
    with mounted(store, tmp_path, "--metadata-ttl", "0") as mount:
        (mount.path / "a").write_text("before")
        before = len((source / "calls").read_text())
        hand_out(radosgw, source, 3600)
        (mount.path / "b").write_text("after")
        assert len((source / "calls").read_text()) > before
        settled = len((source / "calls").read_text())
        assert [path.name for path in mount.path.iterdir()] == ["a", "b"]
        assert len((source / "calls").read_text()) == settled
    assert store.objects() == {"a": b"before", "b": b"after"}


def test_wrong_keys_are_eacces_until_right_ones_come(radosgw: Server, tmp_path: Path) -> None:
    """Keys that stop working refuse one call; the program's next answer makes the mount well."""
    source = tmp_path / "source"
    source.mkdir()
    store = by_process(radosgw, source)
    hand_out(radosgw, source, 60)
    allowed = ["refuses the signature"]
    with mounted(store, tmp_path, "--metadata-ttl", "0", allowed=allowed) as mount:
        (mount.path / "a").write_text("content")
        hand_out(radosgw, source, 60, secret="wrong" * 8)
        with pytest.raises(PermissionError):
            list(mount.path.iterdir())
        hand_out(radosgw, source, 3600)
        assert [path.name for path in mount.path.iterdir()] == ["a"]
        assert (mount.path / "a").read_text() == "content"


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "RequestTimeTooSkewed"])
def test_p23_refused_credentials_are_said_once(
    radosgw: Server, link: Proxy, tmp_path: Path, code: str
) -> None:
    """P23: EACCES to every call, one line in the log, status names it, uploads wait and are done.

    A peer shows an empty file with no error when its token expires.
    """
    store = through(radosgw, link)
    put(store, "f", b"content" * 100)
    allowed = ["the store refuses the credentials"]
    with mounted(store, tmp_path, allowed=allowed) as mount:
        (mount.path / "f").stat()
        assert not (mount.path / "new").exists()
        link.fail(Fault(answer=refusal(403, code)))
        for _ in range(3):
            with pytest.raises(PermissionError):
                (mount.path / "f").read_bytes()
            with pytest.raises(PermissionError):
                (mount.path / "unknown").stat()
            with pytest.raises(PermissionError):
                list(mount.path.iterdir())
        with pytest.raises(PermissionError):
            (mount.path / "new").write_bytes(b"written meanwhile")
        said = mount.objfs("status", str(mount.path)).stdout
        assert "the credentials are refused" in said
        assert "/new" in said
        lines = [line for line in mount.log.read_text().splitlines() if "WARNING" in line]
        assert len(lines) == 1, lines
        link.mend()
        assert (mount.path / "f").read_bytes() == b"content" * 100
        mount.objfs("retry", str(mount.path))
        assert eventually(lambda: store.objects().get("new") == b"written meanwhile")
        assert "are refused" not in mount.objfs("status", str(mount.path)).stdout
