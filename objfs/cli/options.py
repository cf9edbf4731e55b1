"""The one table of options.

Everything a user can set is one row here. Rows become click options, `OBJFS_*` variables, keys of
the TOML file, `-o` words and the README's table, so none of these can drift from the others.
Secrets are not options: they would end up in `ps`, in fstab and in shell histories.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from objfs.cli import values
from objfs.cli.values import Kind, Value

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Option:
    """One row: its long name, where its value goes in `objfs.config`, and what to tell people."""

    name: str
    section: str
    """The section of `Config` ("" is `Config` itself) …"""
    field: str
    """… and the field in it."""
    kind: Kind
    help: str
    metavar: str = ""
    default: str | None = None
    """As a user would write it; None is computed (see `shown_default`) or empty."""
    shown_default: str = ""
    on: Value = True
    """What a flag sets when it is true …"""
    off: Value = False
    """… and when it is false, which is also its default."""

    @property
    def is_flag(self) -> bool:
        """Given without a value on the command line."""
        return self.kind is values.FLAG

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """As in the environment."""
        return "OBJFS_" + self.name.upper().replace("-", "_")


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "endpoint-url", "store", "endpoint_url", values.ENDPOINT,
        "Server to talk to instead of the usual one; for Swift the account's storage URL.", "URL",
        shown_default="from the profile, environment or login",
    ),
    Option(
        "profile", "store", "profile", values.WORD,
        "Profile in ~/.aws/config and ~/.aws/credentials; for Swift a cloud of clouds.yaml.",
        "NAME",
        shown_default="AWS_PROFILE, or default; OS_CLOUD",
    ),
    Option(
        "region", "store", "region", values.WORD,
        "Region of the bucket.", "NAME", shown_default="from the profile; OS_REGION_NAME",
    ),
    Option(
        "path-style", "store", "addressing", values.FLAG,
        "Put the bucket's name into the path of requests.", shown_default="guessed",
        on="path", off="auto",
    ),
    Option(
        "virtual-style", "store", "addressing", values.FLAG,
        "Put the bucket's name into the host name of requests.", shown_default="guessed",
        on="virtual", off="auto",
    ),
    Option(
        "ca-bundle", "store", "ca_bundle", values.READABLE,
        "PEM file of the authorities to trust for TLS.", "FILE", shown_default="the system's",
    ),
    Option(
        "no-sign-request", "store", "sign_requests", values.FLAG,
        "Send no credentials: for public buckets.", on=False, off=True,
    ),
    Option(
        "segment-size", "store", "segment_size", values.size(0, ""),
        "Swift: bytes that each segment of a large object has at least, up to 5G.", "SIZE",
        shown_default="8MiB, or more where there would be too many",
    ),
    Option(
        "connections", "store", "connections", values.whole(1, 1024),
        "Requests under way at once.", "N", "32",
    ),
    Option(
        "timeout", "store", "timeout", values.duration(1, "of at least one second "),
        "Time that one read of the store may take in all, retries included.", "TIME", "60",
    ),
    Option(
        "read-only", "mount", "read_only", values.FLAG, "Take no writes (also -o ro).",
    ),
    Option(
        "metadata-ttl", "mount", "metadata_ttl", values.duration(0, ""),
        "How long names, sizes and absences are believed; 0 asks every time.", "TIME", "60",
    ),
    Option(
        "write-back", "mount", "write_back", values.one_of("sync", "async"),
        "What close waits for: the store (sync), or bytes and intent on the local disk (async).",
        "WHEN", "sync",
    ),
    Option(
        "fsync", "mount", "fsync", values.one_of("local", "store"),
        "What fsync waits for: the local disk, or the store.", "WHERE", "local",
    ),
    Option(
        "on-conflict", "mount", "on_conflict", values.one_of("keep-both", "overwrite", "fail"),
        "When somebody else changed the object: store ours beside it, over it, or not.",
        "WHAT", "keep-both",
    ),
    Option(
        "uid", "mount", "uid", values.whole(0, 2**32 - 2),
        "Owner of every file.", "N", shown_default="you",
    ),
    Option(
        "gid", "mount", "gid", values.whole(0, 2**32 - 2),
        "Group of every file.", "N", shown_default="yours",
    ),
    Option(
        "file-mode", "mount", "file_mode", values.MODE,
        "Permissions of files that carry none, before the umask.", "OCTAL", "0644",
    ),
    Option(
        "dir-mode", "mount", "dir_mode", values.MODE,
        "Permissions of directories that carry none, before the umask.", "OCTAL", "0755",
    ),
    Option(
        "umask", "mount", "umask", values.MODE,
        "Permissions that nothing in the mount has.", "OCTAL", "0022",
    ),
    Option(
        "allow-other", "mount", "allow_other", values.FLAG, "Let other users in.",
    ),
    Option(
        "cache-dir", "cache", "folder", values.PATH,
        "Folder of the local copies and of what is not uploaded yet; one for each mount.", "DIR",
        shown_default="~/.cache/objfs/<hash of URL and endpoint>",
    ),
    Option(
        "cache-size", "cache", "size", values.size(MIB, "of at least 1M "),
        "Disk space that the cache folder may take.", "SIZE", "10GiB",
    ),
    Option(
        "read-ahead", "cache", "read_ahead", values.size(0, ""),
        "How far ahead of a sequential reader to fetch.", "SIZE", "32MiB",
    ),
    Option(
        "foreground", "", "foreground", values.FLAG,
        "Stay in the foreground, log to stderr; Ctrl-C unmounts.",
    ),
    Option(
        "log-file", "log", "file", values.PATH,
        "File to log to.", "FILE", shown_default="objfs.log in the cache folder",
    ),
    Option(
        "log-level", "log", "level", values.one_of("debug", "info", "warning", "error"),
        "Least important thing to log: debug, info, warning or error.", "LEVEL", "info",
    ),
    Option(
        "log-format", "log", "format", values.one_of("text", "json"),
        "text, or json (one object a line).", "FORMAT", "text",
    ),
)  # fmt: skip

BY_NAME: Final[Mapping[str, Option]] = {option.name: option for option in OPTIONS}
BY_VARIABLE: Final[Mapping[str, Option]] = {option.variable: option for option in OPTIONS}

SECTION_TITLES: Final = {
    "store": "The store",
    "mount": "The mount",
    "cache": "The cache",
    "log": "The log",
    "": "The process",
}


def default_text(option: Option) -> str:
    """What happens when the option is not given, for people."""
    if option.default is not None:
        return option.default
    return option.shown_default or ("off" if option.is_flag else "none")


def markdown_table() -> str:
    """The README's table of options."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in OPTIONS:
        name = f"`{option.flag} {option.metavar}`" if option.metavar else f"`{option.flag}`"
        rows.append(f"| {name} | {default_text(option)} | {option.help} |")
    return "\n".join(rows) + "\n"
