"""Options from every place: what they mean, which place wins, what is refused and how."""

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from objfs import config as sections
from objfs.cli.options import BY_NAME, OPTIONS, SECTION_TITLES, Option, markdown_table
from objfs.cli.settings import (
    Given,
    read_environment,
    read_file,
    read_mount_options,
    resolve,
)
from objfs.cli.values import Value, parse_duration, parse_mode, parse_size
from objfs.errors import UsageError

NOWHERE = Path("/nonexistent/config.toml")
CLASSES = {
    "store": sections.StoreConfig,
    "cache": sections.CacheConfig,
    "mount": sections.MountConfig,
    "log": sections.LogConfig,
    "": sections.Config,
}
# Four values each, so that every level can say something else.
SAMPLES = {
    "write-back": ["sync", "async", "sync", "async"],
    "fsync": ["local", "store", "local", "store"],
    "on-conflict": ["keep-both", "overwrite", "fail", "keep-both"],
    "endpoint-url": [f"http://h{n}:1" for n in range(4)],
    "profile": ["a", "b", "c", "d"],
    "region": ["a", "b", "c", "d"],
    "ca-bundle": ["/etc/passwd", "/etc/group", "/etc/hosts", "/etc/fstab"],
    "log-level": ["debug", "info", "warning", "error"],
    "log-format": ["text", "json", "text", "json"],
    "cache-dir": ["/a", "/b", "/c", "/d"],
    "log-file": ["/a", "/b", "/c", "/d"],
    "cache-size": ["1M", "2MiB", "3m", "4194304"],
    "file-mode": ["0600", "640", "0o644", "0400"],
    "dir-mode": ["0700", "750", "0o755", "0500"],
    "umask": ["077", "27", "0o22", "0"],
}
NUMBERS = ["1", "2", "3", "4"]


def chosen(config: sections.Config, option: Option) -> Any:
    """The value in the configuration that the option sets."""
    owner = getattr(config, option.section) if option.section else config
    return getattr(owner, option.field)


def samples(option: Option) -> list[str]:
    """Texts to set the option to; a flag has two."""
    if option.is_flag:
        return ["true", "false", "true", "false"]
    return SAMPLES.get(option.name, NUMBERS)


def meaning(option: Option, text: str) -> Value:
    """What the option's field must be after `text`."""
    value = option.kind.parse(text)
    return (option.on if value else option.off) if option.is_flag else value


def toml(option: Option, text: str) -> str:
    """One line of the configuration file."""
    return f"{option.name} = {text}\n" if option.is_flag else f'{option.name} = "{text}"\n'


def complaint(call: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """The sentence that a call refuses its arguments with."""
    with pytest.raises(UsageError) as caught:
        call(*arguments, **named)
    return str(caught.value)


@hypothesis_given(
    option=st.sampled_from(OPTIONS),
    levels=st.lists(st.sampled_from(["file", "environment", "-o", "flag"]), unique=True),
    texts=st.permutations(range(4)),
)
def test_the_nearest_place_wins(tmp_path_factory, option, levels, texts):
    """A flag wins over the environment, that over the file, that over the default."""
    said = dict(zip(levels, (samples(option)[n] for n in texts), strict=False))
    path = tmp_path_factory.getbasetemp() / "precedence.toml"
    path.write_text(toml(option, said["file"]) if "file" in said else "")
    environ = {option.variable: said["environment"]} if "environment" in said else {}
    flags = [
        given
        for level in levels
        for given in (
            [Given(option, said["flag"], option.flag)]
            if level == "flag"
            else read_mount_options(f"{option.name}={said['-o']}")
            if level == "-o"
            else []
        )
    ]
    config = resolve("mem://", "/mnt", flags, environ=environ, file=path)
    command_line = [level for level in levels if level in {"-o", "flag"}]
    winners = [*command_line[-1:], *(n for n in ("environment", "file") if n in said)]
    expected = (
        meaning(option, said[winners[0]])
        if winners
        else chosen(resolve("mem://", "/mnt", environ={}, file=NOWHERE), option)
    )
    assert chosen(config, option) == expected


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_row_fits_its_field(option):
    """The value of each option has the type of the field that it goes to, and its default."""
    fields = {field.name: field for field in dataclasses.fields(CLASSES[option.section])}
    field = fields[option.field]
    value = meaning(option, samples(option)[0])
    assert type(value) is field.type
    if option.default is not None and option.name != "umask":
        assert option.kind.parse(option.default) == field.default
    if option.is_flag and option.section:
        assert option.off == field.default
    assert option.section in SECTION_TITLES


def test_defaults_are_the_callers():
    """Nothing given: files belong to the caller, with the usual umask, and a cache of their own."""
    config = resolve("mem://", "/mnt", environ={}, file=NOWHERE)
    assert (config.mount.uid, config.mount.gid) == (os.getuid(), os.getgid())
    assert config.mount.umask == 0o022
    assert not config.foreground
    assert re.fullmatch(r"[0-9a-f]{16}", Path(config.cache.folder).name)
    assert config.cache.folder.startswith(os.environ["XDG_CACHE_HOME"])


def test_caches_differ_by_url_and_endpoint():
    """Two buckets never share a folder, and neither do two servers with the same bucket."""
    endpoint = [Given(BY_NAME["endpoint-url"], "http://h:1", "--endpoint-url")]
    folders = {
        resolve(url, "/mnt", flags, environ={}, file=NOWHERE).cache.folder
        for url in ("s3://a", "s3://b", "s3://a/p")
        for flags in ((), endpoint)
    }
    assert len(folders) == 6


def test_swift_accounts_do_not_share_a_cache_folder():
    """One container's name in two accounts is two containers; a changed key is no other account."""
    one = {"ST_AUTH": "http://a", "ST_USER": "u", "ST_KEY": "k"}
    folders = [
        resolve("swift://c", "/mnt", [], environ=environ, file=NOWHERE).cache.folder
        for environ in (one, one | {"ST_KEY": "l"}, one | {"ST_USER": "v"}, {"OS_CLOUD": "u"})
    ]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3


def test_azure_accounts_do_not_share_a_cache_folder():
    """No draft goes to another account's container; one account is one, however it is named."""
    text = "AccountName=a;BlobEndpoint=http://h/a;AccountKey=k"
    environs: list[dict[str, str]] = [
        {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "k"},
        {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_SAS_TOKEN": "s"},
        {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=k"},
        {"AZURE_STORAGE_ACCOUNT": "b"},
        {"AZURE_STORAGE_CONNECTION_STRING": text},
        {"AZURE_STORAGE_SERVICE_ENDPOINT": "http://h/b?sig=k"},
    ]
    caches = [
        resolve("az://c", "/mnt", [], environ=environ, file=NOWHERE).cache for environ in environs
    ]
    folders = [cache.folder for cache in caches]
    assert folders[0] == folders[1] == folders[2]
    assert len(set(folders)) == 4
    assert not [cache.store for cache in caches if "=k" in cache.store]


def test_mount_takes_what_mount8_passes():
    """The words of fstab(5) that are not ours mean nothing; ro is read-only."""
    text = "rw,_netdev,nofail,noauto,user,users,defaults,dev,nosuid,noexec,noatime,relatime"
    assert not list(read_mount_options(f"{text},x-systemd.automount,comment=a b"))
    (given,) = read_mount_options("rw,ro")
    assert given.option.name == "read-only"


def test_mount_options_are_spelled_either_way():
    r"""`cache_size` and `cache-size` are one; `\,` is a comma in a value."""
    given = list(read_mount_options(r"cache_size=1G,allow-other,allow_other=no,cache_dir=/a\,b"))
    assert [(item.option.name, item.text) for item in given] == [
        ("cache-size", "1G"),
        ("allow-other", "true"),
        ("allow-other", "no"),
        ("cache-dir", "/a,b"),
    ]


def test_unknown_keys_are_refused_by_place(tmp_path):
    """A typo is an error in the file, in the environment and behind -o; the nearest is named."""
    path = tmp_path / "config.toml"
    path.write_text("cache-sise = 5\n")
    assert complaint(read_file, path) == (
        f"{path} sets cache-sise, which is no option of objfs. Did you mean cache-size?"
    )
    said = complaint(read_environment, {"OBJFS_CACHE_SISE": "1"})
    assert "the environment sets OBJFS_CACHE_SISE" in said
    assert said.endswith("Did you mean OBJFS_CACHE_SIZE?")
    said = complaint(lambda: list(read_mount_options("readonly")))
    assert said == "-o sets readonly, which is no option of objfs. Did you mean read_only?"


def test_an_unknown_value_is_not_repeated():
    """Somebody who tries -o secret_access_key=… does not find it in a log."""
    said = complaint(lambda: list(read_mount_options("secret_access_key=hunter2")))
    assert "secret_access_key" in said
    assert "hunter2" not in said


def test_objfs_debug_is_no_option():
    """OBJFS_DEBUG is ours, and an empty variable is one that is not set."""
    assert not read_environment({"OBJFS_DEBUG": "1", "OBJFS_PROFILE": "", "HOME": "/"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cache-size = true", "expected a size of at least 1M such as 500M or 10GiB"),
        ('cache-size = "many"', "expected a size of at least 1M such as 500M or 10GiB"),
        ("file-mode = 644", "expected octal permissions"),
        ('read-only = "yes"', "expected true or false"),
        ("profile = 5", "expected one word without spaces"),
        ("[mount]\nread-only = true", "sets mount, which is no option"),
        ("cache-size", "cannot be read"),
    ],
)
def test_bad_lines_in_the_file(tmp_path, line, expected):
    """A wrong type or value in the file is named with the file and what was expected."""
    path = tmp_path / "config.toml"
    path.write_text(line + "\n")
    said = complaint(resolve, "mem://", "/mnt", environ={}, file=path)
    assert expected in said
    assert str(path) in said


def test_numbers_in_the_file(tmp_path):
    """TOML's own numbers and booleans are taken where they are unambiguous."""
    path = tmp_path / "config.toml"
    path.write_text("cache-size = 2097152\nmetadata-ttl = 1.5\nread-only = true\nuid = 7\n")
    config = resolve("mem://", "/mnt", environ={}, file=path)
    assert config.cache.size == 2 * 2**20
    assert config.mount.metadata_ttl == 1.5
    assert config.mount.read_only
    assert config.mount.uid == 7


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cache-size", "10 elephants"),
        ("cache-size", "5"),
        ("cache-size", "-1G"),
        ("read-ahead", ""),
        ("metadata-ttl", "soon"),
        ("timeout", "0"),
        ("connections", "0"),
        ("connections", "3.5"),
        ("uid", "-1"),
        ("file-mode", "0999"),
        ("umask", "01777"),
        ("log-level", "loud"),
        ("log-format", "xml"),
        ("endpoint-url", "minio.lan"),
        ("endpoint-url", "ftp://minio.lan"),
        ("endpoint-url", "http://minio.lan/bucket"),
        ("region", "eu west"),
        ("ca-bundle", "/nonexistent.pem"),
        ("read-only", "maybe"),
    ],
)
def test_a_bad_value_is_one_sentence(name, text):
    """It names the option, the value, the place and what was expected."""
    option = BY_NAME[name]
    said = complaint(resolve, "mem://", "/mnt", [Given(option, text, "here")], environ={})
    assert said == f"{name} = {text!r} (here) is wrong: expected {option.kind.expected}"


def test_credentials_in_the_endpoint_are_not_repeated():
    """A password in --endpoint-url is refused without showing it."""
    given = Given(BY_NAME["endpoint-url"], "http://me:hunter2@host", "--endpoint-url")
    said = complaint(resolve, "mem://", "/mnt", [given], environ={})
    assert "holds credentials" in said
    assert "hunter2" not in said


def test_contradictions_without_an_order(tmp_path):
    """path-style and virtual-style in one file have no later one; on the command line they do."""
    path = tmp_path / "config.toml"
    path.write_text("path-style = true\nvirtual-style = true\n")
    assert "contradict each other" in complaint(read_file, path)
    path.write_text("virtual-style = true\npath-style = false\n")
    config = resolve("mem://", "/mnt", environ={}, file=path)
    assert config.store.addressing == "virtual"
    flags = list(read_mount_options("virtual_style,path_style"))
    config = resolve("mem://", "/mnt", flags, environ={}, file=path)
    assert config.store.addressing == "path"


@hypothesis_given(st.integers(0, 2**62))
def test_sizes_keep_whole_bytes(count):
    """A number of bytes is exact, and so is any power of 1024."""
    assert parse_size(str(count)) == count
    assert parse_size(f"{count}KiB") == count * 1024


@pytest.mark.parametrize(
    ("text", "count"),
    [("10GiB", 10 * 2**30), ("500M", 500 * 2**20), ("1.5G", 3 * 2**29), ("7", 7), ("7B", 7)],
)
def test_sizes(text, count):
    """The spellings that people use."""
    assert parse_size(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("5m", 300), ("0", 0), ("1.5h", 5400), ("250ms", 0.25)]
)
def test_durations(text, seconds):
    """Seconds without a unit."""
    assert parse_duration(text) == seconds


def test_modes_are_octal():
    """644 is rw-r--r-- however it is written."""
    assert {parse_mode(text) for text in ("644", "0644", "0o644")} == {0o644}


def test_the_table_for_the_readme():
    """Every option has its row, with default and meaning."""
    rows = markdown_table().splitlines()[2:]
    assert len(rows) == len(OPTIONS)
    assert "| `--cache-size SIZE` | 10GiB | Disk space that the cache folder may take. |" in rows
