"""From flags, environment and configuration file to a `Config`.

Semantics: a flag wins over the environment, that over the file, that over the default. `-o` words
are flags: among both the later one wins. An unknown key is an error wherever it stands; the
message names the nearest known one, because a typo that is ignored (`read_only` for a mount
that then writes) costs more than a refusal.
"""

import hashlib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from objfs.cli.options import BY_NAME, BY_VARIABLE, OPTIONS, Option
from objfs.cli.url import parse_url, refuse_credentials
from objfs.cli.values import ENDPOINT, FLAG, Value, nearest
from objfs.config import CacheConfig, Config, LogConfig, MountConfig, StoreConfig
from objfs.errors import UsageError
from objfs.store.azure import environment as azure
from objfs.store.swift import environment as swift

PREFIX = "OBJFS_"
OTHER_VARIABLES = frozenset({"OBJFS_DEBUG"})
"""Variables that are ours and no options."""

# What mount(8) and fstab(5) put into -o for themselves, or for a block device.
_FOREIGN = frozenset(
    {
        "rw", "_netdev", "nofail", "noauto", "auto", "user", "nouser", "users", "owner",
        "group", "defaults", "dev", "nodev", "suid", "nosuid", "exec", "noexec", "atime",
        "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "sync",
        "async", "loud", "silent", "remount",
    }
)  # fmt: skip
_FOREIGN_STARTS = ("x-", "X-", "comment=", "user=")
_ALIASES = {"ro": "read-only"}

Target = tuple[str, str]
"""The section and field of `Config` that a value goes to."""


@dataclass(frozen=True, slots=True)
class Given:
    """One option that was set somewhere: its text, and how to name the place."""

    option: Option
    text: str
    place: str


def resolve(
    url: str,
    mountpoint: str,
    flags: Sequence[Given] = (),
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Config:
    """The whole configuration of a mount. Raises `UsageError`.

    `flags` are in the order they were given. `environ` is the process's by default, `file` the
    user's configuration file, which need not exist.
    """
    environ = os.environ if environ is None else environ
    levels = (read_file(file or default_file()), read_environment(environ), flags)
    chosen: dict[Target, Value] = _defaults()
    for level in levels:
        for given in level:
            chosen[given.option.section, given.option.field] = read_value(given)
    return _build(url, mountpoint, chosen, environ)


def default_file() -> Path:
    """Where the configuration file is looked for: $XDG_CONFIG_HOME/objfs/config.toml."""
    return Path(platformdirs.user_config_dir("objfs")) / "config.toml"


def read_value(given: Given) -> Value:
    """The value behind the text. Raises `UsageError` with option, value, place and expectation."""
    option = given.option
    if option.kind is ENDPOINT:
        refuse_credentials(given.text, f"{option.name} ({given.place})")
    try:
        value = option.kind.parse(given.text)
    except ValueError:
        raise UsageError(
            f"{option.name} = {given.text!r} ({given.place}) is wrong: expected"
            f" {option.kind.expected}"
        ) from None
    if option.is_flag:
        return option.on if value else option.off
    return value


def read_environment(environ: Mapping[str, str]) -> list[Given]:
    """The options among the variables; an empty one counts as not set. Raises `UsageError`."""
    level = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        if name not in BY_VARIABLE:
            raise _unknown(name, [*BY_VARIABLE, *OTHER_VARIABLES], "the environment")
        if environ[name]:
            level.append(Given(BY_VARIABLE[name], environ[name], f"environment, {name}"))
    return _without_order(level)


def read_file(path: Path) -> list[Given]:
    """The options in a TOML file; none when there is no file. Raises `UsageError`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the configuration file {path} cannot be read: {error}") from None
    level = []
    for key, value in table.items():
        if key not in BY_NAME:
            raise _unknown(key, BY_NAME, str(path))
        level.append(Given(BY_NAME[key], _toml_text(BY_NAME[key], value, path), str(path)))
    return _without_order(level)


def _toml_text(option: Option, value: object, path: Path) -> str:
    """The value as text, if its TOML type fits the option.

    Surprise: `file-mode = 644` is decimal in TOML, so a mode must be a string.
    """
    if option.kind is FLAG:
        fits = isinstance(value, bool)
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = isinstance(value, str) or (number and option.kind.numbers)
    if not fits:
        shown = str(value).lower() if isinstance(value, bool) else value
        raise UsageError(
            f"{option.name} = {shown} ({path}) is wrong: expected {option.kind.expected}"
        )
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_mount_options(text: str) -> Iterator[Given]:
    r"""The options in one `-o` argument; `\,` is a comma inside a value. Raises `UsageError`."""
    for word in _split(text):
        if word in _FOREIGN or word.startswith(_FOREIGN_STARTS):
            continue
        name, mark, value = word.partition("=")
        key = _ALIASES.get(name, name.replace("_", "-"))
        if key not in BY_NAME:
            # Only the name is repeated: the value of a made-up option may be a secret.
            raise _unknown(name, [name.replace("-", "_") for name in BY_NAME] + ["ro"], "-o")
        option = BY_NAME[key]
        if not mark and not option.is_flag:
            raise UsageError(f"{name} (-o) needs a value: expected {option.kind.expected}")
        yield Given(option, value if mark else "true", f"-o {name}")


def _split(text: str) -> list[str]:
    words = text.replace("\\,", "\0").split(",")
    return [word.replace("\0", ",").strip() for word in words if word.strip()]


def _unknown(name: str, known: Iterable[str], place: str) -> UsageError:
    return UsageError(
        f"{place} sets {name}, which is no option of objfs",
        remedy=nearest(name, known) or "See objfs mount --help for the options.",
    )


def _without_order(level: list[Given]) -> list[Given]:
    """Refuse two flags for one target where no order says which is meant."""
    seen: dict[Target, Given] = {}
    for given in level:
        if not given.option.is_flag or read_value(given) != given.option.on:
            continue
        other = seen.setdefault((given.option.section, given.option.field), given)
        if other is not given:
            raise UsageError(
                f"{other.option.name} ({other.place}) and {given.option.name} ({given.place})"
                " contradict each other",
                remedy="Remove one of them.",
            )
    # A flag that is false must not undo its sibling that is true.
    return sorted(level, key=lambda given: given in seen.values())


def _defaults() -> dict[Target, Value]:
    chosen: dict[Target, Value] = {("mount", "uid"): os.getuid(), ("mount", "gid"): os.getgid()}
    for option in OPTIONS:
        if option.is_flag:
            chosen[option.section, option.field] = option.off
        elif option.default is not None:
            chosen[option.section, option.field] = option.kind.parse(option.default)
    return chosen


def default_cache(url: str, endpoint: str) -> str:
    """The cache folder of a mount that names none: one for each bucket and server."""
    digest = hashlib.sha256(f"{url}\0{endpoint}".encode()).hexdigest()[:16]
    return str(Path(platformdirs.user_cache_dir("objfs")) / digest)


def _build(
    url: str, mountpoint: str, chosen: dict[Target, Value], environ: Mapping[str, str]
) -> Config:
    sections: dict[str, dict[str, Value]] = {"": {}, "store": {}, "mount": {}, "cache": {}}
    for (section, field), value in chosen.items():
        sections.setdefault(section, {})[field] = value
    location = parse_url(url)
    cache = sections["cache"]
    endpoint = str(sections["store"].get("endpoint_url", ""))
    # Which account it is may stand in the environment, not in the URL.
    if location.scheme == "swift":
        profile = str(sections["store"].get("profile", ""))
        endpoint = " ".join(word for word in (endpoint, profile, swift.place(environ)) if word)
    if location.scheme == "az":
        endpoint = " ".join(word for word in (endpoint, azure.place(environ)) if word)
    cache.setdefault("folder", default_cache(url, endpoint))
    cache["store"] = f"{location.scheme}://{location.bucket}/{location.prefix}" + (
        f" at {endpoint}" if endpoint else ""
    )
    # Each value has the type of its field: tests/cli/test_settings.py checks the table for it.
    store = StoreConfig(
        url=url,
        scheme=location.scheme,
        bucket=location.bucket,
        prefix=location.prefix,
        whole_account=location.whole_account,
        **sections["store"],  # type: ignore[arg-type]  # keyed by the table, see above
    )
    return Config(
        store=store,
        cache=CacheConfig(**cache),  # type: ignore[arg-type]  # keyed by the table, see above
        mount=MountConfig(
            mountpoint=os.path.realpath(mountpoint),
            **sections["mount"],  # type: ignore[arg-type]  # keyed by the table, see above
        ),
        log=LogConfig(**sections["log"]),  # type: ignore[arg-type]  # keyed by the table, see above
        foreground=bool(sections[""]["foreground"]),
    )
