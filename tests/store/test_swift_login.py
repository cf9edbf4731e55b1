"""Logins as the swift command takes them, tokens that expire, and what a wrong one is told."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from objfs import errors
from objfs.store.swift.access import Access, plugin_for
from objfs.store.swift.driver import SwiftStore
from objfs.store.swift.environment import Login, place, read_login
from objfs.types import Expect
from tests.servers import Server
from tests.store.kit import MIB, Bucket
from tests.swift import config_of, environment, new_container, plain, store_on

V1 = {"ST_AUTH": "http://h/auth/v1.0", "ST_USER": "test:tester", "ST_KEY": "testing"}
V2 = {
    "OS_AUTH_URL": "http://h:5000",
    "OS_USERNAME": "u",
    "OS_PASSWORD": "p",
    "OS_TENANT_NAME": "t",
}
V3 = {
    "OS_AUTH_URL": "http://h:5000/v3",
    "OS_USERNAME": "u",
    "OS_PASSWORD": "p",
    "OS_PROJECT_NAME": "t",
    "OS_USER_DOMAIN_ID": "default",
    "OS_PROJECT_DOMAIN_NAME": "Default",
    "OS_REGION_NAME": "R",
}
APP = {
    "OS_AUTH_TYPE": "v3applicationcredential",
    "OS_AUTH_URL": "http://h:5000/v3",
    "OS_APPLICATION_CREDENTIAL_ID": "i",
    "OS_APPLICATION_CREDENTIAL_SECRET": "s",
}
GIVEN = {"OS_STORAGE_URL": "http://h/v1/AUTH_x", "OS_AUTH_TOKEN": "tk"}


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        (V1, "v1"),
        (V1 | {"ST_AUTH_VERSION": "1.0"}, "v1"),
        (V1 | V3, "v1"),
        (V2, "v2"),
        (V2 | {"OS_IDENTITY_API_VERSION": "3"}, "v3"),
        (V3, "v3"),
        (V3 | {"OS_AUTH_VERSION": "2"}, "v2"),
        (V3 | {"OS_AUTH_TYPE": "password"}, "v3"),
        (V2 | {"OS_AUTH_TYPE": "v3password"}, "v3"),
        (APP, "v3app"),
        (V3 | APP, "v3app"),
        ({**V3, "OS_AUTH_TYPE": "v3token", "OS_TOKEN": "tk", "OS_PASSWORD": ""}, "v3token"),
        (GIVEN, "given"),
        (V1 | GIVEN, "given"),
        (V3 | {"OS_CLOUD": "mine"}, "cloud"),
        ({"OS_AUTH_URL": "http://h/auth/v1.0", "OS_USERNAME": "u", "OS_PASSWORD": "p"}
         | {"OS_AUTH_TYPE": "v1password"}, "v1"),
    ],
)  # fmt: skip
def test_which_login_is_meant(environ: dict[str, str], kind: str) -> None:
    """The version is found by the rules of the swift command, and clouds.yaml wins when asked."""
    login = read_login(config_of("c"), environ)
    assert login.kind == kind
    assert "tk" not in repr(login)
    assert "testing" not in repr(login)


@pytest.mark.parametrize("environ", [V1, V2, V3, APP])
def test_keystoneauth_takes_each(environ: dict[str, str]) -> None:
    """Each login has its plugin, whose URL has the version that it needs exactly once."""
    login = read_login(config_of("c"), environ)
    plugin: Any = plugin_for(login)
    ends = {"v1": "/auth/v1.0", "v2": ":5000/v2.0", "v3": ":5000/v3", "v3app": ":5000/v3"}
    assert plugin.auth_url.endswith(ends[login.kind])
    assert plugin.auth_url.count("v3") <= 1


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "no credentials for Swift found. Set ST_AUTH, ST_USER and ST_KEY, or OS_AUTH_URL"),
        ({"ST_AUTH": "http://h", "ST_USER": "u"}, "the Swift login is not complete: ST_KEY not"),
        ({"OS_AUTH_URL": "http://h"}, "not complete: OS_PASSWORD, OS_USERNAME not set"),
        ({**APP, "OS_APPLICATION_CREDENTIAL_SECRET": ""}, "OS_APPLICATION_CREDENTIAL_SECRET not"),
        ({**V3, "OS_AUTH_TYPE": "v3kerberos"}, "OS_AUTH_TYPE=v3kerberos is not a login that objfs"),
        ({**V1, "ST_AUTH_VERSION": "7"}, "the login's version 7 is not one of 1, 2 and 3"),
    ],
)
def test_what_is_missing_is_named(environ: dict[str, str], said: str) -> None:
    """One sentence names the variables that are not set."""
    with pytest.raises(errors.ObjfsError) as caught:
        read_login(config_of("c"), environ)
    assert said in str(caught.value)


def test_options_win_over_the_environment() -> None:
    """--profile is a cloud, --region a region, --endpoint-url the storage URL."""
    login = read_login(config_of("c", profile="mine", region="here"), V3 | GIVEN)
    assert (login.kind, login.cloud, login.region) == ("cloud", "mine", "here")
    login = read_login(config_of("c", endpoint_url="http://other/v1/a"), V3)
    assert (login.kind, login.storage_url) == ("v3", "http://other/v1/a")
    login = read_login(config_of("c", sign_requests=False, endpoint_url="http://o/v1/a"), {})
    assert (login.kind, login.token) == ("anonymous", "")
    with pytest.raises(errors.UsageError, match="OS_STORAGE_URL"):
        read_login(config_of("c", sign_requests=False), V1)


def test_accounts_are_told_apart_without_secrets() -> None:
    """Two accounts have two places; a changed password is the same one."""
    assert len({place(environ) for environ in (V1, V2, V3, APP, GIVEN)}) == 5
    assert place({**V1, "ST_KEY": "other"}) == place(V1)
    assert "testing" not in place(V1)


def test_a_cloud_that_is_not_in_clouds_yaml(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cloud is named, and where it was looked for."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.UsageError, match=r"nocloud.*clouds\.yaml"):
        Access(Login("cloud", cloud="nocloud"), 5)


# --- on a server ----------------------------------------------------------------------------------


def test_clouds_yaml(swift: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cloud with a v1 login is used as the openstack command would."""
    (tmp_path / "clouds.yaml").write_text(
        "clouds:\n  mine:\n    auth_type: v1password\n    auth:\n"
        f"      auth_url: {swift.swift_auth_url}\n"
        f"      username: {swift.swift_user}\n      password: {swift.swift_key}\n"
    )
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.chdir(tmp_path)
    driver = SwiftStore(config_of(new_container(swift)), {"OS_CLOUD": "mine"})
    driver.check()
    Bucket(driver).put("x", b"1")
    driver.close()


def test_a_storage_url_and_a_token(swift_server: Server) -> None:
    """Given both, nobody logs in; a token that is none is refused in one sentence."""
    client = plain(swift_server)
    token = str(client.session.headers["X-Auth-Token"])
    given = {"OS_STORAGE_URL": client.url, "OS_AUTH_TOKEN": token}
    container = new_container(swift_server)
    good = SwiftStore(config_of(container), given)
    good.check()
    good.close()
    bad = SwiftStore(config_of(container), given | {"OS_AUTH_TOKEN": "AUTH_tk0"})
    with pytest.raises(errors.BadCredentials, match=r"refuses the token.*OS_AUTH_TOKEN") as caught:
        bad.check()
    assert caught.value.exit_code == 4
    bad.close()


def test_a_public_container_without_a_login(swift: Server) -> None:
    """--no-sign-request reads what everybody may read, and writes nothing."""
    client, container = plain(swift), new_container(swift)
    client.ask("PUT", f"{container}/x", data=b"body")
    client.ask("POST", container, headers={"X-Container-Read": ".r:*,.rlistings"})
    driver = SwiftStore(config_of(container, sign_requests=False, endpoint_url=client.url), {})
    driver.check()
    assert Bucket(driver).get("x") == b"body"
    with pytest.raises(errors.Forbidden):
        Bucket(driver).put("y", b"1")
    driver.close()


Spoil = Callable[[SwiftStore], None]


def spoil(driver: SwiftStore) -> None:
    """The store has forgotten the token that the driver holds."""
    session = driver._transport._account._session
    assert session is not None
    auth: Any = session.auth
    auth.get_access(session).auth_token = "AUTH_tk00000000000000000000000000000000"


def test_a_token_that_expires_in_the_middle_of_a_read(swift_server: Server) -> None:
    """The range under way goes on, the next one logs in again, and no byte is lost."""
    driver = store_on(swift_server, new_container(swift_server))
    body = bytes(range(256)) * (4 * MIB // 256)
    etag = Bucket(driver).put("x", body).etag
    read = bytearray()
    for start in range(0, len(body), MIB):

        def sink(view: memoryview, start: int = start) -> None:
            read.extend(view)
            if start == MIB:
                spoil(driver)

        driver.get("x", sink, start=start, stop=start + MIB, expect=Expect(etag=etag))
    assert bytes(read) == body
    driver.close()


def test_a_token_that_expires_before_writes(swift_server: Server) -> None:
    """Each kind of write logs in again, the one with a large body too."""
    driver = store_on(swift_server, new_container(swift_server))
    bucket = Bucket(driver)
    body = bytes(3 * MIB)
    for write in (
        lambda: bucket.put("x", body),
        lambda: bucket.copy("x", "y", size=len(body)),
        lambda: bucket.driver.delete("y"),
        bucket.driver.check,
    ):
        spoil(driver)
        write()
    assert bucket.head("x").size == len(body)
    driver.close()


def test_many_threads_log_in_once(swift_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many requests that are refused together, one fetches the new token."""
    driver = store_on(swift_server, new_container(swift_server))
    bucket = Bucket(driver)
    bucket.put("x", b"1")
    account = driver._transport._account
    assert account._session is not None
    auth: Any = account._session.auth
    spoil(driver)
    logins: list[str] = []
    fetch = auth.get_auth_ref

    def counted(session: Any) -> Any:
        logins.append(threading.current_thread().name)
        return fetch(session)

    monkeypatch.setattr(auth, "get_auth_ref", counted)
    start = threading.Barrier(8)

    def look(_: int) -> int:
        start.wait()
        return bucket.head("x").size

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(8))) == [1] * 8
    assert len(logins) == 1
    driver.close()


@pytest.mark.parametrize(
    ("change", "kind", "code", "said"),
    [
        ({"ST_KEY": "wrong"}, errors.BadCredentials, 4, "the login is refused"),
        ({"ST_USER": "nobody:x"}, errors.BadCredentials, 4, "the login is refused"),
        ({"ST_AUTH": "http://127.0.0.1:1/auth/v1.0"}, errors.Unreachable, 5, "no connection"),
        ({"ST_AUTH": "http://nowhere.invalid/auth/v1.0"}, errors.Unreachable, 5, "no connection"),
        ({"ST_AUTH": "nonsense"}, errors.ObjfsError, None, "nonsense"),
        ({"OS_STORAGE_URL": "http://127.0.0.1:1/v1/a"}, errors.Unreachable, 5, "no connection"),
    ],
)
def test_a_wrong_login_is_one_sentence(
    swift_server: Server,
    change: dict[str, str],
    kind: type[errors.ObjfsError],
    code: int | None,
    said: str,
) -> None:
    """What is wrong, where, and what to do; the key is never in it."""
    environ = environment(swift_server) | change
    driver = SwiftStore(config_of("c"), environ)
    with pytest.raises(kind) as caught:
        driver.check()
    message = str(caught.value)
    assert said in message
    assert code is None or caught.value.exit_code == code
    assert caught.value.remedy
    assert environ["ST_KEY"] not in message
    driver.close()


def test_a_wrong_container_is_one_sentence(swift_server: Server) -> None:
    """Its name, and exit code 3; an upload says so as well."""
    driver = store_on(swift_server, "never-made")
    for call in (driver.check, lambda: Bucket(driver).put("x", b"1")):
        with pytest.raises(errors.NoSuchBucket, match=r"never-made.*no such container") as caught:
            call()
        assert caught.value.exit_code == 3
    driver.close()


def test_another_users_container_is_forbidden(swift: Server) -> None:
    """A login of another account has no access, which is exit code 4."""
    container = new_container(swift)
    environ = environment(swift) | {"ST_USER": swift.swift_user_2, "ST_KEY": swift.swift_key_2}
    driver = SwiftStore(config_of(container, endpoint_url=plain(swift).url), environ)
    with pytest.raises(errors.Forbidden, match="access denied") as caught:
        driver.check()
    assert caught.value.exit_code == 4
    driver.close()
