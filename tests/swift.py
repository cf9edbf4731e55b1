"""Swift for tests: containers, a plain client beside objfs, and drivers on a server."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

import requests

from objfs.config import StoreConfig
from objfs.store.swift.driver import SwiftStore
from tests.servers import Server


@dataclass
class Plain:
    """A session of `requests` on one account: what another tool would send."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, verb: str, path: str, query: str = "", **more: Any) -> requests.Response:
        """One request; a refusal fails the test."""
        answer = self.session.request(verb, f"{self.url}/{quote(path)}{query}", **more)
        assert answer.status_code < 300, f"{verb} {path}: {answer.status_code} {answer.text}"
        return answer

    def names(self, container: str) -> list[str]:
        """All keys of a container; none where there is no such container."""
        found: list[str] = []
        while True:
            marker = quote(found[-1], safe="") if found else ""
            answer = self.session.get(f"{self.url}/{container}?format=json&marker={marker}")
            page = [entry["name"] for entry in answer.json()] if answer.status_code == 200 else []
            found += page
            if not page:
                return found

    def objects(self, container: str) -> dict[str, bytes]:
        """Every object's bytes by key."""
        return {key: self.ask("GET", f"{container}/{key}").content for key in self.names(container)}

    def put_slo(self, container: str, key: str, bodies: list[bytes], store: str = "") -> None:
        """A static large object, made as the swift command makes it: segments elsewhere."""
        store = store or f"{container}_segments"
        self.ask("PUT", store)
        rows = []
        for number, body in enumerate(bodies):
            name = f"{store}/{key}/slo/1.0/{number:08}"
            self.ask("PUT", name, data=body)
            md5 = hashlib.md5(body).hexdigest()
            rows.append({"path": f"/{name}", "etag": md5, "size_bytes": len(body)})
        self.ask(
            "PUT", f"{container}/{key}", "?multipart-manifest=put", data=json.dumps(rows).encode()
        )

    def put_dlo(self, container: str, key: str, bodies: list[bytes], store: str = "") -> None:
        """A dynamic large object."""
        store = store or f"{container}_segments"
        self.ask("PUT", store)
        for number, body in enumerate(bodies):
            self.ask("PUT", f"{store}/{key}/1.0/{number:08}", data=body)
        manifest = f"{store}/{quote(key)}/1.0/"
        self.ask("PUT", f"{container}/{key}", headers={"X-Object-Manifest": manifest}, data=b"")


@cache
def plain(server: Server) -> Plain:
    """The server's plain client, one for each server."""
    client = Plain("")
    client.session.trust_env = False
    user = {"X-Auth-User": server.swift_user, "X-Auth-Key": server.swift_key}
    answer = client.session.get(server.swift_auth_url, headers=user)
    answer.raise_for_status()
    client.url = answer.headers["X-Storage-Url"]
    client.session.headers["X-Auth-Token"] = answer.headers["X-Auth-Token"]
    return client


def new_container(server: Server) -> str:
    """Makes a container and returns its name, which no other test has."""
    name = f"objfs-{secrets.token_hex(6)}"
    plain(server).ask("PUT", name)
    return name


def environment(server: Server) -> dict[str, str]:
    """The variables by which the swift command, and objfs, log in there."""
    return {
        "ST_AUTH": server.swift_auth_url,
        "ST_USER": server.swift_user,
        "ST_KEY": server.swift_key,
    }


def config_of(container: str, **more: Any) -> StoreConfig:
    """The configuration of a mount of that container."""
    return StoreConfig(url=f"swift://{container}", scheme="swift", bucket=container, **more)


def store_on(server: Server, container: str, **more: Any) -> SwiftStore:
    """A driver."""
    return SwiftStore(config_of(container, **more), environment(server))
