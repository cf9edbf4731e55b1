"""Keys that a store may merge, clean, refuse or lose, each tried out."""

import secrets
from typing import Final

from objfs.errors import ObjfsError
from objfs.store.scratch import NAME, Scratch
from objfs.types import Headers

ODD: Final[tuple[tuple[str, str], ...]] = (
    ("empty component `a//b`", "a//b"),
    ("`a/./b`", "a/./b"),
    ("`a/../b`", "a/../b"),
    ("body under `dir/`", "dir/"),
    ("backslash", "a\\b"),
    ("control characters", "a\tb\x01c\nd"),
    ("`%`, `+`, `?`, `#`, `&`", "50%41+a?b#c&d e"),
    ("not ASCII", "é😀"),
)


def odd_keys(scratch: Scratch) -> list[str]:
    """What each kind that failed is called. Raises no store's error: a refusal is a failure."""
    failed = [
        title
        for number, (title, key) in enumerate(ODD)
        if not _comes_back(scratch, f"{scratch.prefix}keys/{number}/", key)
    ]
    if not scratch.below:
        name = f"{NAME}{secrets.token_hex(8)}"
        scratch.note(name)  # what a store that drops the slash makes of it
        if not _comes_back(scratch, "", f"/{name}"):
            failed.append("leading `/`")
    if not _both(scratch):
        failed.append("`a` beside `a/b`")
    return failed


def _comes_back(scratch: Scratch, folder: str, key: str) -> bool:
    """Whether it is stored, found, and listed under exactly its name."""
    full = scratch.note(folder + key)
    body = secrets.token_bytes(16)
    prefix = folder or full
    try:
        scratch.driver.put(full, body, Headers())
        found = bytearray()
        scratch.driver.get(full, found.extend, start=0, stop=len(body))
        listed = [info.key for info in scratch.driver.list_page(prefix).objects]
    except ObjfsError:
        return False
    return bytes(found) == body and listed == [full]


def _both(scratch: Scratch) -> bool:
    try:
        scratch.put("both/a", b"file")
        scratch.put("both/a/b", b"below")
        return scratch.get("both/a", 4) == b"file" and sorted(scratch.listed("both/")) == [
            "both/a",
            "both/a/b",
        ]
    except ObjfsError:
        return False
