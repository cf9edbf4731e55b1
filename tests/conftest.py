"""What every test gets: real stores on demand, a clean log, no mounts left behind.

- `radosgw`, `seaweedfs`, `ministack`, `swift`: a `tests.servers.Server`, started when first asked
  for and stopped at the end. `s3_server` and `swift_server` run a test once against each that
  speaks it. `azurite` and `gcs` are stores of another kind. Asking for any of them gives a test the
  marker `server`; `--servers NAME[,NAME]` chooses which ones run.
- `expected_logs.allow(regex)`: a warning of ours that this test provokes (`tests.log_rule`).
- Hypothesis profiles by HYPOTHESIS_PROFILE: "ci" (the default) and "long", ten times as much.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.azurite import Azurite, azurite_running
from tests.log_rule import ExpectedLogs, no_surprises
from tests.mounts import sweep
from tests.servers import NAMES, S3_NAMES, SLOW_NAMES, SWIFT_NAMES, Server, running, started

SEVERAL = {"s3_server": S3_NAMES, "swift_server": SWIFT_NAMES}
"""Fixtures that are each of these servers, one after the other."""

settings.register_profile(
    "ci",
    deadline=None,  # two cores, and other work on them: time says nothing
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    settings.get_profile("ci"),
    max_examples=10 * settings.get_profile("ci").max_examples,
    stateful_step_count=2 * settings.get_profile("ci").stateful_step_count,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--servers`."""
    parser.addoption(
        "--servers",
        default=",".join(NAMES),
        metavar="NAME[,NAME]",
        help=f"the object stores that server tests run against, of {', '.join(NAMES)} (all), or"
        f" {', '.join(SLOW_NAMES)}",
    )


def _chosen(config: pytest.Config) -> list[str]:
    names = [name for name in str(config.getoption("--servers")).split(",") if name]
    known = (*NAMES, *SLOW_NAMES)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise pytest.UsageError(f"--servers: unknown {', '.join(unknown)}; of {', '.join(known)}")
    return names


# --- object stores ----------------------------------------------------------------------------


def _server(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(name, tmp_path_factory.getbasetemp()) as server:
        yield server


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Ceph's gateway: the S3 that every key and condition is judged by."""
    yield from _server("radosgw", tmp_path_factory)


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """SeaweedFS: newer S3, folder semantics."""
    yield from _server("seaweedfs", tmp_path_factory)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MiniStack: near to AWS in its answers."""
    yield from _server("ministack", tmp_path_factory)


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """OpenStack Swift, which is the reference of its protocol."""
    yield from _server("swift", tmp_path_factory)


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """OpenStack Swift with Keystone beside its own login; slow to start."""
    yield from _server("keystone", tmp_path_factory)


@pytest.fixture(scope="session")
def swift_server(request: pytest.FixtureRequest) -> Server:
    """Each of the stores that speak Swift and that `--servers` chose, one after the other."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Microsoft's emulator of Azure's blobs."""
    with azurite_running(tmp_path_factory.getbasetemp()) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an emulator of Google's JSON API, without conditions and pages."""
    with started("gcs", tmp_path_factory.getbasetemp()) as told:
        yield told["GCS_ENDPOINT"]


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest) -> Server:
    """Each of the stores that `--servers` chose, one after the other."""
    server: Server = request.getfixturevalue(request.param)
    return server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that asks for `s3_server`, or `swift_server`, once against each such store."""
    for fixture, names in SEVERAL.items():
        if fixture in metafunc.fixturenames:
            chosen = [name for name in _chosen(metafunc.config) if name in names]
            metafunc.parametrize(fixture, chosen, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests that need a store, and leaves out those whose store was not chosen."""
    chosen = set(_chosen(config))
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        if asked & {*NAMES, *SLOW_NAMES, *SEVERAL}:
            item.add_marker(pytest.mark.server)
        nowhere = any(f in asked and not chosen & set(names) for f, names in SEVERAL.items())
        there = asked & {*NAMES, *SLOW_NAMES} <= chosen
        (kept if there and not nowhere else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


# --- what no test may leave behind --------------------------------------------------------------


@pytest.fixture
def expected_logs() -> ExpectedLogs:
    """Warnings that this test provokes on purpose: `expected_logs.allow(regex)`."""
    return ExpectedLogs()


@pytest.fixture(autouse=True)
def _clean_log(expected_logs: ExpectedLogs) -> Iterator[None]:
    with no_surprises(expected_logs):
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_mounts_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    sweep(tmp_path_factory.getbasetemp(), finished=False)
    yield
    sweep(tmp_path_factory.getbasetemp(), finished=True)
