"""Buckets, temporary URLs, publishing and metadata on real servers, by the command itself.

What is shared or published is fetched with urllib and no credentials: a stranger's view.
"""

import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import pytest
from azure.storage.blob import ContentSettings

from objfs.cli.main import run
from tests import swift as swifts
from tests.azurite import Azurite
from tests.servers import Server, client, new_bucket

REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
OPEN = {"ministack"}
"""Servers that answer unsigned requests whatever a policy says."""
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
) -> Place:
    """A new S3 bucket, made by the command."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = f"objfs-{secrets.token_hex(6)}"

    def put(key: str) -> None:
        client(s3_server).put_object(Bucket=bucket, Key=key, Body=BODY, ContentType="text/plain")

    return _made(Place(s3_server, f"s3://{bucket}", capsys, put))


@pytest.fixture
def swift_place(
    swift_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Place:
    """A new container on each Swift server."""
    return swift_container(swift_server, monkeypatch, capsys)


def swift_container(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Place:
    """A new Swift container, made by the command."""
    for name, value in swifts.environment(server).items():
        monkeypatch.setenv(name, value)
    container = f"objfs-{secrets.token_hex(6)}"

    def put(key: str) -> None:
        headers = {"Content-Type": "text/plain", "Content-Disposition": "inline"}
        swifts.plain(server).ask("PUT", f"{container}/{key}", data=BODY, headers=headers)

    return _made(Place(server, f"swift://{container}", capsys, put))


def _made(place: Place) -> Place:
    place.done("mb", place.url)
    place.put(KEY)
    return place


# --- both families -------------------------------------------------------------------------------


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
    assert fetched(forged)[0] in REFUSED
    time.sleep(6)
    assert fetched(shared["url"])[0] in REFUSED
    assert fetched(again) == (HTTPStatus.OK, BODY)
    code, out, err = place.objfs("share", f"{place.url}/none")
    assert (code, out) == (1, "")
    assert "no such" in err


def published_and_taken_back(place: Place) -> None:
    """A stranger reads while it is public, and neither before nor afterwards; twice is as once."""
    private = REFUSED
    if place.server.name in OPEN:
        private = {HTTPStatus.OK}
    front = place.done("publish", place.url).strip()
    place.done("unpublish", place.url)
    assert fetched(front + quote(KEY))[0] in private
    place.done("publish", place.url)
    place.done("publish", place.url)
    assert fetched(front + quote(KEY)) == (HTTPStatus.OK, BODY)
    place.done("unpublish", place.url)
    assert fetched(front + quote(KEY))[0] in private
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
    if scene is published_and_taken_back and swift_place.server.name == "radosgw":
        pytest.skip("test_an_acl_that_strangers_do_not_feel_is_taken_back")
    scene(swift_place)


@pytest.mark.parametrize(
    "scene",
    [one for one in SCENES if one is not published_and_taken_back],
    ids=lambda one: one.__name__,
)
def test_azure(
    azurite: Azurite,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scene: Callable[[Place], None],
) -> None:
    """Each scene but publishing, by account key."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    container = f"objfs-{secrets.token_hex(6)}"

    def put(key: str) -> None:
        with azurite.container(container) as api:
            settings = ContentSettings(content_type="text/plain", cache_control="max-age=60")
            api.upload_blob(key, BODY, content_settings=settings)

    seen = Server("azurite", azurite.endpoint, "", azurite.account, azurite.key)
    place = _made(Place(seen, f"az://{container}", capsys, put))
    scene(place)
    with azurite.container(container) as api:
        for blob in api.list_blobs():
            assert blob.content_settings.cache_control == "max-age=60"


# --- one family ----------------------------------------------------------------------------------


def test_what_others_allowed_stays_in_the_policy(s3: Place) -> None:
    """Publish adds one statement, a resource for each prefix, and unpublish removes just that."""
    s3.put("p/a")
    s3.put("q/a")
    bucket, api = s3.url.removeprefix("s3://"), client(s3.server)
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/theirs/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [theirs]}
    api.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    def statements() -> list[dict[str, Any]]:
        found = json.loads(api.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
        return sorted(found, key=lambda one: str(one["Sid"]))

    front = s3.done("publish", f"{s3.url}/p").strip()
    assert fetched(f"{front}a") == (HTTPStatus.OK, BODY)
    if s3.server.name not in OPEN:
        assert fetched(f"{front.removesuffix('p/')}q/a")[0] in REFUSED
    s3.done("publish", f"{s3.url}/q/")
    ours, kept = statements()
    assert ours["Resource"] == [f"arn:aws:s3:::{bucket}/{name}/*" for name in "pq"]
    assert kept == theirs
    s3.done("unpublish", f"{s3.url}/p")
    assert statements()[0]["Resource"] in (
        [f"arn:aws:s3:::{bucket}/q/*"],
        f"arn:aws:s3:::{bucket}/q/*",
    )
    s3.done("unpublish", f"{s3.url}/q")
    assert statements() == [theirs]


def test_who_may_not_publish_is_told_what_it_takes(
    radosgw: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another user's bucket: exit code 4, and the sentence names AWS's own obstacle too."""
    for name, value in radosgw.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", radosgw.access_key_2)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", radosgw.secret_key_2)
    place = Place(radosgw, f"s3://{new_bucket(radosgw)}", capsys, lambda _: None)
    code, _, err = place.objfs("publish", place.url)
    assert (code, "Block Public Access" in err) == (4, True)
    code, _, err = place.objfs("mb", place.url)
    assert (code, "access denied" in err) == (4, True)


def test_headers_survive_a_change_of_metadata(s3: Place) -> None:
    """S3 forgets what a copy onto itself does not name, so all of it is named."""
    bucket, api = s3.url.removeprefix("s3://"), client(s3.server)
    headers: dict[str, Any] = {
        "CacheControl": "max-age=60",
        "ContentDisposition": "inline",
        "ContentEncoding": "identity",
        "ContentLanguage": "de",
        "ContentType": "text/x-odd",
    }
    api.put_object(Bucket=bucket, Key="k", Body=BODY, **headers)
    s3.done("meta", "set", f"{s3.url}/k", "a=b")
    found = api.head_object(Bucket=bucket, Key="k")
    assert found["Metadata"] == {"a": "b"}
    assert {name: found.get(name) for name in headers} == headers


def test_a_url_for_too_long(s3: Place) -> None:
    """Version 4 ends after 7 days, which is said here and not by the store a week later."""
    code, _, err = s3.objfs("share", f"{s3.url}/{KEY}", "--expires", "8d")
    assert (code, "7 days" in err) == (2, True)
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in s3.done("share", f"{s3.url}/{KEY}")
    code, _, err = s3.objfs("share", f"{s3.url}/{KEY}", "--no-sign-request")
    assert (code, "nothing can be signed" in err) == (4, True)


def test_other_readers_stay_in_the_acl(
    swift: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Publish adds the public entries, and unpublish removes just these."""
    place, api = swift_container(swift, monkeypatch, capsys), swifts.plain(swift)
    container = place.url.removeprefix("swift://")
    api.ask("POST", container, headers={"X-Container-Read": ".r:.example.com"})
    place.done("publish", place.url)
    found = api.ask("HEAD", container).headers["X-Container-Read"].split(",")
    assert sorted(found) == [".r:*", ".r:.example.com", ".rlistings"]
    place.done("unpublish", place.url)
    assert api.ask("HEAD", container).headers["X-Container-Read"] == ".r:.example.com"
    code, _, err = place.objfs("publish", f"{place.url}/d")
    assert (code, "whole containers" in err) == (1, True)


def test_an_acl_that_strangers_do_not_feel_is_taken_back(
    radosgw: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This radosgw looks for a stranger's container in another tenant: publish says so."""
    place, api = swift_container(radosgw, monkeypatch, capsys), swifts.plain(radosgw)
    code, out, err = place.objfs("publish", place.url)
    assert (code, out) == (1, "")
    assert "answers a stranger with HTTP 404" in err
    assert "use its S3 API" in err
    headers = api.ask("HEAD", place.url.removeprefix("swift://")).headers
    assert not headers.get("X-Container-Read")


def test_without_its_key_a_url_is_worthless(swift_place: Place) -> None:
    """The key is made once, never shown nor taken, and its removal ends all URLs."""
    first = swift_place.done("share", f"{swift_place.url}/{KEY}").strip()
    second = swift_place.done("share", f"{swift_place.url}/{KEY}").strip()
    assert fetched(first) == fetched(second) == (HTTPStatus.OK, BODY)
    assert "temp-url-key" not in swift_place.done("meta", "get", swift_place.url)
    code, _, err = swift_place.objfs("meta", "set", swift_place.url, "Temp-URL-Key=mine")
    assert (code, "secret" in err) == (2, True)
    if swift_place.server.name == "swift":  # radosgw has one for the account
        swift_place.done("meta", "rm", swift_place.url, "temp-url-key")
        assert fetched(first)[0] in REFUSED


def test_an_account_has_metadata_and_totals(swift_place: Place) -> None:
    """`stat swift://` counts containers; the account's own metadata are set and removed."""
    if swift_place.server.name == "swift":
        swift_place.done("meta", "set", "swift://", "colour=red")
        told = swift_place.told("stat", "swift://")
        assert told["metadata"]["colour"] == "red"
        swift_place.done("meta", "rm", "swift://", "colour")
    told = swift_place.told("stat", "swift://")
    assert "colour" not in told["metadata"]
    assert told["buckets"] >= 1
    assert {"bytes", "objects"} <= told.keys()


def test_a_missing_container_is_named(swift_place: Place) -> None:
    """Exit code 3 and one sentence for each command about a container that is not there."""
    missing = f"{swift_place.url}-none"
    for words in (["publish"], ["unpublish"], ["meta", "get"], ["ls"], ["stat"], ["du"], ["rb"]):
        code, _, err = swift_place.objfs(*words, missing)
        assert (code, err.count("\n")) == (3, 1), words
