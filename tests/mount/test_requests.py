"""What a mount asks of the store, by the count that its log gives at unmount."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.mount.kit import Mounted, Store, mounted

pytestmark = pytest.mark.mount


def requests(mount: Mounted) -> dict[str, int]:
    """The requests of the last session, by operation; unmounts."""
    mount.umount()
    last = mount.log.read_text().rpartition("requests sent to the store: ")[2]
    return {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", last)}


def status(mount: Mounted) -> dict[str, Any]:
    """What the daemon says of itself."""
    said = json.loads(mount.objfs("status", "--json", str(mount.path)).stdout)
    found: dict[str, Any] = said["mounts"][0]
    return found


def test_a_warm_read_touches_no_network_and_survives_a_remount(tmp_path: Path) -> None:
    """Read once, remount, read again: the second session fetches not a byte."""
    with mounted(Store("file", f"file://{tmp_path}/store"), tmp_path) as mount:
        mount.sh("head -c 3000000 /dev/urandom > ../right && cp ../right f")
        mount.remount()
        mount.sh("cmp ../right f")
        assert "get" not in requests(mount)  # what was uploaded is cached as well
        for path in (mount.cache / "reads").glob("*/*"):
            path.unlink()
        mount.mount()
        mount.sh("cmp ../right f")
        assert requests(mount)["get"] >= 1
        mount.mount()
        mount.sh("cmp ../right f && cmp ../right f")
        assert "get" not in requests(mount)


def test_files_copied_into_a_new_directory_cost_one_put_each(tmp_path: Path) -> None:
    """Nobody else knows a directory that was just made, so no name in it is asked for."""
    with mounted(Store("file", f"file://{tmp_path}/store"), tmp_path) as mount:
        mount.sh("mkdir ../in && for i in $(seq 50); do echo $i > ../in/$i; done && cp -r ../in .")
        found = requests(mount)
        assert found["put"] == 51  # and the marker
        assert found.get("head", 0) + found.get("list", 0) <= 2


def test_ls_l_and_stat_of_what_was_listed_cost_one_listing(tmp_path: Path) -> None:
    """`ls -l` costs a page, the stats that follow nothing."""
    with mounted(Store("file", f"file://{tmp_path}/store"), tmp_path) as mount:
        mount.sh("mkdir d && for i in $(seq 200); do : > d/$i; done")
        mount.remount()
        mount.sh("ls -l d | wc -l && ls -l d && for i in $(seq 200); do test -f d/$i; done")
        found = requests(mount)
        assert found.get("head", 0) <= 1
        assert found["list"] <= 2


def test_tar_of_small_files_costs_one_get_each_and_no_head(tmp_path: Path) -> None:
    """Fetched ahead of their opening, by whatever order tar and cp have; the content is right."""
    url = f"file://{tmp_path}/store"
    with mounted(Store("file", url), tmp_path) as mount:
        mount.sh(
            "for d in 1 2 3; do mkdir -p ../right/$d; for i in $(seq 80); do"
            " head -c 5000 /dev/urandom > ../right/$d/$i; done; done; cp -r ../right t"
        )
        mount.umount()
        shutil.rmtree(mount.cache)
        mount.mount()
        mount.sh("mkdir ../tarred && tar -cf - t | tar -xf - -C ../tarred")
        mount.sh("diff -r ../right ../tarred/t")
        ahead = status(mount)["ahead"]
        assert ahead["used"] > 200
        assert ahead["unused"] <= 20
        found = requests(mount)
        assert found["get"] == 240
        assert found.get("head", 0) <= 3
        shutil.rmtree(mount.cache)
        mount.mount()
        mount.sh("cp -r t ../copied && diff -r ../right ../copied")
        assert requests(mount)["get"] == 240


def test_random_reads_of_a_large_file_cost_a_block_each(tmp_path: Path) -> None:
    """20 isolated reads of 4 KiB: 20 GETs of 128 KiB, whatever the kernel reads ahead."""
    with mounted(Store("file", f"file://{tmp_path}/store"), tmp_path) as mount:
        mount.sh("head -c 300M /dev/zero > f")
        mount.umount()
        shutil.rmtree(mount.cache)
        mount.mount()
        mount.sh(
            "for i in $(seq 20); do"
            " dd if=f bs=4096 count=1 skip=$((i * 7919 % 70000 + 1000)) status=none; done > ../out"
        )
        found = status(mount)
        assert found["requests"]["get"] == 20
        assert found["traffic"]["in"] == 20 * 128 * 1024
