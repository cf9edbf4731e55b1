r"""Key components <-> file names: the only code that escapes, and the only one that unescapes.

A key is cut at "/" into components; each component is shown as one file name. What a file name
cannot hold is escaped, reversibly:

    component            shown as        example
    ""                   %empty          a//b      -> a/%empty/b,  /x -> %empty/x
    "." and ".."         %dot, %dotdot   a/../b    -> a/%dotdot/b
    NUL                  %00             a\0b      -> a%00b
    anything that looks  %25...          50%00     -> 50%2500
    like an escape
    an object whose key  NAME%file       a, a/b    -> a%file (the object), a/ (the directory)
    is a prefix too

Every other "%" stays as it is, so that `50%.txt` and `caf%C3%A9` look as they are stored. An escape
is only an escape where this module would have written it; elsewhere it is a literal. That makes
the mapping a bijection, which `tests/tree/test_keys.py` states as a property.

Semantics: names that are not UTF-8 are refused (EILSEQ), since a key is Unicode, and so are the
few that no key is shown as (`a%file%file`). A component of more than 255 bytes has no name yet:
`name_of` raises, and the listing counts it.
"""

import re

from objfs.errors import InvalidName, NameTooLong
from objfs.types import DELIMITER, NAME_MAX

_WHOLE = {"": "%empty", ".": "%dot", "..": "%dotdot"}
_WHOLE_BACK = {shown: component for component, shown in _WHOLE.items()}
_CLASH = "%file"

_LOOKS_ESCAPED = re.compile(
    r"%(?=(?:25)*00)|^%(?=(?:25)*(?:empty|dot|dotdot)\Z)|(?<!^)%(?=(?:25)*file\Z)"
)
_ESCAPED_PERCENT = re.compile(
    r"%25(?=(?:25)*00)|^%25(?=(?:25)*(?:empty|dot|dotdot)\Z)|(?<!^)%25(?=(?:25)*file\Z)"
)
_UNESCAPE = re.compile(rf"{_ESCAPED_PERCENT.pattern}|%00")


def name_of(component: str, *, clash: bool = False) -> bytes:
    """The file name of a key component; `clash` for an object that stands beside a directory.

    Raises `NameTooLong` above 255 bytes.
    """
    if component in _WHOLE:
        text = _WHOLE[component]
    else:
        text = component
        if "%" in text:
            text = _LOOKS_ESCAPED.sub("%25", text)
        if "\0" in text:
            text = text.replace("\0", "%00")
    if clash:
        text += _CLASH
    try:
        name = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidName(f"key component {component!r} is not valid Unicode") from error
    if len(name) > NAME_MAX:
        raise NameTooLong(f"{text[:40]!r}... has {len(name)} bytes, a file name holds {NAME_MAX}")
    return name


def component_of(name: bytes) -> tuple[str, bool]:
    """The key component of a file name, and whether it names the object of a clash.

    Raises `NameTooLong` and `InvalidName` (not UTF-8).
    """
    if len(name) > NAME_MAX:
        raise NameTooLong(f"a name of {len(name)} bytes, a file name holds {NAME_MAX}")
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise InvalidName(
            f"{name!r} is not UTF-8", remedy="Object keys are Unicode: rename the file first"
        ) from error
    clash = len(text) > len(_CLASH) and text.endswith(_CLASH)
    if clash:
        text = text.removesuffix(_CLASH)
    if text in _WHOLE_BACK:
        return _WHOLE_BACK[text], clash
    if "%" in text:
        text = _UNESCAPE.sub(lambda found: "\0" if found[0] == "%00" else "%", text)
    if clash and name_of(text, clash=True) != name:
        raise InvalidName(f"{name!r} is not how any key is shown", remedy="Choose another name")
    return text, clash


def child_key(prefix: str, name: bytes, *, directory: bool) -> str:
    """The key (or prefix, ending in "/") of the entry `name` below the directory at `prefix`."""
    component, _ = component_of(name)
    return f"{prefix}{component}{DELIMITER if directory else ''}"


def split_parent(key: str) -> tuple[str, str]:
    """A key or prefix as its parent's prefix and its own last component."""
    head, _, tail = key.removesuffix(DELIMITER).rpartition(DELIMITER)
    return (f"{head}{DELIMITER}" if _ else "", tail)
