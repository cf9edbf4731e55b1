"""Every error that objfs raises on purpose: one hierarchy, flat where it can be.

A class carries its errno (what a system call answers) and whether asking again may help
(`retry`). `objfs.fuse` is the only place that turns one into an errno, `objfs.cli` the only one
that turns one into an exit code. A message names the operation, the key or path, and what the
user can do; it never holds a secret.
"""

import errno as os_errno
from typing import ClassVar


class ObjfsError(Exception):
    """Anything that went wrong and was understood.

    `remedy` is one sentence to the user, shown after the message.
    """

    errno: ClassVar[int] = os_errno.EIO
    retry: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


# --- what a path can be ------------------------------------------------------------------------


class NotFound(ObjfsError):
    """No such object, prefix or local name."""

    errno = os_errno.ENOENT


class Exists(ObjfsError):
    """The name is taken."""

    errno = os_errno.EEXIST


class NotADirectory(ObjfsError):
    """A directory was needed."""

    errno = os_errno.ENOTDIR


class IsADirectory(ObjfsError):
    """A file was needed."""

    errno = os_errno.EISDIR


class NotEmpty(ObjfsError):
    """The directory still has entries."""

    errno = os_errno.ENOTEMPTY


class NameTooLong(ObjfsError):
    """A component over 255 bytes, or a key over what the store takes."""

    errno = os_errno.ENAMETOOLONG


class InvalidName(ObjfsError):
    """A name that cannot become a key: not UTF-8, or an escape that stands for nothing here."""

    errno = os_errno.EILSEQ


class InvalidArgument(ObjfsError):
    """A request that makes no sense, such as moving a directory into itself."""

    errno = os_errno.EINVAL


class ReadOnly(ObjfsError):
    """The mount, or the store, takes no writes."""

    errno = os_errno.EROFS


class CrossDevice(ObjfsError):
    """The store cannot copy from there to here by itself; mv(1) then copies."""

    errno = os_errno.EXDEV


class BadHandle(ObjfsError):
    """The handle was not opened for this."""

    errno = os_errno.EBADF


class Interrupted(ObjfsError):
    """A signal came for whoever waited."""

    errno = os_errno.EINTR


class Busy(ObjfsError):
    """Something else holds it."""

    errno = os_errno.EBUSY


class NoSpace(ObjfsError):
    """The local cache or disk is full."""

    errno = os_errno.ENOSPC


class CacheGone(ObjfsError):
    """The cache folder was removed, or another took its place, while it was in use."""


class Stale(ObjfsError):
    """The version that was opened is gone, or somebody else replaced it before our upload."""

    errno = os_errno.ESTALE


# --- what a store can answer -------------------------------------------------------------------


class StoreError(ObjfsError):
    """The store failed in a way that has no better class; not retried."""


class PreconditionFailed(Stale):
    """If-Match or If-None-Match did not hold: the object is not the version that was expected."""


class NoSuchBucket(ObjfsError):
    """The bucket (container, embedded store) does not exist, or not any more.

    Semantics: no `NotFound`. That a bucket is gone says nothing of a single name, so it must never
    look like an absent file, an empty directory or a version that somebody deleted; ENODEV is given
    by nothing else here.
    """

    errno = os_errno.ENODEV
    exit_code = 3


class NoSuchUpload(StoreError):
    """A multipart upload that the store no longer knows."""


class Forbidden(ObjfsError):
    """The credentials are good, but this is not allowed."""

    errno = os_errno.EACCES
    exit_code = 4


class BadCredentials(Forbidden):
    """Missing, unknown, wrong or expired credentials."""


class ArchivedObject(ObjfsError):
    """The object must be restored from an archive tier before it can be read.

    Semantics: EREMOTE ("Object is remote"), as s3fs does; EACCES would blame the permissions.
    """

    errno = os_errno.EREMOTE


class Unsupported(ObjfsError):
    """This store does not offer it."""

    errno = os_errno.ENOTSUP


class TooLarge(ObjfsError):
    """Over what the store takes."""

    errno = os_errno.EFBIG


class InvalidRange(StoreError):
    """A byte range outside the object."""


class Unavailable(ObjfsError):
    """The store answered that it cannot serve now (HTTP 500, 502, 503, 504)."""

    retry = True


class Throttled(Unavailable):
    """The store asks to slow down (HTTP 429, 503 SlowDown)."""

    errno = os_errno.EBUSY


class Unreachable(Unavailable):
    """No connection: refused, reset, name not found, TLS failure."""

    errno = os_errno.EHOSTUNREACH
    exit_code = 5


class TimedOut(Unreachable):
    """No answer in time."""

    errno = os_errno.ETIMEDOUT


class Corrupt(ObjfsError):
    """Bytes that are not the ones that were stored: wrong length, range or checksum."""

    retry = True


# --- starting up ---------------------------------------------------------------------------------


class UsageError(ObjfsError):
    """A wrong option, URL or configuration."""

    errno = os_errno.EINVAL
    exit_code = 2


class MountError(ObjfsError):
    """The mount point, or FUSE itself, cannot be used."""

    exit_code = 6


class CacheInUse(Busy):
    """Another daemon owns the cache folder."""

    exit_code = 7


class OtherStore(ObjfsError):
    """The cache folder owes files to another store than the one to be mounted."""

    exit_code = 7


class JournalUnreadable(ObjfsError):
    """The journal of drafts is damaged, or was written by a newer objfs; it is left as it is."""

    exit_code = 9


class FuseMissing(MountError):
    """No /dev/fuse, or no fusermount3."""

    exit_code = 8
