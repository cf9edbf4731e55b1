"""The README's table of guarantees is what the probes find on each running server."""

from pathlib import Path

import pytest

from objfs.config import StoreConfig
from objfs.store.azure.driver import AzureStore
from objfs.store.base import Driver
from objfs.store.file import FileStore
from objfs.store.guarantees import (
    Finding,
    Verdict,
    examine,
    markdown_head,
    markdown_meanings,
    markdown_row,
)
from objfs.store.insight import Insight, open_insight
from objfs.store.s3 import S3Store
from objfs.store.scratch import Scratch
from objfs.store.swift.driver import SwiftStore
from tests.azurite import Azurite
from tests.servers import Server, new_bucket
from tests.swift import config_of, environment, new_container, plain

README = (Path(__file__).parents[2] / "README.md").read_text()
S3_ROWS = {
    "radosgw": "Ceph radosgw 16, S3",
    "seaweedfs": "SeaweedFS 4",
    "ministack": "MiniStack",
}
SWIFT_ROWS = {"swift": "OpenStack Swift 2", "radosgw": "Ceph radosgw 16, Swift"}


def found_by(driver: Driver, insight: Insight) -> list[Finding]:
    """All findings on a bucket, which is empty afterwards."""
    driver.check()
    with insight.around(), Scratch(driver, "") as scratch:
        findings = examine(scratch, insight)
    assert not scratch.left
    assert not driver.list_page("").objects
    return findings


def must_say(row: str) -> None:
    """The row is in the README, to the letter."""
    assert row in README.splitlines(), f"README.md must have: {row}"


@pytest.fixture
def s3_bucket(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> StoreConfig:
    """A new bucket of each S3 server, which the environment leads to."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    name = new_bucket(s3_server)
    return StoreConfig(url=f"s3://{name}", scheme="s3", bucket=name)


def test_the_row_of_each_s3_server_is_what_is_found_there(s3_server, s3_bucket):
    """What the README says of radosgw, SeaweedFS and MiniStack is so, and nothing stays behind."""
    driver = S3Store(s3_bucket)
    insight = open_insight(s3_bucket)
    findings = found_by(driver, insight)
    driver.close()
    insight.close()
    must_say(markdown_row(S3_ROWS[s3_server.name], findings))


def test_the_row_of_each_swift_server_is_what_is_found_there(swift_server, monkeypatch):
    """What the README says of OpenStack Swift and radosgw's Swift is so."""
    for name, value in environment(swift_server).items():
        monkeypatch.setenv(name, value)
    container = new_container(swift_server)
    config = config_of(container)
    driver = SwiftStore(config)
    insight = open_insight(config)
    findings = found_by(driver, insight)
    driver.close()
    insight.close()
    assert not plain(swift_server).session.get(f"{plain(swift_server).url}/{container}_segments").ok
    must_say(markdown_row(SWIFT_ROWS[swift_server.name], findings))


def test_the_row_of_azurite_is_what_is_found_there(azurite: Azurite, monkeypatch):
    """What the README says of Azure's emulator is so."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    name = azurite.new_container()
    config = StoreConfig(url=f"az://{name}", scheme="az", bucket=name)
    driver = AzureStore(config)
    insight = open_insight(config)
    findings = found_by(driver, insight)
    assert azurite.account in insight.who()
    assert azurite.key not in insight.who() + insight.where()
    driver.close()
    insight.close()
    must_say(markdown_row("Azurite (Azure)", findings))


def test_the_row_of_the_embedded_store_is_what_is_found_there(tmp_path):
    """And that of the embedded store, which lacks nothing."""
    driver = FileStore(tmp_path)
    config = StoreConfig(url=f"file://{tmp_path}", scheme="file", bucket=str(tmp_path))
    findings = found_by(driver, open_insight(config))
    driver.close()
    assert Verdict.NO not in {finding.verdict for finding in findings}
    must_say(markdown_row("embedded (`file://`)", findings))


def test_the_tables_are_those_of_the_program():
    """Headings, and what a missing guarantee means, are not written by hand."""
    assert markdown_head() in README
    assert markdown_meanings() in README
