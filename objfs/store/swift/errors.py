"""The one mapping from what a Swift server answers, and urllib3 raises, to `objfs.errors`.

Swift has no error codes but HTTP's. Whether a 404 is the object or its container cannot be told
from OpenStack's answer; the driver looks again where it matters. Messages carry the request's
transaction id, which is what an operator asks for; the server's own sentence is quoted where it
says more (why a manifest was refused, which limit was met).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import urllib3.exceptions as http

from objfs import errors
from objfs.store.meaning import Meaning

UNAVAILABLE: Final = Meaning(
    errors.Unavailable, "the store cannot serve now", "Try again in a while."
)
STATUSES: Final[Mapping[int, Meaning]] = {
    400: Meaning(errors.StoreError, "the store refuses the request", quote=True),
    401: Meaning(
        errors.BadCredentials,
        "the store refuses the token",
        "Check the login; a token given with OS_AUTH_TOKEN may have expired.",
    ),
    403: Meaning(
        errors.Forbidden,
        "access denied",
        "Ask the container's owner for this permission (its read and write ACL).",
    ),
    404: Meaning(errors.NotFound, "no such object"),
    408: Meaning(errors.TimedOut, "no answer in time"),
    411: Meaning(errors.StoreError, "the store wants a length"),
    412: Meaning(errors.PreconditionFailed, "the store holds another version"),
    413: Meaning(errors.TooLarge, "larger than the store takes, or over the container's quota"),
    414: Meaning(errors.NameTooLong, "the key is longer than the store takes"),
    416: Meaning(errors.InvalidRange, "the range lies outside the object"),
    422: Meaning(errors.Corrupt, "the store received other bytes than were sent"),
    429: Meaning(errors.Throttled, "the store asks to slow down"),
    498: Meaning(errors.Throttled, "the store asks to slow down"),
    500: UNAVAILABLE,
    501: Meaning(errors.Unsupported, "this store does not offer it"),
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
    507: Meaning(errors.NoSpace, "the store's disks are full"),
}
OTHER: Final = Meaning(errors.StoreError, "the store refuses", quote=True)
MISSING_CONTAINER: Final = "Check the container's name, and that the login is of its account."
_CONNECTION: Final = "Check the endpoint, the network and the proxy."


def answered(
    operation: str, key: str, status: int, headers: Mapping[str, str], body: bytes
) -> errors.ObjfsError:
    """The error for an answer of 300 or above."""
    meaning = STATUSES.get(status, OTHER)
    facts = [f"HTTP {status}"]
    request = headers.get("x-trans-id", "")
    facts += [f"request {request}"] if request else []
    text = f"{operation} {key}: {meaning.text} ({', '.join(facts)})"
    sentence = " ".join(body[:2000].decode(errors="replace").split())[:300]
    if meaning.quote and sentence and not sentence.startswith("<"):
        text += f": {sentence.rstrip('.')}"
    if status == 400 and "longer than" in sentence:  # noqa: PLR2004  # a key over the limit
        return errors.NameTooLong(text)
    return meaning.error(text, remedy=meaning.remedy)


@contextmanager
def mapped(operation: str, key: str) -> Iterator[None]:
    """Turn what urllib3 raises inside into `objfs.errors`; other exceptions pass."""
    try:
        yield
    except http.HTTPError as error:
        raise failed(operation, key, error) from error


def failed(operation: str, key: str, error: http.HTTPError) -> errors.ObjfsError:
    """The error for a request that got no whole answer."""
    cause = error.reason if isinstance(error, http.MaxRetryError) else error
    reason = str(cause).rpartition(": ")[2].rstrip(".") or type(cause).__name__
    text = f"{operation} {key}: "
    if isinstance(cause, http.SSLError):
        return errors.Unreachable(
            f"{text}TLS failed ({reason})",
            remedy="For a private certificate authority give its file with --ca-bundle.",
        )
    if isinstance(cause, http.ProxyError):
        return errors.Unreachable(
            f"{text}the proxy does not answer ({reason})", remedy="Check HTTPS_PROXY and NO_PROXY."
        )
    if isinstance(cause, http.NewConnectionError | http.NameResolutionError):
        return errors.Unreachable(f"{text}no connection ({reason})", remedy=_CONNECTION)
    if isinstance(cause, http.TimeoutError):
        return errors.TimedOut(f"{text}no answer in time")
    return errors.Unreachable(f"{text}the connection broke ({reason})")
