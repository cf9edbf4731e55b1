"""Azurite for tests: containers, and the environment by which objfs finds them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import ContainerClient

from tests.servers import started


@dataclass(frozen=True)
class Azurite:
    """A running Azurite: what a client needs in order to reach it."""

    endpoint: str
    account: str
    key: str

    def environment(self) -> dict[str, str]:
        """The variables by which the az command, and objfs, finds this store."""
        words = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": self.account,
            "AccountKey": self.key,
            "BlobEndpoint": self.endpoint,
        }
        text = ";".join(f"{name}={value}" for name, value in words.items())
        return {"AZURE_STORAGE_CONNECTION_STRING": text}

    def container(self, name: str) -> ContainerClient:
        """Microsoft's own client; to be closed."""
        text = self.environment()["AZURE_STORAGE_CONNECTION_STRING"]
        return ContainerClient.from_connection_string(text, name, api_version="2021-12-02")

    def new_container(self) -> str:
        """Makes a container and returns its name, which no other test has."""
        name = f"objfs-{secrets.token_hex(6)}"
        with self.container(name) as client:
            client.create_container()
        return name


@contextmanager
def azurite_running(tmp_folder: Path) -> Iterator[Azurite]:
    """Raises `tests.servers.ServerFailed` where it is not installed or does not start."""
    with started("azurite", tmp_folder) as told:
        yield Azurite(told["AZURE_ENDPOINT"], told["AZURE_ACCOUNT"], told["AZURE_KEY"])
