"""The one mapping from what Azure answers, and what azure-core raises, to `objfs.errors`.

Codes are those of https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
and common-rest-api-error-codes. The header x-ms-error-code gives the code, for a HEAD too.

Semantics: a refused signature is never quoted, since Azure sends back what was signed; and no URL
is, since a SAS token is a part of it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from azure.core import exceptions as core

from objfs import errors
from objfs.store.meaning import Meaning

CREDENTIALS: Final = (
    "Check AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or"
    " AZURE_STORAGE_SAS_TOKEN, and this machine's clock."
)
ROLE: Final = (
    "Ask for the role Storage Blob Data Contributor (or Reader, with --read-only), or for a SAS"
    " token with this permission."
)
REFUSED: Final = Meaning(errors.BadCredentials, "Azure refuses the credentials", CREDENTIALS)
DENIED: Final = Meaning(errors.Forbidden, "access denied", ROLE)
PRIVATE: Final = Meaning(
    errors.BadCredentials, "the container is not public, and no credentials were sent", CREDENTIALS
)
MISSING: Final = Meaning(errors.NotFound, "no such blob")
NO_CONTAINER: Final = Meaning(
    errors.NoSuchBucket, "no such container", "Check the container's name and the account."
)
CHANGED: Final = Meaning(errors.PreconditionFailed, "the store holds another version")
LEASED: Final = Meaning(
    errors.Busy, "somebody holds a lease on the blob", "Break it: az storage blob lease break."
)
THROTTLED: Final = Meaning(errors.Throttled, "Azure asks to slow down")
UNAVAILABLE: Final = Meaning(errors.Unavailable, "Azure cannot serve now", "Try again in a while.")
SLOW: Final = Meaning(errors.TimedOut, "no answer in time")
DAMAGED: Final = Meaning(errors.Corrupt, "Azure received other bytes than were sent")
UNSUPPORTED: Final = Meaning(errors.Unsupported, "this store does not offer it")
ARCHIVED: Final = Meaning(
    errors.ArchivedObject,
    "the blob is in the archive tier",
    "Rehydrate it: az storage blob set-tier --tier Hot.",
)
IMMUTABLE: Final = Meaning(
    errors.Forbidden,
    "the blob cannot be changed",
    "A policy of the container keeps it (immutability, legal hold).",
)
NO_UPLOAD: Final = Meaning(errors.NoSuchUpload, "the store does not know these blocks any more")

CODES: Final[Mapping[str, Meaning]] = {
    "BlobNotFound": MISSING,
    "ResourceNotFound": MISSING,
    "ContainerNotFound": NO_CONTAINER,
    "ContainerBeingDeleted": NO_CONTAINER,
    "ContainerDisabled": NO_CONTAINER,
    "InvalidResourceName": Meaning(
        errors.UsageError, "not a name of a container or blob", "Write az://CONTAINER[/PREFIX]."
    ),
    "ContainerAlreadyExists": Meaning(errors.Exists, "the container exists"),
    "AuthenticationFailed": REFUSED,
    "InvalidAuthenticationInfo": REFUSED,
    "NoAuthenticationInformation": PRIVATE,
    "PublicAccessNotPermitted": PRIVATE,
    "AuthorizationFailure": Meaning(
        errors.Forbidden,
        "access denied",
        "Check the key or the SAS token, what it permits, and the account's firewall.",
    ),
    "AuthorizationPermissionMismatch": DENIED,
    "AuthorizationResourceTypeMismatch": DENIED,
    "AuthorizationServiceMismatch": DENIED,
    "AuthorizationProtocolMismatch": DENIED,
    "AuthorizationSourceIPMismatch": DENIED,
    "InsufficientAccountPermissions": DENIED,
    "AccountIsDisabled": DENIED,
    "BlobImmutableDueToPolicy": IMMUTABLE,
    "ConditionNotMet": CHANGED,
    "TargetConditionNotMet": CHANGED,
    "SourceConditionNotMet": CHANGED,
    "BlobAlreadyExists": CHANGED,
    "UnauthorizedBlobOverwrite": CHANGED,
    "CannotVerifyCopySource": MISSING,
    "LeaseIdMissing": LEASED,
    "LeaseAlreadyPresent": LEASED,
    "LeaseIdMismatchWithBlobOperation": LEASED,
    "SnapshotsPresent": Meaning(
        errors.Busy, "the blob has snapshots", "Remove those first: az storage blob delete."
    ),
    "PendingCopyOperation": Meaning(errors.Busy, "a copy to this blob is under way"),
    "BlobArchived": ARCHIVED,
    "BlobBeingRehydrated": ARCHIVED,
    "InvalidBlockList": NO_UPLOAD,
    "InvalidBlobOrBlock": Meaning(
        errors.StoreError,
        "the blob has blocks of another tool's unfinished upload",
        "They go when that upload ends, or after a week.",
    ),
    "InvalidBlobType": Meaning(errors.Unsupported, "not a block blob"),
    "InvalidRange": Meaning(errors.InvalidRange, "the range lies outside the blob"),
    "Md5Mismatch": DAMAGED,
    "Crc64Mismatch": DAMAGED,
    "InvalidMd5": DAMAGED,
    "RequestBodyTooLarge": Meaning(errors.TooLarge, "larger than the store takes"),
    "BlockCountExceedsLimit": Meaning(errors.TooLarge, "of more blocks than the store takes"),
    "ServerBusy": THROTTLED,
    "InternalError": UNAVAILABLE,
    "OperationTimedOut": SLOW,
    "UnsupportedHeader": UNSUPPORTED,
    "FeatureVersionMismatch": UNSUPPORTED,
    "BlobTypeNotSupported": UNSUPPORTED,
    "FeatureNotYetSupportedForHierarchicalNamespaceAccounts": UNSUPPORTED,
}
STATUSES: Final[Mapping[int, Meaning]] = {
    400: Meaning(errors.StoreError, "Azure refuses the request", quote=True),
    401: REFUSED,
    403: DENIED,
    404: MISSING,
    408: SLOW,
    412: CHANGED,
    413: Meaning(errors.TooLarge, "larger than the store takes"),
    414: Meaning(errors.NameTooLong, "the key is longer than the store takes"),
    416: Meaning(errors.InvalidRange, "the range lies outside the blob"),
    429: THROTTLED,
    500: UNAVAILABLE,
    501: UNSUPPORTED,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
OTHER: Final = Meaning(errors.StoreError, "Azure refuses", quote=True)

UNREACHABLE: Final = Meaning(
    errors.Unreachable,
    "no connection",
    "Check the account's name, the endpoint, the network and the proxy.",
)
# The first class that fits decides, so a subclass stands before its base.
CLIENT_SIDE: Final[tuple[tuple[type[Exception], Meaning], ...]] = (
    (
        core.ClientAuthenticationError,
        Meaning(
            errors.BadCredentials,
            "no usable credentials",
            "Sign in (az login), or set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or"
            " AZURE_STORAGE_CONNECTION_STRING; a public container takes --no-sign-request.",
        ),
    ),
    (core.ServiceRequestTimeoutError, SLOW),
    (core.ServiceResponseTimeoutError, SLOW),
    (core.ServiceRequestError, UNREACHABLE),
    (core.ServiceResponseError, Meaning(errors.Unreachable, "the connection broke")),
    (core.IncompleteReadError, Meaning(errors.Unreachable, "the connection broke")),
)
_MESSAGE: Final = re.compile(r"<Message>([^<]*)")
_TLS: Final = Meaning(
    errors.Unreachable,
    "TLS failed",
    "For a private certificate authority give its file with --ca-bundle.",
)


@contextmanager
def mapped(operation: str, key: str) -> Iterator[None]:
    """Turn what azure-core and azure-identity raise inside into `objfs.errors`."""
    try:
        yield
    except core.AzureError as error:
        raise failed(operation, key, error) from error


def answered(
    operation: str, key: str, status: int, headers: Mapping[str, str], body: str = ""
) -> errors.ObjfsError:
    """The error for an error answer."""
    code = headers.get("x-ms-error-code", "")
    meaning = CODES.get(code) or STATUSES.get(status, OTHER)
    request = headers.get("x-ms-request-id", "")
    facts = [code] if code else []
    facts += [f"HTTP {status}"] + ([f"request {request}"] if request else [])
    text = f"{operation} {key}: {meaning.text} ({', '.join(facts)})"
    sentence = _MESSAGE.search(body)
    if meaning.quote and sentence:
        text += f": {' '.join(sentence[1].split())[:300].rstrip('.')}"
    return meaning.error(text, remedy=meaning.remedy)


def failed(operation: str, key: str, error: core.AzureError) -> errors.ObjfsError:
    """The error for a request that never got a whole answer, or was never sent."""
    # a SAS token stands behind the "?" of the URL that urllib3 puts into its text
    reason = re.sub(r"\?\S*", "", " ".join(str(error.message).split()))[:300].rstrip(".")
    reason = reason.partition(" Attempted credentials:")[0]  # and why each of ten did not do
    if "CERTIFICATE_VERIFY_FAILED" in reason or "SSLError" in reason:
        return _TLS.error(f"{operation} {key}: {_TLS.text}", remedy=_TLS.remedy)
    for kind, meaning in CLIENT_SIDE:
        if isinstance(error, kind):
            return meaning.error(
                f"{operation} {key}: {meaning.text} ({reason})", remedy=meaning.remedy
            )
    return errors.StoreError(f"{operation} {key}: {type(error).__name__}: {reason}")
