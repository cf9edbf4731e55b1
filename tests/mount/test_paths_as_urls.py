"""Commands about a path below a real mount: its daemon's record says which object, and where."""

import json
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.mount.kit import Store, mounted
from tests.servers import Server, client, new_bucket

pytestmark = pytest.mark.mount


def test_an_embedded_store(tmp_path: Path) -> None:
    """Escaped names and the mount's prefix lead to the key."""
    url = f"file://{tmp_path}/store"
    with mounted(Store("file", url), tmp_path) as mount:
        (mount.path / "d").mkdir()
        (mount.path / "d" / "%25dot").write_bytes(b"123")
        told = json.loads(mount.objfs("stat", str(mount.path / "d" / "%25dot"), "--json").stdout)
        assert (told["url"], told["size"]) == (f"{url}/d/%dot", 3)
        told = json.loads(mount.objfs("du", str(mount.path), "--json").stdout)
        assert told["bytes"] == 3


@pytest.mark.server
def test_a_path_is_shared(radosgw: Server, tmp_path: Path) -> None:
    """The endpoint is the one that the mount was given: nothing else names it here."""
    bucket = new_bucket(radosgw)
    env = {
        name: value
        for name, value in radosgw.environment().items()
        if name not in {"AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"}
    }
    options = ("--endpoint-url", radosgw.endpoint, "--region", radosgw.region)
    with mounted(Store("radosgw", "s3://", options, env), tmp_path) as mount:
        path = mount.path / bucket / "d" / "a b.txt"
        path.parent.mkdir()
        path.write_bytes(b"shared")
        done = mount.objfs("share", str(path), "--expires", "5m")
        assert done.returncode == 0, done.stderr
        with build_opener(ProxyHandler({})).open(done.stdout.strip(), timeout=20) as answer:
            assert answer.read() == b"shared"
    assert client(radosgw).get_object(Bucket=bucket, Key="d/a b.txt")["ContentLength"] == 6
