"""A store's SDK is needed when its scheme is used, and then the refusal says how to get it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("url", "missing", "extra"),
    [
        ("az://container", "azure.core", "azure"),
        ("gs://bucket", "google.auth", "gcs"),
        ("swift://container", "keystoneauth1", "swift"),
        ("swift://", "swiftclient", "swift"),
    ],
)
def test_a_missing_extra_names_the_command(tmp_path, url, missing, extra):
    """Without the packages the refusal is one sentence with the command, exit code 2."""
    code = f"import sys; sys.modules[{missing!r}] = None; from objfs.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "mount", url, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"pip install 'objfs[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_schemes_load_no_sdk(tmp_path):
    """A mount of another store pays for none of them."""
    code = (
        "import sys; from objfs.config import StoreConfig; from objfs.store import open_store;"
        f"open_store(StoreConfig('file://x', 'file', {str(tmp_path / 'store')!r})).close();"
        "sdks = {'azure', 'google', 'keystoneauth1', 'requests', 'boto3'};"
        "print(sorted(sdks & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
