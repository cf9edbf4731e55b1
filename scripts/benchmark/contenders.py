"""The file systems that are compared, each with the options that its own users would give it.

A further one is one more subclass of `Mount` and its line in `CONTENDERS`.
"""

import json
import os
import subprocess

from objfs import runtime
from scripts.benchmark.mounts import (
    CHECKOUT,
    END_SECONDS,
    START_SECONDS,
    Failed,
    Mount,
    call_or_fail,
)


class Objfs(Mount):
    """`objfs mount` with its defaults."""

    program = str(CHECKOUT / ".venv/bin/objfs")

    def environment(self) -> dict[str, str]:
        """The endpoint goes on the command line, as README has it."""
        told = {**super().environment(), **self.server.environment()}
        told.pop("AWS_ENDPOINT_URL_S3")
        return told

    def start(self) -> None:
        """It returns when the mount answers."""
        url = f"s3://{self.bucket}"
        options = ["--endpoint-url", self.server.endpoint, "--cache-dir", str(self.cache)]
        options += ["--write-back", "async"] if self.early else []
        command = [self.program, "mount", "--json", *options, url, str(self.point)]
        with subprocess.Popen(
            command,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said, complaint = process.communicate()
            except BaseException:  # Ctrl-C: without its PID the daemon could not be ended
                self._note(process.communicate(timeout=START_SECONDS)[0])
                raise
        if process.returncode:
            raise Failed(f"objfs mount: {complaint.strip()}")
        self._note(said)

    def _note(self, said: str) -> None:
        if said.startswith("{"):
            self.pid = json.loads(said).get("pid", 0)
            self.started = runtime.start_time(self.pid)

    def unmount(self) -> None:
        """It waits for the uploads."""
        seconds = f"{END_SECONDS:.0f}"
        command = [self.program, "umount", "--timeout", seconds, str(self.point)]
        call_or_fail(command, self.environment())

    def requests(self) -> dict[str, int]:
        """What `objfs status` counts."""
        said = call_or_fail([self.program, "status", "--json", str(self.point)], self.environment())
        asked: dict[str, int] = json.loads(said)["mounts"][0]["requests"]
        return {name.upper(): count for name, count in asked.items()}


class Rclone(Mount):
    """`rclone mount` with the cache that makes it a full file system, and otherwise its defaults.

    Semantics: with --vfs-write-back 0s it uploads in close() as objfs does. Where close() may
    return early it has 100 ms, as good as nothing: with its default it would do nothing for 5 s,
    and that would be measured as the time of its uploads.
    """

    program = str(CHECKOUT / ".venv-bench/bin/rclone")
    mode = "full"
    settling = 8.0  # it notes which ranges it holds some 5 s after close; unmounted before, none

    def environment(self) -> dict[str, str]:
        """All configuration, so that nobody's file is read and no secret is on a command line."""
        remote = {
            "TYPE": "s3",
            "PROVIDER": {"radosgw": "Ceph", "seaweedfs": "SeaweedFS"}[self.server.name],
            "ENDPOINT": self.server.endpoint,
            "REGION": self.server.region,
            "ACCESS_KEY_ID": self.server.access_key,
            "SECRET_ACCESS_KEY": self.server.secret_key,
        }
        told = {f"RCLONE_CONFIG_BENCH_{name}": value for name, value in remote.items()}
        return {**super().environment(), **told, "RCLONE_CONFIG": os.devnull}

    def start(self) -> None:
        """In the foreground, since its --daemon tells no PID."""
        self.cache.mkdir(exist_ok=True)
        options = ["--vfs-cache-mode", self.mode, "--vfs-cache-max-size", "100G"]
        options += ["--vfs-write-back", "100ms" if self.early else "0s"]
        options += ["--cache-dir", str(self.cache)]
        command = [self.program, "mount", *options, f"bench:{self.bucket}", str(self.point)]
        self.run_daemon(command, self.cache / "rclone.log")

    def unmount(self) -> None:
        """By the kernel; rclone ends by itself."""
        call_or_fail(["fusermount3", "-u", str(self.point)], self.environment())


class RcloneWrites(Rclone):
    """The same with a cache for what is written only: reads go straight to the store."""

    mode = "writes"


class S3fs(Mount):
    """`s3fs` with its cache on the disk, and more requests at once than its defaults allow."""

    program = "/usr/bin/s3fs"

    def start(self) -> None:
        """In the foreground, since its daemon tells no PID."""
        self.cache.mkdir(exist_ok=True)
        secret = self.cache / "passwd"
        secret.touch(mode=0o600)
        secret.write_text(f"{self.server.access_key}:{self.server.secret_key}\n")
        options = [
            f"url={self.server.endpoint}",
            f"endpoint={self.server.region}",
            "use_path_request_style",
            f"passwd_file={secret}",
            f"use_cache={self.cache}",
            "enable_noobj_cache",
            "multireq_max=32",
            "parallel_count=16",
        ]
        command = [self.program, self.bucket, str(self.point), "-f", "-o", ",".join(options)]
        self.run_daemon(command, self.cache / "s3fs.log")

    def unmount(self) -> None:
        """By the kernel; s3fs ends by itself."""
        call_or_fail(["fusermount3", "-u", str(self.point)], self.environment())


OURS = "objfs"
CONTENDERS: dict[str, type[Mount]] = {
    OURS: Objfs,
    "rclone-full": Rclone,
    "rclone-writes": RcloneWrites,
    "s3fs": S3fs,
}
"""By the names of the tables; objfs first, with which the others are compared."""
