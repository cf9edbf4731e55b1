"""When to try again: the schedules of uploads, as pure functions.

An SDK gives up within seconds (boto3: four attempts in some four seconds); a mount must outlast an
outage. Reads end by `--timeout`; uploads never end. Pauses double up to a limit, with a quarter of
jitter so that many files do not come back at once
(https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/).
"""

FIRST = 1.0
LAST = 60.0
REFUSED = 30.0
"""Seconds after a refusal: credentials and permissions do not mend themselves in one."""
REFUSED_LAST = 600.0


def pause(tries: int, *, refused: bool, chance: float) -> float:
    """Seconds until the next try, after `tries` failures; `chance` is random in [0, 1)."""
    first, last = (REFUSED, REFUSED_LAST) if refused else (FIRST, LAST)
    whole = min(last, first * 2.0 ** min(max(0, tries - 1), 30))
    return whole * (1 - 0.25 * chance)
