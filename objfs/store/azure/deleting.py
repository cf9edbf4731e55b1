"""Many deletes in one request: Blob Batch, 256 at a time.

https://learn.microsoft.com/rest/api/storageservices/blob-batch. Where the credentials or the
product do not allow a batch, blobs are deleted one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from objfs.errors import Forbidden, NotFound, ObjfsError, StoreError, Unsupported
from objfs.store.azure.client import Service
from objfs.store.azure.errors import answered, mapped
from objfs.types import DELIMITER

MANY: Final = 256


def delete_many(
    service: Service, keys: Sequence[str], delete: Callable[[str], None]
) -> Mapping[str, Exception]:
    """Remove the keys; what failed, with its error. `delete` removes one, markers included."""
    plain = [key for key in keys if key and not key.endswith(DELIMITER) and key.isprintable()]
    single = [key for key in keys if key not in set(plain)]
    failed: dict[str, Exception] = {}
    for at in range(0, len(plain), MANY):
        some = plain[at : at + MANY]
        try:
            failed |= _batch(service, some)
        except (Unsupported, Forbidden, StoreError):  # Forbidden: a SAS for one container
            single += some
    for key in single:
        try:
            delete(key)
        except ObjfsError as error:
            failed[key] = error
    return failed


def _batch(service: Service, keys: Sequence[str]) -> dict[str, Exception]:
    what = f"{keys[0]} and {len(keys) - 1} more"
    with mapped("DELETE", what):
        answers = list(service.container.delete_blobs(*keys, raise_on_any_failure=False))
    if len(answers) != len(keys):
        raise StoreError(f"DELETE {what}: {len(answers)} answers to {len(keys)} deletes")
    failed: dict[str, Exception] = {}
    for key, answer in zip(keys, answers, strict=True):
        if answer.status_code < 300:  # noqa: PLR2004
            continue
        error = answered("DELETE", key, answer.status_code, answer.headers)
        if type(error) is not NotFound:
            failed[key] = error
    return failed
