"""The real stores start, take data and go; every server test rests on this."""

import socket
import subprocess
from urllib.parse import urlsplit

import pytest

from tests.servers import SCRIPTS, ServerFailed, client, free_ports, new_bucket, running


def test_a_store_keeps_what_it_is_given(s3_server):
    """A bucket of its own, one object in, the same bytes out."""
    bucket = new_bucket(s3_server)
    client(s3_server).put_object(Bucket=bucket, Key="a/b", Body=b"content")
    assert client(s3_server).get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"content"


def test_two_stores_side_by_side(ministack, tmp_path):
    """A second one takes other ports, is really gone afterwards, and leaves no file."""
    with running("ministack", tmp_path) as second:
        assert second.endpoint != ministack.endpoint
        new_bucket(second)
        port = urlsplit(second.endpoint).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    assert not list(tmp_path.iterdir())


def test_a_foreign_folder_is_refused(tmp_path):
    """A server script never writes into, and never clears, a folder that it did not make."""
    (tmp_path / "precious").write_text("mine")
    for verb in ("start", "stop"):
        done = subprocess.run(
            [SCRIPTS / "ministack", verb, tmp_path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "was not made by ministack" in done.stderr
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_missing_program_names_the_remedy(tmp_path, monkeypatch):
    """Where a store is not installed, the failure says which command installs it."""
    monkeypatch.setenv("VENV", str(tmp_path / "none"))
    with (
        pytest.raises(ServerFailed, match="run scripts/setup servers"),
        running("ministack", tmp_path),
    ):
        pass


def test_ports_do_not_overlap():
    """Ports that take their neighbours too are given apart from each other."""
    wanted = {"A": range(8), "B": range(8), "C": (0, 10_000)}
    ports = free_ports(wanted)
    taken = [int(ports[name]) + distance for name in wanted for distance in wanted[name]]
    assert len(set(taken)) == len(taken)
