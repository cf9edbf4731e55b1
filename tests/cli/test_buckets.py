"""mb, rb, ls, stat, du and meta on embedded stores: what they print, and how they fail."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from objfs import runtime
from objfs.cli.main import run
from objfs.cli.settings import resolve
from objfs.cli.target import target_of
from objfs.errors import UsageError
from objfs.store.file import FileStore
from objfs.types import Headers


@pytest.fixture
def objfs(capsys):
    """Runs the command: its exit code, what it printed and what it complained of."""

    def call(*args):
        code = run([str(arg) for arg in args])
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return code, written.out, written.err

    return call


@pytest.fixture
def url(tmp_path):
    """An embedded store with a few objects, one of which has metadata."""
    store = FileStore(tmp_path / "stores" / "b")
    store.put("a", b"123", Headers("text/plain", {"colour": "red", "shape": "round"}))
    for key in ("d/x", "d/y", "d.txt", "e//f"):
        store.put(key, b"12", Headers())
    store.close()
    return f"file://{tmp_path}/stores/b"


def lines(out: str) -> list[dict[str, Any]]:
    """What a listing with --json said."""
    return [json.loads(line) for line in out.splitlines()]


def test_a_bucket_is_made_once_and_removed_when_empty(objfs, tmp_path):
    """To make one that exists is no error, to remove a full one is, and so is a missing one."""
    one = f"file://{tmp_path}/stores/one"
    assert objfs("mb", one) == (0, "", "")
    assert objfs("mb", one) == (0, "", "")
    store = FileStore(tmp_path / "stores" / "one", create=False)
    store.put("k", b"", Headers())
    code, _, err = objfs("rb", one)
    assert (code, "not empty" in err) == (1, True)
    store.delete("k")
    store.close()
    assert objfs("rb", one) == (0, "", "")
    code, _, err = objfs("rb", one)
    assert (code, "there is none" in err) == (3, True)


@pytest.mark.parametrize("command", ["ls", "du", "stat", "rb"])
def test_to_look_makes_nothing(objfs, tmp_path, command):
    """Only mb makes a store: a typing error in a URL leaves no folder behind."""
    code, _, err = objfs(command, f"file://{tmp_path}/typo/store")
    assert (code, err.startswith("objfs: ")) == (3, True), err
    assert list(tmp_path.iterdir()) == []


def test_a_level_and_all_below(objfs, url):
    """Folders and objects in the order of their keys; -r shows objects only."""
    _, out, _ = objfs("ls", url, "--json")
    assert [(one["kind"], one["key"]) for one in lines(out)] == [
        ("object", "a"), ("object", "d.txt"), ("prefix", "d/"), ("prefix", "e/"),
    ]  # fmt: skip
    _, out, _ = objfs("ls", "-r", url, "--json")
    assert [one["key"] for one in lines(out)] == ["a", "d.txt", "d/x", "d/y", "e//f"]
    assert lines(out)[0]["size"] == 3
    for below in (f"{url}/d", f"{url}/d/"):
        _, out, _ = objfs("ls", below, "--json")
        assert [one["key"] for one in lines(out)] == ["d/x", "d/y"]
    _, out, _ = objfs("ls", f"{url}/a")
    assert out.split()[1:] == ["3", "a"]


def test_limit_and_after_page_through(objfs, url):
    """Each call begins behind the last key of the one before, and nothing is shown twice."""
    shown: list[str] = []
    after: list[str] = []
    while True:
        _, out, _ = objfs("ls", "-r", url, "--json", "--limit", 2, *after)
        if not out:
            break
        assert len(lines(out)) <= 2
        shown += [one["key"] for one in lines(out)]
        after = ["--after", shown[-1]]
    assert shown == ["a", "d.txt", "d/x", "d/y", "e//f"]


def test_buckets_of_an_account(objfs, url, tmp_path):
    """A folder of stores lists them; -r goes into each; totals are the sum."""
    objfs("mb", f"file://{tmp_path}/stores/c")
    account = f"file://{tmp_path}/stores/"
    _, out, _ = objfs("ls", account, "--json")
    assert [(one["kind"], one["name"]) for one in lines(out)] == [("bucket", "b"), ("bucket", "c")]
    _, out, _ = objfs("ls", account, "--json", "--after", "b")
    assert [one["name"] for one in lines(out)] == ["c"]
    _, out, _ = objfs("ls", "-r", account)
    assert out.splitlines()[1].split()[-1] == "b/a"
    code, _, err = objfs("ls", "-r", account, "--after", "b")
    assert (code, "one bucket" in err) == (2, True)
    _, out, _ = objfs("stat", account, "--json")
    told = json.loads(out)
    assert (told["buckets"], told["bytes"], told["objects"]) == (2, 11, 5)


def test_nothing_there_is_an_error(objfs, url):
    """Neither an object nor a folder: one sentence, exit code 1."""
    for command in ("ls", "stat", "du"):
        code, out, err = objfs(command, f"{url}/nothing")
        assert (code, out) == (1, "")
        assert "nothing" in err


def test_the_facts_of_an_object(objfs, url):
    """Size, type, etag and metadata; a folder says that it is one."""
    _, out, _ = objfs("stat", f"{url}/a", "--json")
    told = json.loads(out)
    assert told["content_type"] == "text/plain"
    assert told["size"] == 3
    assert told["metadata"] == {"colour": "red", "shape": "round"}
    assert told["etag"] == "202cb962ac59075b964b07152d234b70"
    _, out, _ = objfs("stat", f"{url}/a")
    assert "metadata colour       red" in out
    _, out, _ = objfs("stat", f"{url}/d", "--json")
    assert json.loads(out)["kind"] == "prefix"


def test_bytes_and_objects_are_counted(objfs, url):
    """Of the whole bucket, of a folder, of one object."""
    for what, size, count in ((url, 11, 5), (f"{url}/d", 4, 2), (f"{url}/a", 3, 1)):
        _, out, _ = objfs("du", what, "--json")
        assert json.loads(out) == {"ok": True, "url": what, "bytes": size, "objects": count}
    assert objfs("du", url)[1] == "11 bytes (11 B) in 5 objects\n"


def test_metadata_are_set_and_removed_one_by_one(objfs, url):
    """What is not named stays, as do bytes and content type."""
    assert objfs("meta", "set", f"{url}/a", "size=big", "colour=blue=ish")[0] == 0
    assert objfs("meta", "get", f"{url}/a")[1] == "colour=blue=ish\nshape=round\nsize=big\n"
    assert objfs("meta", "rm", f"{url}/a", "shape", "none")[0] == 0
    code, out, _ = objfs("meta", "get", f"{url}/a", "size", "shape", "--json")
    assert (code, json.loads(out)) == (1, {"ok": False, "metadata": {"size": "big"}})
    told = json.loads(objfs("stat", f"{url}/a", "--json")[1])
    assert (told["size"], told["content_type"]) == (3, "text/plain")


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["meta", "set", "URL/a", "no value"], 2, "is no metadata"),
        (["meta", "set", "URL/a", "a b=c"], 2, "cannot be a key of metadata"),
        (["meta", "set", "URL/a", "a=\n"], 2, "control characters"),
        (["meta", "get", "URL"], 1, "this store offers no metadata of buckets"),
        (["meta", "get", "URL/none"], 1, "none"),
        (["share", "URL/a"], 1, "this store offers no temporary URLs"),
        (["share", "URL"], 2, "names no object"),
        (["share", "URL/a", "--expires", "soon"], 2, "expires = 'soon'"),
        (["share", "URL/a", "--expires", "0"], 2, "expires = '0'"),
        (["publish", "URL"], 1, "this store offers no public reading"),
        (["unpublish", "URL"], 1, "this store offers no public reading"),
        (["share", "gs://c/k"], 1, "objfs offers no temporary URLs"),
        (["meta", "set", "gs://b/k", "a=b"], 1, "objfs offers no metadata of objects"),
        (["publish", "s3://"], 2, "bucket by bucket"),
        (["mb", "URL/a"], 2, "is not a bucket"),
        (["rb", "s3://"], 2, "is not a bucket"),
        (["mb", "mem://"], 2, "is not a bucket"),
        (["ls", "s4://b"], 2, "s4:// is not known"),
        (["ls", "URL", "--limit", "0"], 2, "--limit"),
        (["ls", "s3://b", "--cache-size", "1G"], 2, "--cache-size"),
        (["ls", "relative"], 6, "is in no mount of objfs"),
    ],
)
def test_what_cannot_be_is_one_sentence(objfs, url, args, code, sentence):
    """The exit code is README's, and the sentence names the operation or the option."""
    got, _, err = objfs(*[arg.replace("URL", url) for arg in args])
    assert (got, err.count("\n")) == (code, 1)
    assert sentence in err


# --- paths below a mount -------------------------------------------------------------------------


def registered(mountpoint: Path, url: str, *flags) -> None:
    """A mount of this process's, as far as the commands can see."""
    folder = runtime.records_folder()
    runtime.private_folder(folder)
    path = runtime.record_path(folder, str(mountpoint))
    store = asdict(resolve(url, str(mountpoint), flags).store)
    pid = 1  # some process that runs
    record = runtime.Record(pid, runtime.start_time(pid), str(mountpoint), url, "/c", "", store)
    runtime.register(path, record)


def test_a_path_below_a_mount_is_its_object(objfs, url, mountpoint):
    """Names are unescaped as the mount escapes them, and the mount's prefix comes in front."""
    registered(mountpoint, url)
    assert target_of(f"{mountpoint}/e/%empty/f", ()).key == "e//f"
    assert json.loads(objfs("stat", f"{mountpoint}/a", "--json")[1])["url"] == f"{url}/a"
    registered(mountpoint, f"{url}/d")
    assert json.loads(objfs("stat", f"{mountpoint}/x", "--json")[1])["url"] == f"{url}/d/x"
    assert json.loads(objfs("du", mountpoint, "--json")[1])["objects"] == 2


def test_a_path_below_a_mount_of_all_buckets(objfs, url, mountpoint):
    """The first name is the bucket."""
    registered(mountpoint, url.removesuffix("b"))
    assert json.loads(objfs("stat", f"{mountpoint}/b/d/x", "--json")[1])["url"] == f"{url}/d/x"
    assert json.loads(objfs("stat", f"{mountpoint}/b", "--json")[1])["kind"] == "bucket"
    assert json.loads(objfs("stat", mountpoint, "--json")[1])["kind"] == "account"


def test_a_path_is_reached_as_the_mount_reaches_it(mountpoint, monkeypatch):
    """The endpoint that the mount was given counts, unless a flag says another."""
    monkeypatch.setenv("OBJFS_ENDPOINT_URL", "https://first.example")
    registered(mountpoint, "s3://photos/2026")
    monkeypatch.delenv("OBJFS_ENDPOINT_URL")
    target = target_of(f"{mountpoint}/beach.jpg", ())
    assert target.config.endpoint_url == "https://first.example"
    assert (target.config.bucket, target.key) == ("photos", "2026/beach.jpg")


def test_what_is_in_memory_is_not_to_be_had(mountpoint):
    """A mem:// mount's store is its daemon's."""
    registered(mountpoint, "mem://")
    with pytest.raises(UsageError, match="in its daemon only"):
        target_of(f"{mountpoint}/a", ())
