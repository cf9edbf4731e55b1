"""The log: how a line looks, and what never gets into one."""

import json
import logging
import re
import subprocess
import sys

import pytest

from objfs.cli.logs import JsonFormatter, TextFormatter, redact

SETUP = """
import logging, sys
from objfs.cli import logs
from objfs.cli.settings import Given, read_mount_options, resolve
config = resolve("mem://", "/mnt", list(read_mount_options(sys.argv[1])))
logs.configure(config)
logging.getLogger("objfs.fuse").warning("one %s", "two")
logging.getLogger("botocore.auth").debug("Authorization: AWS4-HMAC-SHA256 Credential=x")
logging.getLogger("objfs.fuse").info("three")
logging.shutdown()
"""


def record(message: str, *arguments: object, error: Exception | None = None) -> logging.LogRecord:
    """A log record as objfs.fuse would make it."""
    info = (type(error), error, None) if error else None
    made = logging.LogRecord("objfs.fuse", logging.WARNING, __file__, 1, message, arguments, info)
    made.created = 1795219200.1234
    return made


def test_a_text_line():
    """Time in UTC with milliseconds, level, logger, message."""
    line = TextFormatter().format(record("%d bytes", 5))
    assert line == "2026-11-21T00:00:00.123Z WARNING objfs.fuse: 5 bytes"


def test_a_json_line():
    """One object, one line, tracebacks included."""
    line = JsonFormatter().format(record("a\nb", error=ValueError("password=hunter2")))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["time"] == "2026-11-21T00:00:00.123Z"
    assert (entry["level"], entry["logger"]) == ("warning", "objfs.fuse")
    assert entry["message"] == "a\nb"
    assert entry["traceback"] == "ValueError: password=[hidden]"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: AWS4-HMAC-SHA256 Credential=SECRET/x, Signature=SECRET",
        "{'Authorization': b'AWS4-HMAC-SHA256 Credential=SECRET', 'a': 'b'}",
        "X-Amz-Security-Token: SECRET",
        "{'X-Amz-Security-Token': 'SECRET'}",
        "GET /b?X-Amz-Credential=SECRET&X-Amz-Signature=SECRET&a=b",
        "aws_secret_access_key = SECRET",
        "secretAccessKey=SECRET",
        "cannot reach https://me:SECRET@host/b",
        "x-amz-server-side-encryption-customer-key: SECRET",
    ],
)
def test_secrets_are_hidden(text):
    """Headers, query strings, settings and URLs lose the value and keep the name."""
    assert "SECRET" not in redact(text)
    assert "[hidden]" in redact(text)
    assert "SECRET" not in TextFormatter().format(record("failed", error=ValueError(text)))


def test_ordinary_text_is_untouched():
    """Keys and times that only look like something stay readable."""
    text = "GET s3://b/a:b@c at 12:30 took 5 ms; see http://host:9000/x and mailto me@home"
    assert redact(text) == text


def test_the_log_file_is_private(tmp_path):
    """Mode 0600, in the chosen format, without the chatter of SDKs, even at level debug."""
    path = tmp_path / "log"
    words = f"log_file={path},log_format=json,log_level=debug"
    subprocess.run([sys.executable, "-c", SETUP, words], check=True)
    assert path.stat().st_mode & 0o777 == 0o600
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["message"] for entry in entries] == ["one two", "three"]


def test_the_foreground_logs_to_stderr():
    """Without a log file a foreground mount writes to the terminal, from the level on."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP, "foreground,log_level=warning"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert re.fullmatch(r"\S+Z WARNING objfs.fuse: one two\n", done.stderr)
