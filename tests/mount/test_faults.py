"""What each operation answers under each fault of the store, on a real mount (PROMISES P23).

The proxy stands between the mount and radosgw. `MATRIX` is the documentation: fault by operation,
the errnos that a program may get. Whatever it is, it comes within `--timeout` and a margin, and
when the fault is over the same mount goes on by itself.
"""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.mount.conftest import put, s3_store, through
from tests.mount.kit import Mounted, Store, eventually, mounted
from tests.proxy import Fault, Proxy, flipped, halved, refusal
from tests.servers import Server

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

TIMEOUT = 3.0
MARGIN = 4.0
"""Seconds: a second request of the same operation, and a machine of two busy cores."""
WRITTEN = b"written in the storm"
REFUSED = {"EACCES", "ENODEV"}
WEATHER = "WARNING"
"""The daemon says what the store did; each test looks for its own line."""


@dataclass(frozen=True)
class Trouble:
    """A fault, and what operations that need the store answer."""

    fault: Fault | None
    """None: connections are refused."""
    errnos: frozenset[str]


def trouble(fault: Fault | None, *errnos: str) -> Trouble:
    """A row's left side."""
    return Trouble(fault, frozenset(errnos))


FAULTS: dict[str, Trouble] = {
    "down": trouble(None, "EHOSTUNREACH", "ETIMEDOUT"),
    "slow": trouble(Fault(delay=0.3), "0", "ENOENT"),
    "hung": trouble(Fault(hang=True), "ETIMEDOUT"),
    "reset": trouble(Fault(reset="before"), "EHOSTUNREACH", "ETIMEDOUT"),
    "lost": trouble(Fault(reset="after"), "EHOSTUNREACH", "ETIMEDOUT"),
    # a HEAD has no body to say SlowDown in, so there it is EIO
    "throttled": trouble(
        Fault(answer=refusal(503, "SlowDown", Retry_After="1")), "EBUSY", "EIO", "ETIMEDOUT"
    ),
    "broken": trouble(Fault(answer=refusal(500, "InternalError")), "EIO", "ETIMEDOUT"),
    "denied": trouble(Fault(answer=refusal(403, "AccessDenied")), "EACCES"),
    "expired": trouble(Fault(answer=refusal(403, "ExpiredToken")), "EACCES"),
    # neither absent names nor an empty directory: the bucket says nothing of them any more
    "no bucket": trouble(Fault(answer=refusal(404, "NoSuchBucket")), "ENODEV"),
    "skewed": trouble(Fault(answer=refusal(403, "RequestTimeTooSkewed")), "EACCES"),
}

# Operations that need the store answer one of the fault's errnos; the others answer 0, always.
# What the server did although its answer was lost is a success when a repeat finds it.
NEEDS_STORE = {
    "stat unknown": True,
    "list": True,
    "read cold": True,
    "read warm": False,
    "write sync": True,
    "unlink": True,
    "rename": True,
    "mkdir": True,
}


def stat_unknown(root: Path) -> None:
    """A name that nobody asked for yet."""
    (root / "new" / "unknown").stat()


def write(root: Path) -> None:
    """A new file, closed."""
    fd = os.open(root / "written", os.O_CREAT | os.O_WRONLY)
    try:
        os.write(fd, WRITTEN)
    except BaseException:
        with suppress(OSError):
            os.close(fd)
        raise
    os.close(fd)


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "stat unknown": stat_unknown,
    "list": lambda root: list((root / "unlisted").iterdir()),
    "read cold": lambda root: (root / "cold").read_bytes(),
    "read warm": lambda root: (root / "warm").read_bytes(),
    "write sync": write,
    "unlink": lambda root: (root / "victim").unlink(),
    "rename": lambda root: (root / "old").rename(root / "renamed"),
    "mkdir": lambda root: (root / "made").mkdir(),
}


def verdict(operation: Callable[[Path], object], root: Path) -> tuple[str, float]:
    """The errno's name, "0" for success, and the seconds it took."""
    begun = time.monotonic()
    try:
        operation(root)
    except OSError as error:
        return errno.errorcode[error.errno or 0], time.monotonic() - begun
    return "0", time.monotonic() - begun


def inject(link: Proxy, fault: Fault | None) -> None:
    """Let it begin."""
    if fault is None:
        link.down()
    else:
        link.fail(replace(fault, hits=0))


@pytest.mark.parametrize("name", FAULTS)
def test_matrix(name: str, radosgw: Server, link: Proxy, tmp_path: Path) -> None:
    """Each operation answers what the table says, in time; then the mount mends by itself."""
    store = through(radosgw, link)
    for key in ("cold", "warm", "victim", "old", "new/known", "unlisted/x"):
        put(store, key, key.encode() * 1000)
    options = ("--timeout", f"{TIMEOUT:g}s")
    with mounted(store, tmp_path, *options, allowed=[WEATHER]) as mount:
        for known in ("cold", "victim", "old"):
            (mount.path / known).stat()
        for absent in ("written", "renamed", "made"):  # else open(2) already asks the store
            assert not (mount.path / absent).exists()
        (mount.path / "warm").read_bytes()
        (mount.path / "new").stat()
        (mount.path / "unlisted").stat()
        inject(link, FAULTS[name].fault)
        wrong = []
        for operation, act in OPERATIONS.items():
            said, took = verdict(act, mount.path)
            wanted = FAULTS[name].errnos if NEEDS_STORE[operation] else {"0"}
            print(f"{name:10} {operation:13} {said:12} {took:5.1f} s")  # noqa: T201  # the table
            if said not in wanted and not (name == "lost" and said in {"0", "ENOENT"}):
                wrong.append(f"{operation}: {said}, not {sorted(wanted)}")
            if took > TIMEOUT + MARGIN:
                wrong.append(f"{operation}: {took:.1f} s")
        link.mend()
        assert not wrong
        mended(store, mount, in_background=not FAULTS[name].errnos & REFUSED)
    assert store.objects()["written"] == WRITTEN


def mended(store: Store, mount: Mounted, *, in_background: bool) -> None:
    """Without a remount: reads and writes work, and what close(2) refused gets stored."""
    assert eventually(lambda: verdict(OPERATIONS["read cold"], mount.path)[0] == "0", 10)
    assert eventually(lambda: verdict(OPERATIONS["list"], mount.path)[0] == "0", 10)
    (mount.path / "after").write_bytes(b"after")
    assert store.client.get_object(Bucket=store.bucket, Key="after")["Body"].read() == b"after"
    if in_background:  # a refusal is tried again after half a minute, or by the unmount
        assert eventually(lambda: store.objects().get("written") == WRITTEN)
    assert (mount.path / "written").read_bytes() == WRITTEN


def test_flipped_bytes_are_never_good(radosgw: Server, link: Proxy, tmp_path: Path) -> None:
    """P7: one flipped byte in a ranged GET; a small object is fetched again, a large one is EIO."""
    store = through(radosgw, link)
    small, large = os.urandom(300_000), os.urandom(12 * 2**20)
    put(store, "small", small)
    put(store, "large", large)
    with mounted(store, tmp_path, allowed=["those of its ETag"]) as mount:
        once = link.fail(Fault("GET", "/small", times=1, change=flipped))
        assert (mount.path / "small").read_bytes() == small
        assert once.hits == 1
        link.fail(Fault("GET", "/large", change=flipped))
        with pytest.raises(OSError, match="Input/output"):
            (mount.path / "large").read_bytes()
        link.mend()
        assert (mount.path / "large").read_bytes() == large


def test_short_bodies_are_fetched_again(radosgw: Server, link: Proxy, tmp_path: Path) -> None:
    """A short body, whether its Content-Length agrees or not, is never taken for the file."""
    store = through(radosgw, link)
    data = os.urandom(300_000)
    for name in ("agrees", "breaks"):
        put(store, name, data)
    put(store, "always", data)
    with mounted(store, tmp_path, allowed=[WEATHER]) as mount:
        for name in ("agrees", "breaks"):
            link.fail(Fault("GET", name, times=1, change=halved, agrees=name == "agrees"))
            assert (mount.path / name).read_bytes() == data
        link.fail(Fault("GET", "always", change=halved))
        with pytest.raises(OSError, match="Input/output"):
            (mount.path / "always").read_bytes()


def test_async_close_succeeds_in_any_weather(radosgw: Server, link: Proxy, tmp_path: Path) -> None:
    """With `--write-back=async` close(2) is 0 while the store is down; then it gets stored."""
    store = through(radosgw, link)
    with mounted(store, tmp_path, "--write-back", "async", allowed=[WEATHER]) as mount:
        assert not (mount.path / "written").exists()
        link.down()
        assert verdict(write, mount.path)[0] == "0"
        link.mend()
        assert eventually(lambda: store.objects().get("written") == WRITTEN)


def test_bucket_deleted_underneath(radosgw: Server, tmp_path: Path) -> None:
    """A bucket that is removed and made again: nothing looks deleted, what is written is kept."""
    store = s3_store(radosgw)
    for key in ("d/f", "cold"):
        put(store, key, b"there")
    with mounted(store, tmp_path, "--metadata-ttl", "0", allowed=["no such bucket"]) as mount:
        root = mount.path
        assert [path.name for path in (root / "d").iterdir()] == ["f"]
        fd = os.open(root / "written", os.O_CREAT | os.O_WRONLY)
        os.write(fd, WRITTEN)
        with (root / "cold").open("rb", buffering=0) as opened:
            for key in ("d/f", "cold"):
                store.client.delete_object(Bucket=store.bucket, Key=key)
            store.client.delete_bucket(Bucket=store.bucket)
            asked: dict[str, Callable[[Path], object]] = {
                "list the root": lambda root: list(root.iterdir()),
                "list a directory": lambda root: list((root / "d").iterdir()),
                "stat": lambda root: (root / "d" / "f").stat(),
                "stat what never was": lambda root: (root / "unknown").stat(),
                "read": lambda _: opened.read(),
                "unlink": lambda root: (root / "d" / "f").unlink(),
                "rename": lambda root: (root / "d" / "f").rename(root / "g"),
                "close": lambda _: os.close(fd),
            }
            said = {name: verdict(ask, root)[0] for name, ask in asked.items()}
        assert said == dict.fromkeys(asked, "ENODEV")
        status = mount.objfs("status", str(root)).stdout
        assert f"{root}/written" in status
        assert "no such bucket (NoSuchBucket" in status
        store.client.create_bucket(Bucket=store.bucket)
        assert mount.objfs("drain", str(root)).returncode == 0
        assert [path.name for path in root.iterdir()] == ["written"]
    assert store.objects() == {"written": WRITTEN}


def test_no_such_host(radosgw: Server, tmp_path: Path) -> None:
    """An endpoint whose name does not resolve: no mount, exit code 5, a sentence."""
    store = s3_store(radosgw)
    store.options = ("--endpoint-url", "http://store.invalid:9", "--region", "r")
    mount = Mounted(store, tmp_path)
    done = mount.objfs("mount", *store.options, store.url, str(mount.path))
    assert done.returncode == 5, done.stderr
    assert "store.invalid" in done.stderr


NO_DNS = """\
import os, socket

resolve = socket.getaddrinfo

def look_up(host, *rest, **more):
    if host == "store.test":
        if os.path.exists(os.environ["NO_DNS"]):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        host = "127.0.0.1"
    return resolve(host, *rest, **more)

socket.getaddrinfo = look_up
"""


def test_p23_names_that_stop_to_resolve(radosgw: Server, link: Proxy, tmp_path: Path) -> None:
    """P23: DNS fails while mounted: EHOSTUNREACH; the mount goes on when it is back."""
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(NO_DNS)
    fails = tmp_path / "dns-fails"
    store = through(radosgw, link)
    endpoint = link.endpoint.replace("127.0.0.1", "store.test")
    store.options = ("--endpoint-url", endpoint, "--region", radosgw.region, "--path-style")
    store.env |= {"PYTHONPATH": str(tmp_path / "python"), "NO_DNS": str(fails)}
    store.env["AWS_ENDPOINT_URL_S3"] = endpoint
    put(store, "cold", b"cold")
    options = ("--timeout", f"{TIMEOUT:g}s")
    with mounted(store, tmp_path, *options, allowed=[WEATHER]) as mount:
        (mount.path / "cold").stat()
        fails.touch()
        link.down()  # a connection that is open needs no name
        link.up()
        said, took = verdict(OPERATIONS["read cold"], mount.path)
        assert said in {"EHOSTUNREACH", "ETIMEDOUT"}
        assert took < TIMEOUT + MARGIN
        assert "store.test" in mount.log.read_text()
        fails.unlink()
        assert eventually(lambda: verdict(OPERATIONS["read cold"], mount.path)[0] == "0", 10)
        assert (mount.path / "cold").read_bytes() == b"cold"
