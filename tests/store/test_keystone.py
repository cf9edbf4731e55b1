"""Logins by Keystone v3, on a real one. Slow: only with `--servers keystone`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from objfs import errors
from objfs.store.swift.driver import SwiftStore
from objfs.store.swift.transport import Call
from tests.servers import Server
from tests.store.kit import Bucket
from tests.swift import config_of

DOMAIN = {"id": "default"}


def password(server: Server) -> dict[str, str]:
    """The variables of openrc, for the user "demo"."""
    return {
        "OS_AUTH_URL": server.keystone_url,
        "OS_USERNAME": "demo",
        "OS_PASSWORD": "demopass",
        "OS_PROJECT_NAME": "demo",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": "RegionOne",
    }


def token(server: Server) -> requests.Response:
    """A fresh one, as Keystone answers it."""
    user = {"name": "demo", "domain": DOMAIN, "password": "demopass"}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"name": "demo", "domain": DOMAIN}}
    body = {"auth": {"identity": identity, "scope": scope}}
    answer = requests.post(f"{server.keystone_url}/auth/tokens", json=body, timeout=30)
    answer.raise_for_status()
    return answer


def application_credential(server: Server) -> dict[str, str]:
    """A new one of the user's."""
    made = token(server)
    user = made.json()["token"]["user"]["id"]
    headers = {"X-Auth-Token": made.headers["X-Subject-Token"]}
    url = f"{server.keystone_url}/users/{user}/application_credentials"
    body = {"application_credential": {"name": "objfs", "roles": [{"name": "member"}]}}
    answer = requests.post(url, json=body, headers=headers, timeout=30)
    answer.raise_for_status()
    found = answer.json()["application_credential"]
    return {
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_AUTH_URL": server.keystone_url,
        "OS_APPLICATION_CREDENTIAL_ID": found["id"],
        "OS_APPLICATION_CREDENTIAL_SECRET": found["secret"],
    }


def works(environ: Mapping[str, str]) -> None:
    """A container is made, and an object goes in and out, over a token that is revoked."""
    driver = SwiftStore(config_of("keystone-test"), environ)
    driver._transport.ask(Call("MAKE", "PUT", ("keystone-test",)))
    driver.check()
    bucket = Bucket(driver)
    bucket.put("x", b"body")
    session = driver._transport._account._session
    if session is not None:
        auth: Any = session.auth
        auth.get_access(session)._auth_token = "gAAAAA-forgotten"
    assert bucket.get("x") == b"body"
    driver.delete("x")
    driver.close()


def test_password(keystone: Server) -> None:
    """As openrc sets it, with a token that is refused in between."""
    works(password(keystone))


def test_auth_url_without_a_version(keystone: Server) -> None:
    """People write Keystone's URL with and without /v3."""
    works(password(keystone) | {"OS_AUTH_URL": keystone.keystone_url.removesuffix("/v3")})


def test_application_credential(keystone: Server) -> None:
    """Which carries its project with it."""
    works(application_credential(keystone))


def test_token(keystone: Server) -> None:
    """A token of Keystone's gets a project's token."""
    made = token(keystone).headers["X-Subject-Token"]
    environ = password(keystone) | {"OS_AUTH_TYPE": "v3token", "OS_TOKEN": made}
    driver = SwiftStore(config_of("never-made"), environ)
    with pytest.raises(errors.NoSuchBucket):
        driver.check()
    driver.close()


def test_clouds_yaml(keystone: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same by a cloud's name."""
    (tmp_path / "clouds.yaml").write_text(
        "clouds:\n  mine:\n    region_name: RegionOne\n    auth:\n"
        f"      auth_url: {keystone.keystone_url}\n      username: demo\n"
        "      password: demopass\n      project_name: demo\n"
        "      user_domain_id: default\n      project_domain_id: default\n"
    )
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.chdir(tmp_path)
    works({"OS_CLOUD": "mine"})


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"OS_PASSWORD": "wrong"}, errors.BadCredentials, "the login is refused (HTTP 401)"),
        ({"OS_PROJECT_NAME": "nobody"}, errors.BadCredentials, "the login is refused (HTTP 401)"),
        ({"OS_REGION_NAME": "Mars"}, errors.UsageError, "names no object-store service"),
    ],
)
def test_a_wrong_login_is_one_sentence(
    keystone: Server, change: dict[str, str], kind: type[errors.ObjfsError], said: str
) -> None:
    """What is wrong, where, and what to do; the password is never in it."""
    driver = SwiftStore(config_of("c"), password(keystone) | change)
    with pytest.raises(kind) as caught:
        driver.check()
    assert said in str(caught.value)
    assert caught.value.remedy
    assert "demopass" not in str(caught.value)
    driver.close()
