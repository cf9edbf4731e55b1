"""The architecture, as a test: who may import whom, which modules do no I/O, what a file may be.

The rules are those of `objfs/__init__.py` and DESIGN.md. Imports are read from the syntax tree,
so that one inside a function or under TYPE_CHECKING counts like any other.
"""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGE = CHECKOUT / "objfs"
# Bottom first. A module may import its own layer or a lower one.
LAYERS = [
    *("types", "errors", "config", "exclusive", "proc", "interrupts"),
    *("tree", "store", "cache"),
    *("refresh", "handles", "filesystem", "assembly"),
    *("fuse", "runtime", "control", "daemon", "cli"),
]
APART = {("store", "tree"), ("cache", "tree")}  # siblings that must not know each other
# Sync, deterministic, without a clock or a file: safe between two awaits, trivial to test.
PURE = [
    *("types", "errors", "config", "tree"),
    *("cache.blocks", "cache.ranges", "cache.policy", "cache.journal"),
    *("cache.ahead", "cache.walk", "store.pieces", "store.retry"),
]
IMPURE = {
    *("trio", "asyncio", "threading", "multiprocessing", "subprocess", "socket", "select", "ssl"),
    *("os", "shutil", "tempfile", "mmap", "sqlite3", "time", "random", "logging"),
    *("pyfuse3", "boto3", "botocore", "urllib3", "awscrt"),
    *("keystoneauth1", "openstack", "requests", "swiftclient"),
    *("azure", "google", "google_crc32c"),
}
HOMES = {
    **dict.fromkeys(("boto3", "botocore", "keystoneauth1", "openstack", "swiftclient"), "store"),
    **dict.fromkeys(("azure", "google", "google_crc32c"), "store"),
    "pyfuse3": "fuse",
}
LONGEST = 400
EMPTY_NAMES = {"manager", "helper", "helpers", "util", "utils", "common"}
TOP_LEVEL = {"pyproject.toml", "objfs", "tests", "scripts", "README.md", "LICENSE"}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
SOURCES = [
    path
    for folder in ("objfs", "tests", "scripts")
    for path in sorted((CHECKOUT / folder).rglob("*.py"))
]


def syntax(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module name imported anywhere in the file; `from a import b` gives `a.b`."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: use absolute imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, groups: list[str]) -> bool:
    """Is the module one of these, or inside one?"""
    return any(module == group or module.startswith(f"{group}.") for group in groups)


def broken_rules(module: str, names: Iterator[str]) -> Iterator[str]:
    """What is wrong with a module (as in MODULES) importing these names."""
    layer = module.partition(".")[0]
    for name in names:
        top, *rest = name.split(".")
        home = HOMES.get(top, layer)
        if home != layer:
            yield f"{module} imports {name}, which belongs to {home}"
        if top != "objfs" or not rest or rest[0].startswith("__"):
            continue
        if rest[0] not in LAYERS:
            yield f"{module} imports {name}, which has no layer"
        elif layer in LAYERS and LAYERS.index(rest[0]) > LAYERS.index(layer):
            yield f"{module} imports {name}, a layer above it"
        if (layer, rest[0]) in APART:
            yield f"{module} imports {name}: the two must not know each other"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_has_a_layer(module):
    """A new top-level module says where it stands, by its place in LAYERS."""
    assert within(module, [*LAYERS, "__init__", "__main__"])


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module):
    """A module never imports a higher layer, nor an SDK that belongs to another one."""
    assert not list(broken_rules(module, imports(MODULES[module])))


@pytest.mark.parametrize("module", sorted(m for m in MODULES if within(m, PURE)))
def test_pure_modules_do_no_io(module):
    """A pure module imports nothing that can block or differ, and defines no coroutine."""
    path = MODULES[module]
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE
    coroutines = [n.name for n in ast.walk(syntax(path)) if isinstance(n, ast.AsyncFunctionDef)]
    assert not coroutines


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("tree.keys", "objfs.store.base.Driver"),
        ("cache.reads", "objfs.tree.keys"),
        ("store.s3", "objfs.tree"),
        ("filesystem", "boto3"),
        ("daemon", "pyfuse3.init"),
        ("handles", "objfs.filesystem.FileSystem"),
    ],
)
def test_the_rules_refuse(module, name):
    """The checker itself: each of these imports is one that must be found."""
    assert list(broken_rules(module, iter([name])))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_files_are_short_and_named(path):
    """A file that outgrows one sitting is two files, and its name says what is inside."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    assert path.stem not in EMPTY_NAMES


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.is_relative_to(CHECKOUT / "tests")],
    ids=lambda path: str(path.relative_to(CHECKOUT)),
)
def test_every_test_says_what_it_shows(path):
    """Each test function has a docstring: the sentence that it proves."""
    silent = [
        f"{path.name}:{node.lineno} {node.name}"
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent


def test_the_top_level_is_complete_and_closed():
    """The first listing that a reader sees has six names, and dotfiles."""
    tracked = subprocess.run(
        ["git", "-c", f"safe.directory={CHECKOUT}", "ls-files"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {n for n in (line.split("/")[0] for line in tracked) if n[0] != "."} == TOP_LEVEL
