"""Real object stores for tests: started on free loopback ports, always stopped.

What each of them is good for stands in the header of its script in `scripts/servers`, which does
the work. `python -m pytest --servers NAME` chooses among them; `scripts/setup servers` installs
them.
"""

import os
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCRIPTS = Path(__file__).parents[1] / "scripts" / "servers"
S3_NAMES = ("radosgw", "seaweedfs", "ministack")
SWIFT_NAMES = ("swift", "radosgw")
NAMES = (*S3_NAMES, "swift", "azurite", "gcs")
SLOW_NAMES = ("keystone",)
"""Run only where `--servers` names them."""
PORTS: dict[str, dict[str, Sequence[int]]] = {
    # Every port variable of a script, and what it takes, as distances from the port itself.
    "radosgw": {"RGW_PORT": (0,), "MON_PORT": (0,), "OSD_PORT": range(8)},
    "seaweedfs": dict.fromkeys(
        ("S3_PORT", "MASTER_PORT", "VOLUME_PORT", "FILER_PORT"), (0, 10_000)
    ),
    "ministack": {"MINISTACK_PORT": (0,)},
    "swift": dict.fromkeys(
        ("SWIFT_PORT", "OBJECT_PORT", "CONTAINER_PORT", "ACCOUNT_PORT", "MEMCACHE_PORT"), (0,)
    ),
    "azurite": {"AZURITE_PORT": (0,)},
    "gcs": {"GCS_PORT": (0,)},
}
PORTS["keystone"] = {**PORTS["swift"], "KEYSTONE_PORT": (0,)}
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {"keystone": ("swift", {"KEYSTONE": "1"})}
"""Servers that are another's script with more variables."""
SYNCING = ("swift", "keystone")
MEMORY = Path("/dev/shm")
LOWEST, HIGHEST = 10_500, 22_500
"""With 10,000 added still below the ports that the kernel gives to clients (32,768 and up)."""
TRIES = 4


class ServerFailed(Exception):
    """A server could not be started; the message is its script's, which names the remedy."""


@dataclass(frozen=True)
class Server:
    """A running store: what a client needs in order to reach it.

    `secret_key_2` belongs to a second user without rights on the first one's buckets, "" where
    the store checks no signatures. The `swift_*` fields are "" where it speaks no Swift, and
    `keystone_url` where it has no Keystone; that has a user "demo" in a project "demo".
    """

    name: str
    endpoint: str
    region: str
    access_key: str
    secret_key: str
    access_key_2: str = ""
    secret_key_2: str = ""
    swift_auth_url: str = ""
    swift_user: str = ""
    swift_key: str = ""
    swift_user_2: str = ""
    swift_key_2: str = ""
    keystone_url: str = ""

    def environment(self) -> dict[str, str]:
        """The variables by which any S3 client, and objfs, finds this store as its user."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def free_ports(wanted: dict[str, Sequence[int]]) -> dict[str, str]:
    """A port for each variable, such that every port it takes can be bound and none is shared."""
    chosen: dict[str, str] = {}
    with ExitStack() as held:
        for variable, distances in wanted.items():
            while variable not in chosen:
                base = random.randrange(LOWEST, HIGHEST)
                with ExitStack() as attempt:
                    if all(_bind(attempt, base + distance) for distance in distances):
                        held.push(attempt.pop_all())
                        chosen[variable] = str(base)
    return chosen


def _bind(held: ExitStack, port: int) -> bool:
    listener = held.enter_context(socket.socket())
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _script(name: str, verb: str, folder: Path, **variables: str) -> str:
    script, more = VARIANTS.get(name, (name, {}))
    done = subprocess.run(
        [SCRIPTS / script, verb, folder],
        env={**os.environ, **more, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"scripts/servers/{script} {verb}: {done.stderr.strip()}")
    return done.stdout


def _start(name: str, folder: Path, **variables: str) -> str:
    """Starts it. Between our choice of ports and its bind another may take one: so a few tries."""
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            ports = free_ports(PORTS[name])
            return _script(name, "start", folder, OWNER_PID=str(os.getpid()), **ports, **variables)
        except ServerFailed as failure:
            if last or "is taken" not in str(failure):
                raise
    raise AssertionError("the last try returns or raises")


def _takes_attributes(folder: Path) -> bool:
    """Whether files in the folder may have user extended attributes, in which Swift keeps all."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            os.setxattr(file.name, "user.objfs", b"x" * 2000)
    except OSError:
        return False
    return True


@contextmanager
def started(name: str, tmp_folder: Path, **variables: str) -> Iterator[dict[str, str]]:
    """What the script of the store *name* (of NAMES) tells, while it runs.

    Its state is in a new folder below *tmp_folder*, or for Swift, which waits for the disk with
    every object, in memory where that can be. *variables* are for the script. Raises ServerFailed
    where it is not installed or does not start.
    """
    base = MEMORY if name in SYNCING and _takes_attributes(MEMORY) else tmp_folder
    folder = base / f"objfs-{name}-{secrets.token_hex(4)}"
    try:
        lines = _start(name, folder, **variables).splitlines()
        yield dict(line.split("=", 1) for line in lines)
    finally:
        _script(name, "stop", folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(name: str, tmp_folder: Path, **variables: str) -> Iterator[Server]:
    """The store *name*, of those that speak S3 or Swift. Raises ServerFailed as `started` does."""
    with started(name, tmp_folder, **variables) as told:
        server = Server(
            name=name,
            endpoint=told["S3_ENDPOINT"],
            region=told["S3_REGION"],
            access_key=told["S3_ACCESS_KEY"],
            secret_key=told["S3_SECRET_KEY"],
            access_key_2=told.get("S3_ACCESS_KEY_2", ""),
            secret_key_2=told.get("S3_SECRET_KEY_2", ""),
            swift_auth_url=told.get("SWIFT_AUTH_URL", ""),
            swift_user=told.get("SWIFT_USER", ""),
            swift_key=told.get("SWIFT_KEY", ""),
            swift_user_2=told.get("SWIFT_USER_2", ""),
            swift_key_2=told.get("SWIFT_KEY_2", ""),
            keystone_url=told.get("KEYSTONE_URL", ""),
        )
        try:
            yield server
        finally:
            client(server).close()


@cache
def client(server: Server) -> "S3Client":
    """The server's S3 client: one for each server, shared, closed when the server stops.

    Semantics: checksums only when required, since radosgw 16 refuses botocore's trailing ones.
    """
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "max_attempts": 3},
        ),
    )


def new_bucket(server: Server) -> str:
    """Makes a bucket and returns its name, which no other test has."""
    name = f"objfs-{secrets.token_hex(6)}"
    client(server).create_bucket(Bucket=name)
    return name
