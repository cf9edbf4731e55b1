"""Text to value: sizes, durations, modes, flags; and the words that say what was expected.

A parser takes the text of one value and raises `ValueError`; only `objfs.cli.settings` knows the
option and the place, so only it makes the sentence. Each kind's `expected` finishes "expected …".
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MODE_BITS = 0o777
Value = str | int | float | bool

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of value is read, and what to say when it cannot be."""

    parse: Callable[[str], Value]
    expected: str
    numbers: bool = False
    """A bare number in the TOML file is this kind, too."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A question naming the known word that `word` was probably meant to be, or ""."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean {found[0]}?" if found else ""


def parse_size(text: str) -> int:
    """Bytes. Semantics: K, M, G and T are powers of 1024 with and without the i, as dd's are."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    power = _POWER[(match[2] or "").lower().removesuffix("i")]
    return int(float(match[1]) * 1024**power) if "." in match[1] else int(match[1]) * 1024**power


def parse_duration(text: str) -> float:
    """Seconds; without a unit the number is seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return float(match[1]) * _SECONDS[(match[2] or "s").lower()]


def parse_mode(text: str) -> int:
    """Permission bits, always octal: `644`, `0644` and `0o644` are the same."""
    mode = int(text.strip().removeprefix("0o"), 8)
    if not 0 <= mode <= MODE_BITS:
        raise ValueError(text)
    return mode


def parse_flag(text: str) -> bool:
    """A flag where text is all there is: the environment and `-o name=value`."""
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(text)
    return word in _TRUE


def parse_path(text: str) -> str:
    """An absolute path. Why here: the daemon's working directory is "/", not the caller's."""
    if not text or "\0" in text:
        raise ValueError(text)
    return os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111  # pathlib keeps ".."


def parse_file(text: str) -> str:
    """The absolute path of a file that can be read."""
    path = parse_path(text)
    if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113  # beside os.access
        raise ValueError(text)
    return path


def parse_word(text: str) -> str:
    """Text without spaces or control characters."""
    if not text or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError(text)
    return text


def parse_endpoint(text: str) -> str:
    """An http(s) URL of a server; credentials in it are refused by `objfs.cli.settings`."""
    word = parse_word(text)
    if not re.fullmatch(r"https?://[^/?#]+/?", word):
        raise ValueError(text)
    return word.rstrip("/")


def _bounded(
    parse: Callable[[str], int | float], low: float, high: float = float("inf")
) -> Callable[[str], Value]:
    def checked(text: str) -> Value:
        value = parse(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return checked


def one_of(*words: str) -> Kind:
    """One word of a short list."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise ValueError(text)
        return word

    return Kind(parse, " or ".join((", ".join(words[:-1]), words[-1])))


def whole(low: int, high: int) -> Kind:
    """A decimal number in [low, high]."""
    expected = f"a whole number from {low} to {high}"
    return Kind(_bounded(lambda text: int(text, 10), low, high), expected, numbers=True)


def size(low: int, what: str) -> Kind:
    """A number of bytes of at least `low`, described by `what`."""
    return Kind(_bounded(parse_size, low), f"a size {what}such as 500M or 10GiB", numbers=True)


def duration(low: float, what: str) -> Kind:
    """A number of seconds of at least `low`, described by `what`."""
    return Kind(_bounded(parse_duration, low), f"a time {what}such as 60, 90s or 5m", numbers=True)


FLAG = Kind(parse_flag, "true or false")
WORD = Kind(parse_word, "one word without spaces")
PATH = Kind(parse_path, "a path")
READABLE = Kind(parse_file, "a file that can be read")
ENDPOINT = Kind(parse_endpoint, "a server's URL such as https://host:9000")
MODE = Kind(parse_mode, 'octal permissions such as 0644 (in the file a string, "0644")')


def human(count: int) -> str:
    """Bytes for people: `3.2 MiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004  # the unit's own base
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def listing(words: Sequence[str], limit: int = 5) -> str:
    """The first `limit` words with commas, and how many more there are."""
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {more} more" if more > 0 else "")
