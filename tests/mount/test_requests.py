"""What a mount asks of the store, by the count that its log gives at unmount."""

import re
from pathlib import Path

import pytest

from tests.mount.kit import Mounted, Store, mounted

pytestmark = pytest.mark.mount


def requests(mount: Mounted) -> dict[str, int]:
    """The requests of the last session, by operation; unmounts."""
    mount.umount()
    last = mount.log.read_text().rpartition("requests sent to the store: ")[2]
    return {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", last)}


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
