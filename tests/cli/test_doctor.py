"""`objfs doctor`: what it prints, its exit codes, and that it leaves nothing behind."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from objfs.cli import doctor as command
from objfs.cli.main import run
from objfs.errors import BadCredentials, NoSuchBucket, Unavailable, Unreachable
from objfs.store.base import Capabilities
from objfs.store.file import FileStore
from objfs.store.guarantees import GUARANTEES
from objfs.store.memory import MemoryStore
from objfs.types import Headers
from tests.doubles import FaultyDriver, RecordingDriver
from tests.servers import new_bucket


@pytest.fixture
def store(tmp_path):
    """The folder of an embedded store that has one object."""
    folder = tmp_path / "store"
    folder.mkdir()
    driver = FileStore(folder)
    driver.put("mine", b"mine", Headers())
    driver.close()
    return folder


@pytest.fixture
def diagnosed(capsys):
    """Runs it: the exit code and the document of `--json`."""

    def call(*args):
        code = run(["doctor", "--json", *[str(arg) for arg in args]])
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def opened(monkeypatch):
    """Puts a driver of the test's in the place of the store that a URL names."""

    def use(driver):
        monkeypatch.setattr(command, "open_store", lambda _: driver)
        return driver

    return use


def keys(folder: Path) -> list[str]:
    """What a store has now."""
    driver = FileStore(folder)
    found = [info.key for info in driver.list_page("").objects]
    driver.close()
    return found


def test_a_good_store_is_told_and_left_as_it_was(store, diagnosed):
    """Exit 0, who and where, times, rates and every guarantee; the user's object is alone again."""
    code, told = diagnosed(f"file://{store}")
    assert code == 0
    assert told["ok"]
    assert told["where"] == "this machine"
    assert told["who"].startswith("the local user ")
    assert told["versions"] == "off"
    assert 0 < told["latency"]["head"] < 10
    assert 0 < told["latency"]["list"] < 10
    assert told["throughput"]["large"] == 16 * 2**20
    assert min(told["throughput"].values()) > 0
    assert [one["name"] for one in told["guarantees"]] == [one.name for one in GUARANTEES]
    assert told["left"] == []
    assert keys(store) == ["mine"]


def test_a_prefix_is_kept(opened, diagnosed):
    """Nothing is asked for outside of the URL's prefix."""
    driver = opened(RecordingDriver(MemoryStore()))
    assert diagnosed("mem://x/some/where")[0] == 0
    asked = {key for operation, key in driver.calls if operation not in {"check", "list"}}
    assert asked
    assert all(key.startswith("some/where/objfs-doctor-") for key in asked)


def test_read_only_writes_nothing(opened, diagnosed):
    """Only what the driver knows to lack is told; of the rest nothing is known."""
    caps = Capabilities(min_part=1, put_if_match=False)
    driver = opened(FaultyDriver(MemoryStore(caps)))
    for operation in ("put", "copy", "delete", "delete_many", "start_parts"):
        driver.plan(operation, Unavailable(f"{operation} was sent"), times=1000)
    code, told = diagnosed("mem://", "--read-only")
    verdicts = {one["name"]: one["verdict"] for one in told["guarantees"]}
    assert code == 1
    assert verdicts.pop("replace_conditional") == "no"
    assert set(verdicts.values()) == {"not known"}
    assert told["throughput"] is None
    assert all(fault.times == 1000 for fault in driver._faults)


def test_what_is_missing_is_one_sentence_and_exit_code_1(opened, capsys):
    """The table names it, and below stands what it means for a mount."""
    opened(MemoryStore(replace(Capabilities(min_part=1), put_if_match=False)))
    assert run(["doctor", "mem://"]) == 1
    out = capsys.readouterr().out
    assert "changed file: only if unchanged" in out
    lacking = next(one for one in GUARANTEES if one.name == "replace_conditional")
    assert f"{lacking.title}: {lacking.missing}" in out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoSuchBucket("LIST mem://: no such bucket"), 3),
        (BadCredentials("LIST mem://: wrong credentials"), 4),
        (Unreachable("LIST mem://: no connection"), 5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_that_cannot_be_asked_is_one_sentence(error, code, opened, capsys):
    """The same exit codes as a mount's."""
    opened(FaultyDriver(MemoryStore())).plan("check", error)
    assert run(["doctor", "mem://"]) == code
    assert capsys.readouterr().err == f"objfs: {error}\n"


def test_keys_that_stay_are_named(opened, capsys):
    """A store that refuses deletes: exit 1, and stderr says what to remove."""
    driver = opened(FaultyDriver(MemoryStore()))
    driver.plan("delete_many", Unavailable("delete: busy"), times=100)
    assert run(["doctor", "--json", "mem://"]) == 1
    written = capsys.readouterr()
    left = json.loads(written.out)["left"]
    assert left
    assert left == [info.key for info in driver.inner.list_page("").objects]
    assert left[0] in written.err


def test_a_folder_of_stores_is_listed_and_not_written(tmp_path, diagnosed):
    """A URL without a bucket: the buckets' names, and no guarantees."""
    for name in ("one", "two"):
        (tmp_path / "all" / name).mkdir(parents=True)
        FileStore(tmp_path / "all" / name).close()
    before = sorted(path.name for path in (tmp_path / "all").rglob("*"))
    code, told = diagnosed(f"file://{tmp_path}/all/")
    assert code == 0
    assert told["buckets"] == ["one", "two"]
    assert told["guarantees"] == []
    assert sorted(path.name for path in (tmp_path / "all").rglob("*")) == before


def test_markdown_is_the_row_of_the_table(store, capsys):
    """Two lines of heading and the row."""
    assert run(["doctor", "--markdown", f"file://{store}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith(f"| file://{store} | yes | ")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


_SLOWLY = """
import time
from objfs.cli.main import main
from objfs.store.file import FileStore
put = FileStore.put
def slowly(self, *arguments, **named):
    info = put(self, *arguments, **named)
    print("stored", flush=True)
    time.sleep(0.2)
    return info
FileStore.put = slowly
main()
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_leaves_nothing_behind(signum, store):
    """Ctrl-C and SIGTERM in the middle: exit 130, no traceback, and the user's object alone."""
    with subprocess.Popen(
        [sys.executable, "-c", _SLOWLY, "doctor", f"file://{store}"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["stored\n"] * 2
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "")
    assert keys(store) == ["mine"]


def test_a_server_is_reached_as_whom(s3_server, monkeypatch, capsys):
    """On a real S3: endpoint and key id are told, the secret is nowhere."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    assert run(["doctor", "--read-only", f"s3://{new_bucket(s3_server)}"]) in {0, 1}
    out = capsys.readouterr().out
    assert s3_server.endpoint in out
    assert f"access key {s3_server.access_key}" in out
    assert s3_server.secret_key not in out.replace(s3_server.access_key, "")
