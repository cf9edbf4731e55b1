"""README.md tells the truth where a test can know it: options, promises, files."""

import ast
import re
from pathlib import Path

from objfs.cli.options import markdown_table

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()


def test_the_options_are_those_of_the_program():
    """The table is the one that the option table gives."""
    assert markdown_table().strip() in README


def test_every_promise_names_a_test_that_exists_and_carries_its_number():
    """A promise without its test is advertising."""
    rows = re.findall(r"^\| (P\d+) \| .+ \| `([^`]+)::(\w+)` \|$", README, re.MULTILINE)
    assert len(rows) >= 16
    for number, path, name in rows:
        tree = ast.parse((TOP / path).read_text())
        names = {node.name for node in ast.walk(tree) if hasattr(node, "name")}
        assert name in names
        assert name.startswith(f"test_{number.lower()}_")


def test_every_file_that_is_named_exists():
    """The table of what to change leads somewhere."""
    for path in re.findall(r"`((?:objfs|scripts|tests|\.github)/[\w./]+)", README):
        assert (TOP / path).exists(), path


def test_every_module_of_the_main_path_is_in_the_table():
    """A newcomer finds the file for a behaviour in ten seconds."""
    table = README[README.index("## I want to change") :]
    for folder in ("tree", "cache", "filesystem"):
        for path in (TOP / "objfs" / folder).glob("*.py"):
            if path.stem not in {"__init__", "base", "blocks"}:
                assert f"objfs/{folder}/{path.name}" in table, path
