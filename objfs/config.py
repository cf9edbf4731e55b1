"""The configuration, as frozen sections; each constructor takes its own section and no other.

Pure: values only. How flags, environment and the configuration file become these is
`objfs.cli.settings`.
"""

from dataclasses import dataclass

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Which bucket, and how to reach it."""

    url: str
    """As the user gave it: `s3://bucket/prefix`, `swift://container`, `file:///path`, `mem://`."""
    scheme: str
    bucket: str
    """The bucket's name, "" for all of them; for the embedded store the path of its folder."""
    whole_account: bool = False
    """Every bucket is a directory at the top."""
    prefix: str = ""
    """Key prefix that the mount shows as its root; "" or ending in "/"."""
    endpoint_url: str = ""
    profile: str = ""
    region: str = ""
    addressing: str = "auto"
    """"auto", "path" or "virtual"."""
    ca_bundle: str = ""
    sign_requests: bool = True
    segment_size: int = 0
    """Bytes that each segment of a large Swift object has at least; 0 leaves it to objfs."""
    connections: int = 32
    """Requests under way at once, and the size of the connection pool."""
    timeout: float = 60.0
    """Seconds that one read of the store may take in all, retries included."""


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """Where local bytes lie, and how many."""

    folder: str
    store: str = ""
    """Whose copies and drafts these are, for people to read; "" where nobody minds."""
    size: int = 10 * GIB
    """Bytes: cached ranges and drafts together."""
    read_ahead: int = 32 * MIB
    """Bytes that one sequential reader may be ahead."""


@dataclass(frozen=True, slots=True)
class MountConfig:
    """What the kernel is told."""

    mountpoint: str
    read_only: bool = False
    metadata_ttl: float = 60.0
    """Seconds that names, attributes and absences are believed."""
    uid: int = 0
    gid: int = 0
    file_mode: int = 0o644
    dir_mode: int = 0o755
    umask: int = 0
    allow_other: bool = False
    write_back: str = "sync"
    """"sync": close waits for the store; "async": for the local disk."""
    fsync: str = "local"
    """What fsync waits for: "local" disk or "store"."""
    on_conflict: str = "keep-both"
    """"keep-both", "overwrite" or "fail"."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Where the log goes."""

    file: str = ""
    """"" is stderr in the foreground and syslog-free silence otherwise: see `objfs.cli.logs`."""
    level: str = "info"
    format: str = "text"
    """"text" or "json" (one object a line)."""


@dataclass(frozen=True, slots=True)
class Config:
    """All of it; only `objfs.cli` and `objfs.daemon` see the whole."""

    store: StoreConfig
    cache: CacheConfig
    mount: MountConfig
    log: LogConfig
    foreground: bool = False
