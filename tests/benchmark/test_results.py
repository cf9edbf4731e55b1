"""What the benchmark says of its samples."""

import pytest

from scripts.benchmark.__main__ import arguments
from scripts.benchmark.data import MIB, SMOKE
from scripts.benchmark.results import COUNTING, Results, Sample


def filled() -> Results:
    """Three rounds of one workload."""
    results = Results()
    for seconds in (1.0, 9.0, 2.0):
        results.add(20, "tar", "objfs", Sample(seconds))
        results.add(20, "tar", "rclone-full", Sample(10 * seconds))
    results.add(20, "tar", "s3fs", Sample(error="tar was not done after 120 s"))
    return results


def test_the_ratio_is_that_of_the_medians_and_the_best_peer_that_did_it() -> None:
    """A peer that failed is no peer, and is told of."""
    results = filled()
    (line,) = results.lines()
    assert (line.best, line.ratio, line.target) == ("rclone-full", 10.0, 10)
    assert results.problems() == ["tar, 20 ms, s3fs: tar was not done after 120 s"]
    assert not results.ours_failed()


def test_too_much_memory_and_one_failure_of_ours_are_failures() -> None:
    """One bad round of three is enough."""
    results = filled()
    results.add(20, "tar", "objfs", Sample(1.0, peak_memory=257 * MIB))
    assert results.ours_failed()
    results = filled()
    results.add(20, "tar", "objfs", Sample(error="tar exited with 2"))
    assert results.ours_failed()
    assert not any("objfs" in line.took for line in results.lines())


def test_a_counting_pass_gives_counts_and_no_times() -> None:
    """What was counted once stands for the passes that nobody counted."""
    results = Results()
    results.add(COUNTING, "tar", "s3fs", Sample(99.0, requests={"GET": 5}, fetched=7))
    results.add(0, "tar", "s3fs", Sample(3.0))
    assert list(results.timed()) == [(0, "tar")]
    middle = results.middle(0, "tar", "s3fs")
    assert middle
    assert (middle.seconds, middle.requests, middle.fetched) == (3.0, {"GET": 5}, 7)


def test_a_workload_that_follows_another_brings_that_along() -> None:
    """What is read again was read before; smoke is objfs alone, on little data."""
    assert arguments(["--only", "reread"]).names == ["read", "reread"]
    smoke = arguments(["--smoke"])
    assert (smoke.contenders, smoke.rounds, smoke.sizes) == (["objfs"], 1, SMOKE)


@pytest.mark.parametrize("given", [["--only", "reed"], ["--peers", "goofys"], ["--rounds", "0"]])
def test_an_unknown_name_is_a_usage_error(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """And the message lists what there is."""
    with pytest.raises(SystemExit) as refusal:
        arguments(given)
    assert refusal.value.code == 2
    assert given[0] in capsys.readouterr().err
