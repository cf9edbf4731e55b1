"""Where the log goes and how a line looks.

Text lines are `2026-11-21T04:00:00.123Z WARNING objfs.fuse: …`, JSON is one object a line. Every
line passes `redact`, tracebacks included: an SDK may put a signed header into an exception.
"""

import json
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from objfs.config import Config

CHATTY: Final = ("boto3", "botocore", "s3transfer", "urllib3", "awscrt")
"""Libraries that log request headers at DEBUG: they never get below WARNING."""
SILENT: Final = ("azure", "google", "msal")
"""Libraries that log at WARNING what they raise as well, over many lines."""

_HIDDEN = "[hidden]"
_SECRETS: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"(?i)(\bauthorization\b['\"]?\s*[:=]\s*)[^\r\n]+"), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"(?i)(\bsig|account_?key|x-amz-security-token|x-amz-signature|x-amz-credential"
            r"|server-side-encryption-customer-key|aws_secret_access_key|aws_session_token"
            r"|secret_?access_?key|secret_?key|session_?token|password|x-auth-token)"
            r"(['\"]?\s*[:=]\s*b?['\"]?)[^\s'\"&,;}]+"
        ),
        rf"\1\2{_HIDDEN}",
    ),
    (re.compile(r"(?i)\b(Credential|Signature)=[^\s,'\"&]+"), rf"\1={_HIDDEN}"),
    (re.compile(r"(?<=://)[^/\s@'\"]+:[^/\s@'\"]+@"), f"{_HIDDEN}@"),
)


def redact(text: str) -> str:
    """The text without the values of credentials and signatures."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  # logging's signature
        """RFC 3339 in UTC with milliseconds."""
        return _time(record)

    def format(self, record: logging.LogRecord) -> str:
        """The redacted line, a traceback indented under it."""
        return redact(super().format(record)).replace("\n", "\n  ")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and, if there is one, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The redacted object."""
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            entry["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class PrivateFile(logging.handlers.WatchedFileHandler):
    """A log file that only its owner reads, and that logrotate may move away."""

    def _open(self) -> IO[str]:  # type: ignore[override]  # typeshed narrows it to TextIOWrapper
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return open(fd, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123  # a descriptor


def log_file(config: Config) -> str:
    """The file that the configuration logs to; "" is stderr."""
    if config.log.file:
        return config.log.file
    return "" if config.foreground else str(Path(config.cache.folder) / "objfs.log")


def configure(config: Config) -> None:
    """Send this process's log where the configuration says. Raises `OSError` for a bad file."""
    path = log_file(config)
    handler: logging.Handler = PrivateFile(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.log.format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=config.log.level.upper(), force=True)
    logging.captureWarnings(True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.ERROR)
