"""`scripts/bench --smoke`: what the workloads ask of a real store, by what went over the wire."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmark.data import KIB, MIB, SMOKE
from tests.servers import Server

CHECKOUT = Path(__file__).parents[2]
HEADERS = 2 * KIB
"""Bytes of an answer beside its body."""
pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def samples(radosgw: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run, by workload. It starts a store of its own, of the kind that was chosen."""
    assert radosgw.name == "radosgw"
    found = tmp_path_factory.mktemp("bench") / "found.json"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "scripts.benchmark", "--smoke", "--json", found],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(found.read_text())["samples"]
    found_by = {one["workload"]: one for one in told if one["contender"] == "objfs"}
    (client,) = (one for one in told if one["contender"] == "boto3")
    return {**found_by, "client": client}


def test_every_workload_ran_in_bounded_memory(samples: dict[str, Any]) -> None:
    """256 MiB whatever is done; what the kernel knows needs no daemon, or `known` had failed."""
    ours = {name: one for name, one in samples.items() if name != "client"}
    assert set(ours) == {"read", "random", "tar", "small", "known"}
    assert all(0 < one["peak_memory"] <= 256 * MIB for one in ours.values())


def test_a_stream_fetches_every_byte_once_in_large_ranges(samples: dict[str, Any]) -> None:
    """64 MiB in ranges of 2 MiB on average, those of the growing window included, and 4 lookups."""
    read = samples["read"]
    assert SMOKE.large <= read["fetched"] <= SMOKE.large + 20 * HEADERS
    assert read["requests"]["GET"] <= SMOKE.large // (2 * MIB)
    assert sum(read["requests"].values()) - read["requests"]["GET"] <= 4


def test_an_isolated_read_fetches_at_most_128_kib(samples: dict[str, Any]) -> None:
    """One request each, and no read-ahead behind it."""
    read = samples["random"]
    assert read["requests"]["GET"] <= SMOKE.random_reads
    assert read["fetched"] <= (SMOKE.random_reads + 2) * (128 * KIB + HEADERS)


def test_a_tree_costs_a_request_for_each_file_and_a_listing_for_each_folder(
    samples: dict[str, Any],
) -> None:
    """A walk sends no HEAD for a name that was listed."""
    tar = samples["tar"]["requests"]
    files = SMOKE.tree_folders * SMOKE.tree_files
    assert tar["GET"] <= files
    assert sum(tar.values()) - tar["GET"] <= SMOKE.tree_folders + 3
    assert samples["tar"]["fetched"] <= files * (SMOKE.small + HEADERS) + MIB


def test_files_copied_in_cost_a_put_each(samples: dict[str, Any]) -> None:
    """And their folder one more, its marker."""
    small = samples["small"]["requests"]
    assert small["PUT"] == SMOKE.small_files + 1
    assert sum(small.values()) - small["PUT"] <= 3


def test_the_client_beside_it_is_measured_by_itself(samples: dict[str, Any]) -> None:
    """Its memory is its own, not that of the benchmark which started it."""
    client = samples["client"]
    assert client["error"] == ""
    assert 0 < client["peak_memory"] < 3 * SMOKE.large
    assert SMOKE.large <= client["fetched"] <= SMOKE.large + 20 * HEADERS
