"""The crash campaigns; `scripts/crash-test` sets up and starts them."""

import argparse
import contextlib
import os
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.crash_test.disk import Disk, Unavailable, disk
from scripts.crash_test.writers import Life, Writer
from tests.mount.conftest import s3_store
from tests.mount.kit import OBJFS, Store
from tests.servers import running

WRITERS = 4
MOUNT_SECONDS = 30.0
DRAIN_SECONDS = 180
SETTLE_SECONDS = 60.0
FREEZE_SECONDS = 10.0
TOLD_EVERY = 50


class Failed(Exception):
    """The campaign found a promise broken; the message is the list."""


class Campaign:
    """One store, one cache folder, several mount points and many daemons, one after the other."""

    def __init__(
        self, store: Store, folder: Path, seed: int, mode: str, cut_off: Disk | None = None
    ) -> None:
        """With `cut_off`, the cache folder lies there, and its power fails before each kill."""
        self.store = store
        self.folder = folder
        self.mode = mode
        self.disk = cut_off
        self.cache = (cut_off.path if cut_off else folder) / "cache"
        self.log = folder / "log"
        self.lives = 0
        self.random = random.Random(seed)  # reproducible, not secret
        self.writers = [Writer(f"w{n}", seed, large=n == 0) for n in range(WRITERS)]
        self.daemon: subprocess.Popen[bytes] | None = None
        self.root = folder
        self._env = {**os.environ, **store.env, "XDG_CONFIG_HOME": str(folder / "config")}
        self._env["XDG_RUNTIME_DIR"] = str(folder)

    def run(self, kills: int) -> None:
        """Kill so often, then drain and compare. Raises `Failed`."""
        for writer in self.writers:
            writer.start()
        for number in range(1, kills + 1):
            self._one_life()
            self._check_writers()
            if number % TOLD_EVERY == 0:
                print(f"  {number} of {kills}", flush=True)
        self._start()
        self._wait_mounted()
        life = self._tell_writers()
        time.sleep(1)
        for writer in self.writers:
            writer.finish()
            writer.join(SETTLE_SECONDS)
        life.over.set()
        self._check_writers()
        os.close(life.fd)
        self._drain()
        self._compare()

    # --- one life ------------------------------------------------------------------------------

    def _one_life(self) -> None:
        kind = self.random.choice(["any", "any", "recovery", "rename"])
        self._start()
        if kind == "recovery":
            time.sleep(self.random.uniform(0.3, 1.2))
            life = None
        else:
            self._wait_mounted()
            life = self._tell_writers()
            if kind == "rename":
                life.renaming.wait(3)
                time.sleep(self.random.uniform(0, 0.03))
            else:
                time.sleep(self.random.uniform(0.02, 1.5))
        self._kill(life)

    def _start(self) -> None:
        self.lives += 1
        self.root = self.folder / f"mnt{self.lives % 3}"
        self.root.mkdir(exist_ok=True)
        mode = self.random.choice(["sync", "async"]) if self.mode == "both" else self.mode
        command = [
            *OBJFS,
            "mount",
            *self.store.options,
            *("--cache-dir", str(self.cache), "--log-file", str(self.log), "--foreground"),
            *("--write-back", mode, "--cache-size", "1GiB"),
            *("--metadata-ttl", self.random.choice(["0", "60"])),
            *("--fsync", self.random.choice(["local", "local", "store"])),
            self.store.url,
            str(self.root),
        ]
        with (self.folder / "stderr").open("ab") as errors:
            errors.write(f"life {self.lives}: {command}\n".encode())
            self.daemon = subprocess.Popen(
                command, env=self._env, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )

    def _wait_mounted(self) -> None:
        end = time.monotonic() + MOUNT_SECONDS
        while not self.root.is_mount() or not self._answers():
            if self.daemon is None or self.daemon.poll() is not None or time.monotonic() > end:
                tail = (self.folder / "stderr").read_text()[-2000:]
                raise Failed(f"life {self.lives}: the daemon did not mount:\n{tail}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            self.root.stat()
        except OSError:
            return False
        return True

    def _tell_writers(self) -> Life:
        life = Life(self.root)
        for writer in self.writers:
            writer.begin(life)
        return life

    def _kill(self, life: Life | None) -> None:
        if life:
            life.over.set()
        assert self.daemon
        if self.disk:
            freeze(self.daemon.pid)
            self.disk.cut()
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        self.daemon = None
        for number in range(3):
            detach(self.folder / f"mnt{number}")
        if self.disk:
            self.disk.restore()

    def _check_writers(self) -> None:
        wrong = [line for writer in self.writers for line in writer.wrong]
        if wrong:
            raise Failed(f"life {self.lives}:\n" + "\n".join(wrong))

    # --- the end -------------------------------------------------------------------------------

    def _drain(self) -> None:
        done = subprocess.run(
            [*OBJFS, "umount", "--timeout", str(DRAIN_SECONDS), str(self.root)],
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
            timeout=DRAIN_SECONDS + 30,
        )
        if done.returncode:
            raise Failed(f"objfs umount ended with {done.returncode}: {done.stderr}")
        assert self.daemon
        self.daemon.wait(30)
        self.daemon = None

    def _compare(self) -> None:
        objects = self.store.objects()
        wrong = [line for writer in self.writers for line in writer.missing(objects)]
        wrong += [f"a conflict copy of one's own: {key}" for key in objects if ".conflict-" in key]
        wrong += [f"left in the spool: {path.name}" for path in (self.cache / "spool").iterdir()]
        wrong += [f"left in the journal: {row}" for row in rows(self.cache / "journal.db")]
        if wrong:
            raise Failed("after the drain:\n" + "\n".join(wrong))

    @contextlib.contextmanager
    def swept(self) -> Iterator[None]:
        """Nothing of ours runs or is mounted afterwards, however it ends."""
        try:
            yield
        finally:
            if self.daemon:
                self.daemon.kill()
                self.daemon.wait()
            for number in range(3):
                detach(self.folder / f"mnt{number}")


def freeze(pid: int) -> None:
    """Stop a process in all its threads: a machine without power answers nobody.

    Without this, ext4's shutdown is no power loss: an fsync under way may return 0 although its
    transaction is given up (jbd2_complete_transaction), and the daemon would act on it.
    """
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + FREEZE_SECONDS
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        # T stopped; D in the kernel, on its way there; X, Z gone: see proc(5)
        while stat.read_text().rpartition(")")[2].split()[0] not in "TDXZ":
            if time.monotonic() > end:
                raise Failed(f"process {pid} does not stop")
            time.sleep(0.001)


def detach(mountpoint: Path) -> None:
    """Unmount what a dead daemon left."""
    while f" {mountpoint} " in Path("/proc/self/mountinfo").read_text():
        subprocess.run(["fusermount3", "-uz", mountpoint], check=False, capture_output=True)


def rows(journal: Path) -> list[object]:
    """What a journal still holds."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        return [
            *db.execute("SELECT number, key, state FROM draft").fetchall(),
            *db.execute("SELECT * FROM rename").fetchall(),
        ]


def campaign(store: Store, folder: Path, options: argparse.Namespace) -> str:
    """Run it on this store; a sentence on what was proved. Raises `Failed`, `Unavailable`."""
    begun = time.monotonic()
    with disk(folder) if options.cut else contextlib.nullcontext() as cut_off:
        runs = Campaign(store, folder, options.seed, options.mode, cut_off)
        with runs.swept():
            try:
                runs.run(options.kills)
            except Failed:
                if cut_off:  # the evidence goes with the disk
                    shutil.copytree(runs.cache, folder / "cache")
                raise
    calls = sum(writer.calls for writer in runs.writers)
    promised = sum(writer.acknowledged for writer in runs.writers)
    what = "power cuts" if options.cut else "kills"
    return (
        f"{options.kills} {what}, {calls} calls, {promised} acknowledged contents on {store.name}"
        f" ({options.mode}) in {time.monotonic() - begun:.0f} s: nothing lost"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/crash-test", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="SIGKILLs (30)")
    parser.add_argument("--cut", action="store_true", help="cut the cache's disk off as well")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), metavar="S")
    parser.add_argument("--server", choices=["file", "radosgw"], default="file")
    parser.add_argument("--mode", choices=["sync", "async", "both"], default="both")
    options = parser.parse_args()
    command = f"{'--cut ' * options.cut}--kills {options.kills} --seed {options.seed}"
    print(
        f"scripts/crash-test {command} --server {options.server} --mode {options.mode}", flush=True
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # sweep then, too
    # not a name that the tests' sweeper knows: it takes dead mounts down, and ours are often dead
    folder = Path(tempfile.mkdtemp(prefix="objfs-crash-"))
    try:
        if options.server == "file":
            told = campaign(Store("file", f"file://{folder}/store"), folder, options)
        else:
            with running("radosgw", folder) as server:
                told = campaign(s3_store(server), folder, options)
    except Failed as failed:
        print(f"FAILED {failed}\nThe log, the cache and the store are in {folder}", flush=True)
        return 1
    except Unavailable as why:
        print(f"--cut: {why}", flush=True)
        shutil.rmtree(folder)
        return 2
    print(told)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
