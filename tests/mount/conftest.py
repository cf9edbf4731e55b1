"""`store`: the embedded one (marker mount), or a real S3 server (marker server), a test each."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.mount.kit import Store
from tests.proxy import Proxy, proxy
from tests.servers import S3_NAMES, Server, client, new_bucket
from tests.swift import environment, new_container, plain

ON_SWIFT = {
    "test_cp_r_and_diff",
    "test_sqlite3",
    "test_atomic_save",
    "test_large_file_in_parts",
    "test_names_that_tools_find_hard",
    "test_rm_r_of_a_tree",
    "test_mv_of_directories",
}
"""What runs on Swift too, which takes several times as long as the others for each request.

Not what writes one file from two mounts: Swift has no If-Match on a PUT.
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that asks for `store` once on each."""
    if "store" in metafunc.fixturenames:
        chosen = str(metafunc.config.getoption("--servers")).split(",")
        marks = {name: pytest.mark.server for name in (*S3_NAMES, "swift") if name in chosen}
        if metafunc.function.__name__ not in ON_SWIFT:
            marks.pop("swift", None)
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
    return s3_store(server) if name in S3_NAMES else swift_store(server)


def swift_store(server: Server) -> Store:
    """A new container on a server."""
    container = new_container(server)
    objects = partial(plain(server).objects, container)
    return Store(
        server.name,
        f"swift://{container}",
        env=environment(server),
        fetch=objects,
        bucket=container,
    )


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
