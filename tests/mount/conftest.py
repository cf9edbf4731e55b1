"""`store`: the embedded one (marker mount), or a real S3 server (marker server), a test each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.kit import Store
from tests.proxy import Proxy, proxy
from tests.servers import NAMES, Server, client, new_bucket


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that asks for `store` once on each."""
    if "store" in metafunc.fixturenames:
        chosen = str(metafunc.config.getoption("--servers")).split(",")
        marks = {name: pytest.mark.server for name in NAMES if name in chosen}
        metafunc.parametrize(
            "store",
            [
                pytest.param("file", marks=pytest.mark.mount, id="file"),
                *(pytest.param(name, marks=mark, id=name) for name, mark in marks.items()),
            ],
            indirect=True,
        )


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty bucket somewhere."""
    name: str = request.param
    if name == "file":
        return Store(name, f"file://{tmp_path}/store")
    server: Server = request.getfixturevalue(name)
    return s3_store(server)


def s3_store(server: Server) -> Store:
    """A new bucket on a server."""
    bucket = new_bucket(server)
    options = ("--endpoint-url", server.endpoint, "--region", server.region)
    env = server.environment()
    return Store(server.name, f"s3://{bucket}", options, env, client=client(server), bucket=bucket)


@pytest.fixture
def link(radosgw: Server) -> Iterator[Proxy]:
    """The proxy in front of radosgw."""
    with proxy(radosgw.endpoint) as made:
        yield made


def through(server: Server, link: Proxy) -> Store:
    """A new bucket that the mount reaches through the proxy, and the test directly."""
    store = s3_store(server)
    store.options = ("--endpoint-url", link.endpoint, "--region", server.region)
    store.env["AWS_ENDPOINT_URL_S3"] = link.endpoint
    return store


def put(store: Store, key: str, data: bytes) -> None:
    """Another client stores an object."""
    store.client.put_object(Bucket=store.bucket, Key=key, Body=data)
