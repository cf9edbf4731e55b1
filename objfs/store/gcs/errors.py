"""The one mapping from what Google answers, and what google-auth raises, to `objfs.errors`.

Reasons are those of https://cloud.google.com/storage/docs/json_api/v1/status-codes and, for uploads
in parts, the codes of https://cloud.google.com/storage/docs/xml-api/reference-status.

Semantics: both a missing bucket and a missing object are 404 "notFound" to the JSON API; its
sentence tells them apart.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import google.auth.exceptions as auth
import requests.exceptions as http
from urllib3.exceptions import HTTPError

from objfs import errors
from objfs.store.meaning import Meaning

SIGN_IN: Final = (
    "Run gcloud auth application-default login, name a key file in"
    " GOOGLE_APPLICATION_CREDENTIALS, or read a public bucket with --no-sign-request."
)
ROLE: Final = "Ask for the role Storage Object User (or Storage Object Viewer, with --read-only)."
REFUSED: Final = Meaning(errors.BadCredentials, "Google refuses the credentials", SIGN_IN)
DENIED: Final = Meaning(errors.Forbidden, "access denied", ROLE, quote=True)
MISSING: Final = Meaning(errors.NotFound, "no such object")
NO_BUCKET: Final = Meaning(errors.NoSuchBucket, "no such bucket", "Check the bucket's name.")
CHANGED: Final = Meaning(errors.PreconditionFailed, "the store holds another version")
THROTTLED: Final = Meaning(errors.Throttled, "Google asks to slow down")
UNAVAILABLE: Final = Meaning(errors.Unavailable, "Google cannot serve now", "Try again in a while.")
SLOW: Final = Meaning(errors.TimedOut, "no answer in time")
LOCKED: Final = Meaning(
    errors.Forbidden, "the object cannot be changed", "A retention policy or a hold keeps it."
)
FULL: Final = Meaning(errors.NotEmpty, "the bucket is not empty")
DAMAGED: Final = Meaning(errors.Corrupt, "Google received other bytes than were sent")
UNSUPPORTED: Final = Meaning(errors.Unsupported, "this store does not offer it")

CODES: Final[Mapping[str, Meaning]] = {
    "authError": REFUSED,
    "required": REFUSED,
    "conditionNotMet": CHANGED,
    "rateLimitExceeded": THROTTLED,
    "userRateLimitExceeded": THROTTLED,
    "retentionPolicyNotMet": LOCKED,
    "objectUnderActiveHold": LOCKED,
    "NoSuchBucket": NO_BUCKET,
    "NoSuchUpload": Meaning(errors.NoSuchUpload, "the store does not know this upload any more"),
    "BadDigest": DAMAGED,
    "InvalidDigest": DAMAGED,
    "KeyTooLong": Meaning(errors.NameTooLong, "the key is longer than the store takes"),
    "EntityTooLarge": Meaning(errors.TooLarge, "larger than the store takes"),
    "uploadTooLarge": Meaning(errors.TooLarge, "larger than the store takes"),
}
STATUSES: Final[Mapping[int, Meaning]] = {
    400: Meaning(errors.StoreError, "Google refuses the request", quote=True),
    401: REFUSED,
    403: DENIED,
    404: MISSING,
    408: SLOW,
    410: UNAVAILABLE,  # a resumable session is gone
    409: Meaning(errors.Exists, "the name is taken", "Choose another name."),
    412: CHANGED,
    413: Meaning(errors.TooLarge, "larger than the store takes"),
    416: Meaning(errors.InvalidRange, "the range lies outside the object"),
    429: THROTTLED,
    500: UNAVAILABLE,
    501: UNSUPPORTED,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
OTHER: Final = Meaning(errors.StoreError, "Google refuses", quote=True)
BROKEN: Final = Meaning(errors.Unreachable, "the connection broke")
# The first class that fits decides, so a subclass stands before its base.
CLIENT_SIDE: Final[tuple[tuple[type[Exception], Meaning], ...]] = (
    (auth.TransportError, Meaning(errors.Unreachable, "no connection to Google's sign-in")),
    (auth.DefaultCredentialsError, Meaning(errors.BadCredentials, "no credentials", SIGN_IN)),
    (auth.GoogleAuthError, Meaning(errors.BadCredentials, "no usable credentials", SIGN_IN)),
    (
        http.SSLError,
        Meaning(
            errors.Unreachable,
            "TLS failed",
            "For a private certificate authority give its file with --ca-bundle.",
        ),
    ),
    (http.Timeout, SLOW),
    (
        http.ConnectionError,
        Meaning(
            errors.Unreachable, "no connection", "Check the endpoint, the network and the proxy."
        ),
    ),
    (http.RequestException, BROKEN),
    (HTTPError, BROKEN),
)
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]*)")
_CRC: Final = re.compile(r"crc32c|md5", re.IGNORECASE)


@contextmanager
def mapped(operation: str, key: str) -> Iterator[None]:
    """Turn what google-auth, requests and urllib3 raise inside into `objfs.errors`."""
    try:
        yield
    except (auth.GoogleAuthError, http.RequestException, HTTPError) as error:
        raise failed(operation, key, error) from error


def answered(operation: str, key: str, status: int, body: str) -> errors.ObjfsError:
    """The error for an error answer of either API."""
    code, sentence = _read(body)
    meaning = CODES.get(code) or STATUSES.get(status, OTHER)
    if meaning is MISSING and "bucket does not exist" in sentence:
        meaning = NO_BUCKET
    elif status == 409 and operation == "REMOVE":  # noqa: PLR2004  # one reason for both
        meaning = FULL
    elif meaning is STATUSES[400] and _CRC.search(sentence) and "match" in sentence:
        meaning = DAMAGED
    facts = ", ".join(filter(None, (code, f"HTTP {status}")))
    text = f"{operation} {key}: {meaning.text} ({facts})"
    if meaning.quote and sentence:
        text += f": {' '.join(sentence.split())[:300].rstrip('.')}"
    return meaning.error(text, remedy=meaning.remedy)


def _read(body: str) -> tuple[str, str]:
    """The code and the sentence of an answer: JSON, XML, or bare text from a download."""
    code, message = _CODE.search(body), _MESSAGE.search(body)
    if code:
        return code[1], message[1] if message else ""
    try:
        error: Any = json.loads(body)["error"]
        return str(error["errors"][0]["reason"]), str(error["message"])
    except (ValueError, LookupError, TypeError):
        return "", body[:300]


def failed(operation: str, key: str, error: Exception) -> errors.ObjfsError:
    """The error for a request that never got a whole answer, or was never sent."""
    reason = " ".join(str(error.args[0] if error.args else error).split())[:300].rstrip(".")
    reason = re.sub(r" with url: \S+", "", reason)  # the query may hold an upload's id
    meaning = next((meaning for kind, meaning in CLIENT_SIDE if isinstance(error, kind)), BROKEN)
    return meaning.error(f"{operation} {key}: {meaning.text} ({reason})", remedy=meaning.remedy)
