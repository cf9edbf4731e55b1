"""The control socket's two ends, and the commands against a daemon that only pretends."""

import json
import os
import socket
import stat
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

from objfs import control, runtime
from objfs.cli import places, report
from objfs.cli.main import run
from objfs.control import DaemonError, Document
from objfs.errors import Busy, Forbidden, MountError, NotFound
from objfs.runtime import Mounted, Record

DRAFT = {
    "path": "/a\x1b[2Jb", "key": "a", "number": 7, "bytes": 2048, "state": "failing",
    "tries": 3, "error": "PUT a: refused", "next_try": 12.0,
}  # fmt: skip
STATUS = {
    "mountpoint": "/mnt/x", "url": "s3://b", "pid": 1, "log": "/log", "unmounted": False,
    "uptime": 200.0, "cache": {"folder": "/c", "limit": 2**30, "clean": 1, "dirty": 2048},
    "uploads": {"bytes": 2048, "failing": 1, "sending": 0, "waiting": 0, "writing": 0},
    "drafts": [DRAFT], "conflicts": ["/f.conflict-h-1"], "requests": {"put": 3},
    "traffic": {"in": 0, "out": 5},
}  # fmt: skip


async def answer(question: Document) -> AsyncGenerator[Document, None]:
    """A daemon that owes one file."""
    match question["command"]:
        case "status":
            yield STATUS
        case "pending":
            yield {"drafts": [DRAFT] if question.get("path", "/") in {"/", DRAFT["path"]} else []}
        case "retry":
            yield {"asked": 1}
        case "drain":
            yield {"files": 1, "bytes": 2048}
            yield {"done": question["seconds"] > 5, "drafts": [DRAFT][question["seconds"] > 5 :]}
        case "discard":
            raise Busy("/a is open", remedy="Close it")
        case "refresh":
            yield {"path": question["path"], "exists": False, "asked": 1}
        case "bug":
            raise ZeroDivisionError
        case "silence":
            await trio.sleep_forever()


@pytest.fixture
def address(tmp_path):
    """The socket of a daemon, in a folder whose path no socket's name could hold."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    path = folder / "s"
    ready, stop = threading.Event(), []

    async def main():
        async with trio.open_nursery() as nursery:
            await nursery.start(control.serve, path, answer)
            stop.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(5)
    yield path
    token, scope = stop[0]
    token.run_sync_soon(scope.cancel)
    thread.join()
    assert not path.exists()


@pytest.fixture
def mounted(address, monkeypatch):
    """A mount at /mnt/x whose daemon, this process, has that socket."""
    record = Record(os.getpid(), runtime.start_time(os.getpid()), "/mnt/x", "s3://b", "/c", "")
    folder = runtime.records_folder()
    runtime.private_folder(folder)
    path = runtime.record_path(folder, "/mnt/x")
    runtime.register(path, record)
    runtime.socket_path(path, record.pid).symlink_to(address)
    table = {"/mnt/x": Mounted("/mnt/x", runtime.FSTYPE, "s3://b", os.getuid())}
    monkeypatch.setattr(runtime, "mounts", lambda: table)
    monkeypatch.setattr(runtime, "_folders", lambda: iter([folder]))  # not whose else daemons run
    return record, table


def test_the_socket_is_its_owners(address):
    """0600: who may not use it may not even connect."""
    assert stat.S_IMODE(address.stat().st_mode) == 0o600


def test_one_question_one_answer(address):
    """A line each; a command with progress has several."""
    assert control.ask_once(address, "retry") == {"asked": 1}
    assert len(list(control.ask(address, "drain", seconds=9))) == 2


def test_a_refusal_keeps_its_words(address):
    """The daemon's error comes out with its remedy and its exit code."""
    with pytest.raises(DaemonError, match=r"/a is open\. Close it") as caught:
        control.ask_once(address, "discard")
    assert caught.value.exit_code == 1


def test_a_bug_is_a_sentence_and_a_traceback(address, expected_logs):
    """P24 for commands: the daemon goes on."""
    expected_logs.allow("a command failed")
    with pytest.raises(DaemonError, match="its log has a traceback"):
        control.ask_once(address, "bug")
    assert control.ask_once(address, "retry")


def test_nonsense_is_refused(address):
    """Whatever else connects does no harm."""
    for line in (b"\n", b"[1]\n", b"\xff\xfe\n"):
        with socket.socket(socket.AF_UNIX) as stream:
            folder = os.open(address.parent, os.O_PATH)
            stream.connect(f"/proc/self/fd/{folder}/{address.name}")
            os.close(folder)
            stream.sendall(line)
            assert b"did not understand" in stream.makefile("rb").readline()


def test_silence_has_an_end(address):
    """A daemon that hangs is a sentence after the time it has."""
    with pytest.raises(DaemonError, match=r"has not answered silence for 0.05 s\. It hangs"):
        control.ask_once(address, "silence", silence=0.05)


def test_nobody_listens(tmp_path):
    """No socket, and the socket of a daemon that was killed, are the same sentence."""
    with pytest.raises(NotFound, match="no daemon listens"):
        control.ask_once(tmp_path / "s", "status")
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(str(tmp_path / "s"))
    with pytest.raises(NotFound, match="no daemon listens"):
        control.ask_once(tmp_path / "s", "status")


def test_another_users_socket(address, monkeypatch):
    """A refusal of the kernel says whose daemon it is not."""

    class Refused(socket.socket):
        def connect(self, _):
            raise PermissionError

    monkeypatch.setattr(socket, "socket", Refused)
    with pytest.raises(Forbidden, match="belongs to another user"):
        control.ask_once(address, "status")


def test_dead_sockets_are_cleared_away(tmp_path):
    """The next mount in the same place removes what a killed daemon left."""
    path = tmp_path / "0123.json"
    dead = runtime.socket_path(path, 2**22 + 1)
    live = runtime.socket_path(path, os.getpid())
    dead.touch()
    live.touch()
    runtime.register(path, Record(1, 1, "/m", "u", "c", ""))
    assert (dead.exists(), live.exists()) == (False, True)


def test_status_tells_what_was_fetched_for_nothing():
    """Directory read-ahead: how many files, how many bytes, and what nobody opened."""
    ahead = {"fetched": 40, "bytes": 2**20, "used": 30, "unused": 3}
    lines = report.of_mount({**STATUS, "ahead": ahead})
    found = "\n".join(line.plain for line in lines)
    assert "40 small files fetched before they were opened (1.0 MiB), 3 of them for" in found


def test_status_for_a_person(mounted, capsys):
    """What is wrong, and what to do; nothing that a terminal would obey."""
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert "/mnt/x  s3://b" in out
    assert "up 3 min 20 s" in out
    assert r"/mnt/x/a\x1b[2Jb  (2.0 KiB, failing, 3 tries, next in 12 s)" in out
    assert "PUT a: refused" in out
    assert "objfs retry /mnt/x" in out
    assert "/mnt/x/f.conflict-h-1" in out
    assert "\x1b" not in out


def test_status_for_a_program(mounted, capsys):
    """The document that the help describes."""
    assert run(["status", "/mnt/x/some/file", "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert answered == {"ok": True, "mounts": [STATUS]}


def test_pending_and_retry(mounted, capsys):
    """One line for each draft; the number that is tried."""
    assert run(["pending"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert run(["retry", "/mnt/x"]) == 0
    assert "1 upload is tried now" in capsys.readouterr().out


def test_drain(mounted, capsys):
    """0 when all is stored, 1 and the list when the time is over."""
    assert run(["drain", "--timeout", "10"]) == 0
    assert run(["drain", "/mnt/x", "--timeout", "1", "--json"]) == 1
    written = capsys.readouterr()
    assert "not stored after 1 s" in written.err
    assert json.loads(written.out)["drafts"][0]["mountpoint"] == "/mnt/x"
    assert run(["drain", "--timeout", "soon"]) == 2


def test_discard_asks(mounted, capsys, monkeypatch):
    """Without a terminal only --yes discards; the daemon's refusal is told."""
    path = f"/mnt/x{DRAFT['path']}"
    assert run(["discard", path]) == 2
    assert "Give --yes" in capsys.readouterr().err
    assert run(["discard", path, "--yes"]) == 1
    assert "/a is open" in capsys.readouterr().err


def test_refresh(mounted, capsys):
    """A name that is gone is said, and is no failure."""
    assert run(["refresh", "/mnt/x/a"]) == 0
    assert "the store has nothing of that name" in capsys.readouterr().out


def test_a_path_finds_its_mount(mounted, monkeypatch, tmp_path):
    """By the table, through links above the mount, with .. taken out; never looking inside."""
    (tmp_path / "link").symlink_to("/mnt/x/d")
    for path in ("/mnt/x/d/f", "/mnt/../mnt/x/d/./f", f"{tmp_path}/link/f"):
        place, inside = places.place_of(path)
        assert (place.mountpoint, inside) == ("/mnt/x", "/d/f")
    assert places.place_of("/mnt/x")[1] == "/"
    with pytest.raises(MountError, match="is in no mount of objfs"):
        places.place_of("/mnt/xy/d")


def test_a_mount_of_somebody_else(mounted):
    """Named with its user; one of ours without a record is a doubt."""
    _, table = mounted
    table["/mnt/y"] = Mounted("/mnt/y", runtime.FSTYPE, "s3://b", os.getuid() + 12345)
    with pytest.raises(Forbidden, match=f"/mnt/y was mounted by user {os.getuid() + 12345}"):
        places.place_of("/mnt/y/a")
    assert "who can ask its daemon" in places.unknown(table["/mnt/y"])
    table["/mnt/y"] = Mounted("/mnt/y", runtime.FSTYPE, "s3://b", os.getuid())
    with pytest.raises(MountError, match=r"left no record .* another XDG_RUNTIME_DIR"):
        places.place_of("/mnt/y/a")


def test_times_for_people():
    """Two units at most."""
    said = [report.span(s) for s in (0, 59.4, 60, 3600, 90_000)]
    assert said == ["0 s", "59 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"]


def test_export_needs_a_cache(tmp_path: Path, capsys):
    """A folder that is none, and too few words, are sentences."""
    assert run(["export", "--all", str(tmp_path / "out"), "--cache-dir", str(tmp_path)]) == 1
    assert "is no cache folder of objfs" in capsys.readouterr().err
    assert run(["export", str(tmp_path)]) == 2
    assert "PATH DEST, or --all DEST" in capsys.readouterr().err
