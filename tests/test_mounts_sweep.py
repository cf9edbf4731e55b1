"""The sweep of left-over mounts takes objfs mounts, and no other."""

import os
import subprocess
from pathlib import Path

from tests.mounts import is_dead, lives, objfs_mounts

TABLE = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 22 0:50 / /tmp/pytest-of-root/pytest-1/m\040nt rw,nosuid - fuse.objfs objfs rw,user_id=0
91 22 0:51 / /tmp/objfs-test-x/m rw,nosuid shared:7 master:1 - fuse.objfs s3://b rw
92 22 0:52 / /home/me/photos rw - fuse.s3fs s3fs rw
"""


def test_only_objfs_mounts_are_found():
    """Paths are unescaped, optional fields are skipped, other file systems left out."""
    assert list(objfs_mounts(TABLE)) == [
        Path("/tmp/pytest-of-root/pytest-1/m nt"),
        Path("/tmp/objfs-test-x/m"),
    ]


def test_a_live_folder_is_not_dead(tmp_path):
    """Neither what answers nor what is not there is taken for a dead mount."""
    assert not is_dead(tmp_path)
    assert not is_dead(tmp_path / "none")


def test_a_running_session_keeps_its_mounts(tmp_path):
    """Its daemons are killed on purpose: only what an ended one left is taken down."""
    (tmp_path / ".lock").write_text(str(os.getpid()))
    assert lives(tmp_path)
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (tmp_path / ".lock").write_text(str(ended.pid))
    assert not lives(tmp_path)
    assert not lives(tmp_path / "none")
