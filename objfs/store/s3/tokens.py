"""Continuation tokens that break the XML of a listing.

`encoding-type=url` covers keys and prefixes, not the token, which radosgw makes of the last key:
one with a control character comes as `&#x01;`, the whole page is no XML 1.0 any more, and botocore
takes it for a 500. So such a token is rewritten to hexadecimal before the answer is parsed, and
back when it is sent.
"""

import re
from typing import Any, Final

_MARK: Final = "objfs-hex:"
_TOKEN: Final = re.compile(rb"(?s)<((?:Next)?ContinuationToken|StartAfter)>(.*?)</\1>")
"""The next one, and the echoes of what was asked."""
_NO_XML: Final = re.compile(rb"&#|[\x00-\x1f]")
_REFERENCE: Final = re.compile(r"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(amp|lt|gt|quot|apos));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def make_parsable(response_dict: dict[str, Any], **_: Any) -> None:
    """A handler of botocore's event `before-parse`: mend the body, where it needs it."""
    body = response_dict.get("body")
    if not isinstance(body, bytes) or b"<ListBucketResult" not in body[:200]:
        return
    mended = parsable(body)
    if mended != body:
        response_dict["body"] = mended
        response_dict["status_code"] = 200  # botocore has made it a 500


def parsable(body: bytes) -> bytes:
    """The body of a listing with its tokens mended, where they need it."""
    return _TOKEN.sub(_in_hex, body)


def as_given(token: str) -> str:
    """The token as the store gave it."""
    if token.startswith(_MARK):
        return bytes.fromhex(token.removeprefix(_MARK)).decode("utf-8", "surrogateescape")
    return token


def _in_hex(element: re.Match[bytes]) -> bytes:
    name, text = element.groups()
    if not _NO_XML.search(text):
        return element[0]
    raw = _REFERENCE.sub(_character, text.decode("utf-8", "surrogateescape"))
    token = _MARK + raw.encode("utf-8", "surrogateescape").hex()
    return b"<%b>%b</%b>" % (name, token.encode(), name)


def _character(found: re.Match[str]) -> str:
    hexadecimal, decimal, name = found.groups()
    if name:
        return _NAMED[name]
    return chr(int(hexadecimal, 16) if hexadecimal else int(decimal))
