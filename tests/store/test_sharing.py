"""Buckets, temporary URLs, publishing and metadata on real servers, by the command itself.

What is shared or published is fetched with urllib and no credentials: a stranger's view.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import pytest

from objfs.cli.main import run
from tests import swift as swifts
from tests.servers import Server, client

KEY = "a b/c?d&é+%.txt"
BODY = b"hello\n"


@dataclass
class Place:
    """A new bucket, with one object, and the command that is logged in there."""

    server: Server
    url: str
    capsys: pytest.CaptureFixture[str]
    put: Callable[[str], None]

    def objfs(self, *args: str) -> tuple[int, str, str]:
        """Runs it: exit code, what was printed, what it complained of."""
        code = run(args)
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    def done(self, *args: str) -> str:
        """Runs it, well; what it printed."""
        code, out, err = self.objfs(*args)
        assert (code, err) == (0, "")
        return out

    def told(self, *args: str) -> dict[str, Any]:
        """What it says with --json."""
        told: dict[str, Any] = json.loads(self.done(*args, "--json"))
        return told


def fetched(url: str) -> tuple[int, bytes]:
    """What a stranger gets: status and body."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=20) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, b""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No login of the machine's."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "OS_", "ST_", "OBJFS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def s3(
    s3_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """A new S3 bucket, made by the command."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = f"objfs-{secrets.token_hex(6)}"

    def put(key: str) -> None:
        client(s3_server).put_object(Bucket=bucket, Key=key, Body=BODY, ContentType="text/plain")

    yield from _made(Place(s3_server, f"s3://{bucket}", capsys, put))


@pytest.fixture
def swift_place(
    swift_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """A new Swift container, made by the command."""
    for name, value in swifts.environment(swift_server).items():
        monkeypatch.setenv(name, value)
    container = f"objfs-{secrets.token_hex(6)}"

    def put(key: str) -> None:
        headers = {"Content-Type": "text/plain", "Content-Disposition": "inline"}
        swifts.plain(swift_server).ask("PUT", f"{container}/{key}", data=BODY, headers=headers)

    yield from _made(Place(swift_server, f"swift://{container}", capsys, put))


def _made(place: Place) -> Iterator[Place]:
    place.done("mb", place.url)
    place.put(KEY)
    yield place


# --- both families ---------------------------------------------------------------------------------


def buckets_and_objects(place: Place) -> None:
    """Mb twice, ls, stat, du, rb of a full one and of an empty one."""
    place.done("mb", place.url)
    scheme, _, bucket = place.url.partition("://")
    assert bucket in place.done("ls", f"{scheme}://").split()
    assert place.done("ls", "-r", place.url).splitlines()[0].endswith(KEY)
    assert "a b/" in place.done("ls", place.url)
    facts = place.told("stat", f"{place.url}/{KEY}")
    assert (facts["size"], facts["content_type"]) == (len(BODY), "text/plain")
    assert place.told("du", f"{place.url}/a b")["bytes"] == len(BODY)
    code, _, err = place.objfs("rb", place.url)
    assert (code, "not empty" in err) == (1, True), err
    place.done("mb", f"{place.url}-2")
    place.done("rb", f"{place.url}-2")
    assert place.objfs("rb", f"{place.url}-2")[0] == 3
    assert place.objfs("stat", f"{place.url}-2")[0] == 3
    assert place.objfs("stat", f"{place.url}/none")[0] == 1


def a_url_for_a_while(place: Place) -> None:
    """A stranger reads the object, not its neighbour, and not when the time is over."""
    place.put("other")
    shared = place.told("share", f"{place.url}/{KEY}", "--expires", "4s")
    assert fetched(shared["url"]) == (HTTPStatus.OK, BODY)
    again = place.done("share", f"{place.url}/other").strip()
    assert fetched(again) == (HTTPStatus.OK, BODY)
    forged = shared["url"].replace(quote(KEY), "other").replace(quote(KEY, safe=""), "other")
    assert forged != shared["url"]
    assert fetched(forged)[0] in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    time.sleep(6)
    assert fetched(shared["url"])[0] in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    assert fetched(again) == (HTTPStatus.OK, BODY)
    code, out, err = place.objfs("share", f"{place.url}/none")
    assert (code, out) == (1, "")
    assert "no such object" in err


def published_and_taken_back(place: Place) -> None:
    """A stranger reads while it is public, and neither before nor afterwards; twice is as once."""
    refused = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    front = place.done("publish", place.url).strip()
    place.done("unpublish", place.url)
    assert fetched(front + quote(KEY))[0] in refused
    place.done("publish", place.url)
    place.done("publish", place.url)
    assert fetched(front + quote(KEY)) == (HTTPStatus.OK, BODY)
    place.done("unpublish", place.url)
    assert fetched(front + quote(KEY))[0] in refused
    place.done("unpublish", place.url)


def metadata_of_objects(place: Place) -> None:
    """Set, merged, removed; the bytes, the type and the version's size stay."""
    url = f"{place.url}/{KEY}"
    place.done("meta", "set", url, "Colour=red", "shape=round = yes")
    place.done("meta", "set", url, "colour=blue")
    assert place.told("meta", "get", url)["metadata"] == {"colour": "blue", "shape": "round = yes"}
    place.done("meta", "rm", url, "Shape")
    assert place.done("meta", "get", url) == "colour=blue\n"
    facts = place.told("stat", url)
    assert (facts["size"], facts["content_type"]) == (len(BODY), "text/plain")


def metadata_of_the_bucket(place: Place) -> None:
    """Set, merged, removed, and shown by stat."""
    before = place.told("meta", "get", place.url)["metadata"]
    place.done("meta", "set", place.url, "colour=red", "shape=round")
    place.done("meta", "set", place.url, "colour=blue")
    place.done("meta", "rm", place.url, "shape")
    assert place.told("stat", place.url)["metadata"] == {**before, "colour": "blue"}
    place.done("meta", "rm", place.url, "colour")
    assert place.told("meta", "get", place.url)["metadata"] == before


SCENES = [
    buckets_and_objects,
    a_url_for_a_while,
    published_and_taken_back,
    metadata_of_objects,
    metadata_of_the_bucket,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_s3(s3: Place, scene: Callable[[Place], None]) -> None:
    """Each scene on each S3 server."""
    scene(s3)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_swift(swift_place: Place, scene: Callable[[Place], None]) -> None:
    """Each scene on each Swift server."""
    scene(swift_place)
