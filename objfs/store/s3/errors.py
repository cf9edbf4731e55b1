"""The one mapping from what boto3 raises to `objfs.errors`.

Codes are those of the S3 error table
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html) and the few that other
products add. A code that is not known falls back to its HTTP status; so does a HEAD, whose answer
has no body and therefore no code: botocore then gives the status as the code.

Semantics: messages carry operation, key, code, status and request id. The server's own sentence
is quoted only where it says more (which action was denied, why a request was bad); it never holds
the secret or the signature, which S3 sends back in other fields that are not read here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import urllib3.exceptions as http
from botocore import exceptions as boto

from objfs import errors
from objfs.store.meaning import Meaning

DENIED: Final = Meaning(
    errors.Forbidden,
    "access denied",
    "Ask the bucket's owner for this permission, or use another profile.",
    quote=True,
)
UNAVAILABLE: Final = Meaning(
    errors.Unavailable, "the store cannot serve now", "Try again in a while."
)
THROTTLED: Final = Meaning(errors.Throttled, "the store asks to slow down")
CHANGED: Final = Meaning(errors.PreconditionFailed, "the store holds another version")
SLOW: Final = Meaning(errors.TimedOut, "no answer in time")
MISSING: Final = Meaning(errors.NotFound, "no such object")
DAMAGED: Final = Meaning(errors.Corrupt, "the store received other bytes than were sent")
UNSUPPORTED: Final = Meaning(errors.Unsupported, "this store does not offer it")
EXPIRED: Final = Meaning(
    errors.BadCredentials,
    "the credentials have expired",
    "Sign in again (aws sso login, or new session keys).",
)
FULL: Final = Meaning(errors.NoSpace, "the store's quota or disks are full")
CLOCK: Final = "Check this machine's clock: S3 refuses a difference above 15 minutes."
BAD_NAME: Final = Meaning(
    errors.UsageError, "not a bucket name", "Write s3://BUCKET or s3://BUCKET/PREFIX."
)
WRONG_REGION: Final = Meaning(errors.UsageError, "the bucket is in another region")

UNEXPLAINED: Final = "Expired credentials and a wrong region look like this too."

CODES: Final[Mapping[str, Meaning]] = {
    "NoSuchKey": MISSING,
    "NoSuchVersion": MISSING,
    "NoSuchBucket": Meaning(
        errors.NoSuchBucket, "no such bucket", "Check the bucket's name and the endpoint."
    ),
    "BucketNotEmpty": Meaning(
        errors.NotEmpty, "the bucket is not empty", "Remove what is in it first."
    ),
    "BucketAlreadyOwnedByYou": Meaning(errors.Exists, "the bucket exists"),
    "BucketAlreadyExists": Meaning(errors.Exists, "the name is taken by another account"),
    "NoSuchUpload": Meaning(errors.NoSuchUpload, "the store does not know this upload any more"),
    "AccessDenied": DENIED,
    "AllAccessDisabled": DENIED,
    "AccountProblem": DENIED,
    "InvalidAccessKeyId": Meaning(
        errors.BadCredentials,
        "the store does not know this access key",
        "Check AWS_ACCESS_KEY_ID or the profile, and that the endpoint is the right one.",
    ),
    "SignatureDoesNotMatch": Meaning(
        errors.BadCredentials,
        "the store refuses the signature",
        "Check the secret key; behind a proxy, that it does not change the Host header.",
    ),
    "ExpiredToken": EXPIRED,
    "TokenRefreshRequired": EXPIRED,
    "InvalidToken": Meaning(
        errors.BadCredentials,
        "the session token is not valid",
        "Remove AWS_SESSION_TOKEN if the keys are permanent, or fetch new session keys.",
    ),
    "RequestTimeTooSkewed": Meaning(errors.BadCredentials, "the clocks differ", CLOCK),
    "RequestExpired": Meaning(errors.BadCredentials, "the clocks differ", CLOCK),
    "SlowDown": THROTTLED,
    "Throttling": THROTTLED,
    "ThrottlingException": THROTTLED,
    "RequestLimitExceeded": THROTTLED,
    "TooManyRequests": THROTTLED,
    "InternalError": UNAVAILABLE,
    "ServiceUnavailable": UNAVAILABLE,
    "OperationAborted": UNAVAILABLE,
    "RequestTimeout": SLOW,
    "PreconditionFailed": CHANGED,
    "ConditionalRequestConflict": CHANGED,
    "InvalidRange": Meaning(errors.InvalidRange, "the range lies outside the object"),
    "InvalidObjectState": Meaning(
        errors.ArchivedObject, "the object is archived", "Restore it before reading."
    ),
    "EntityTooLarge": Meaning(errors.TooLarge, "larger than the store takes"),
    "KeyTooLongError": Meaning(errors.NameTooLong, "the key is longer than the store takes"),
    "KeyTooLong": Meaning(errors.NameTooLong, "the key is longer than the store takes"),
    "NotImplemented": UNSUPPORTED,
    "MethodNotAllowed": UNSUPPORTED,
    "BadDigest": DAMAGED,
    "InvalidDigest": DAMAGED,
    "XAmzContentSHA256Mismatch": DAMAGED,
    "IncompleteBody": DAMAGED,
    "PermanentRedirect": WRONG_REGION,
    "AuthorizationHeaderMalformed": WRONG_REGION,
    "IllegalLocationConstraintException": WRONG_REGION,
    "InvalidBucketName": BAD_NAME,
    "QuotaExceeded": FULL,
    "XMinioStorageFull": FULL,
}

STATUSES: Final[Mapping[int, Meaning]] = {
    301: WRONG_REGION,
    307: WRONG_REGION,
    400: Meaning(errors.StoreError, "the store refuses the request", quote=True),
    401: DENIED,
    403: DENIED,
    404: MISSING,
    408: SLOW,
    412: CHANGED,
    413: Meaning(errors.TooLarge, "larger than the store takes"),
    414: Meaning(errors.NameTooLong, "the key is longer than the store takes"),
    416: Meaning(errors.InvalidRange, "the range lies outside the object"),
    429: THROTTLED,
    500: UNAVAILABLE,
    501: UNSUPPORTED,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
    507: FULL,
}
OTHER: Final = Meaning(errors.StoreError, "the store refuses", quote=True)

LOGIN: Final = Meaning(
    errors.BadCredentials, "the sign-in session cannot be used", "Sign in again: aws sso login."
)
UNREACHABLE: Final = Meaning(
    errors.Unreachable, "no connection", "Check the endpoint, the network and the proxy."
)
BROKEN: Final = Meaning(errors.Unreachable, "the connection broke")

SOURCE_FAILED: Final = Meaning(
    errors.BadCredentials,
    "the credentials' source failed",
    "Run its command (credential_process, role, web identity) by hand to see why.",
)
# The first class that fits decides, so a subclass stands before its base.
CLIENT_SIDE: Final[tuple[tuple[type[Exception], Meaning], ...]] = (
    (
        boto.NoCredentialsError,
        Meaning(
            errors.BadCredentials,
            "no credentials found",
            "Run aws configure, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or read a public "
            "bucket with --no-sign-request.",
        ),
    ),
    (
        boto.PartialCredentialsError,
        Meaning(
            errors.BadCredentials,
            "the credentials are incomplete",
            "Set both the access key and the secret key.",
        ),
    ),
    (
        boto.ProfileNotFound,
        Meaning(errors.BadCredentials, "no such profile", "aws configure list-profiles shows all."),
    ),
    (boto.SSOError, LOGIN),
    (boto.LoginError, LOGIN),
    (boto.TokenRetrievalError, LOGIN),
    (boto.NoAuthTokenError, LOGIN),
    (boto.CredentialRetrievalError, SOURCE_FAILED),
    (boto.MetadataRetrievalError, SOURCE_FAILED),
    (boto.ReadTimeoutError, SLOW),
    (boto.ConnectTimeoutError, SLOW),
    (
        boto.SSLError,
        Meaning(
            errors.Unreachable,
            "TLS failed",
            "For a private certificate authority give its file with --ca-bundle.",
        ),
    ),
    (
        boto.ProxyConnectionError,
        Meaning(errors.Unreachable, "the proxy does not answer", "Check HTTPS_PROXY and NO_PROXY."),
    ),
    (boto.EndpointConnectionError, UNREACHABLE),
    (boto.ConnectionClosedError, BROKEN),
    (boto.ResponseStreamingError, BROKEN),
    (boto.IncompleteReadError, BROKEN),
    (boto.HTTPClientError, UNREACHABLE),
    (boto.ConfigParseError, Meaning(errors.UsageError, "the AWS configuration cannot be read")),
    (boto.InvalidRegionError, Meaning(errors.UsageError, "not a region's name")),
    (boto.InvalidS3AddressingStyleError, Meaning(errors.UsageError, "not an addressing style")),
    (boto.EndpointProviderError, Meaning(errors.UsageError, "no endpoint fits")),
    (boto.ParamValidationError, Meaning(errors.InvalidArgument, "the request makes no sense")),
    (http.ReadTimeoutError, SLOW),
    (http.HTTPError, BROKEN),
)


@contextmanager
def mapped(operation: str, key: str) -> Iterator[None]:
    """Turn what boto3 and urllib3 raise inside into `objfs.errors`; other exceptions pass."""
    try:
        yield
    except boto.ClientError as error:
        raise answered(operation, key, error.response) from error
    except (boto.BotoCoreError, http.HTTPError) as error:
        raise failed(operation, key, error) from error


def answered(operation: str, key: str, response: Mapping[str, Any]) -> errors.ObjfsError:
    """The error for an error answer, as botocore parsed it."""
    details = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    code, status = _code_and_status(response)
    meaning = meaning_of(response)
    facts = [] if code.isdigit() or not code else [code]
    facts.append(f"HTTP {status}")
    request = str(meta.get("RequestId") or "")
    facts += [f"request {request}"] if request else []
    text = f"{operation} {key}: {meaning.text} ({', '.join(facts)})"
    if meaning is WRONG_REGION:
        return errors.UsageError(text, remedy=_region(details, meta))
    sentence = " ".join(str(details.get("Message") or "").split())[:300]
    if meaning.quote and sentence and not code.isdigit():
        text += f": {sentence.rstrip('.')}"
    silent = status == 400 and code in ("", "400")  # noqa: PLR2004  # a HEAD
    return meaning.error(text, remedy=UNEXPLAINED if silent else meaning.remedy)


def meaning_of(response: Mapping[str, Any]) -> Meaning:
    """What an error answer means, as botocore parsed it."""
    code, status = _code_and_status(response)
    return CODES.get(code) or STATUSES.get(status, OTHER)


def _code_and_status(response: Mapping[str, Any]) -> tuple[str, int]:
    code = response.get("Error", {}).get("Code")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return str(code or ""), int(status or 0)


def was_repeated(error: errors.ObjfsError) -> bool:
    """Whether botocore had sent this request before; a lost answer may have been a success."""
    cause = error.__cause__
    meta: Any = (
        cause.response.get("ResponseMetadata") if isinstance(cause, boto.ClientError) else None
    )
    return bool(meta and meta.get("RetryAttempts"))


def failed(operation: str, key: str, error: Exception) -> errors.ObjfsError:
    """The error for a request that never got a whole answer, or was never sent."""
    reason = " ".join(str(error).split())
    if isinstance(error, boto.ParamValidationError) and "bucket name" in reason.lower():
        return BAD_NAME.error(f"{operation} {key}: {BAD_NAME.text}", remedy=BAD_NAME.remedy)
    for kind, meaning in CLIENT_SIDE:
        if isinstance(error, kind):
            text = f"{operation} {key}: {meaning.text} ({reason.rstrip('.')})"
            return meaning.error(text, remedy=meaning.remedy)
    return errors.StoreError(f"{operation} {key}: {type(error).__name__}: {reason}")


def _region(details: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    headers = meta.get("HTTPHeaders") or {}
    region = details.get("Region") or headers.get("x-amz-bucket-region")
    if region:
        return f"Mount it with --region {region}."
    endpoint = details.get("Endpoint")
    return f"Use the endpoint {endpoint}." if endpoint else "Give the bucket's --region."
