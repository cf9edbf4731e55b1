"""The tables: Markdown, so that README can have them as they are."""

from collections.abc import Callable, Iterator, Sequence

from scripts.benchmark.contenders import OURS
from scripts.benchmark.data import MIB, Bench
from scripts.benchmark.results import CLIENT, CLIENT_SHARE, Line, Results, Sample
from scripts.benchmark.workloads import WORKLOADS


def tables(results: Results, contenders: Sequence[str], bench: Bench) -> Iterator[str]:
    """Times and ratios; then what they cost; then what went wrong."""
    peers = [name for name in contenders if name != OURS]
    yield "Seconds (MiB/s), median. The ratio is the best peer's time by objfs's: above 1, objfs is"
    yield "faster. A peer that took over 40 s or failed was not run again."
    yield ""
    head = ["workload", "ms", OURS, *peers, CLIENT, "ratio", "target"]
    if not peers:
        head = ["workload", "ms", OURS, CLIENT]
    yield from _table(head, [_times(line, head, results, bench) for line in results.lines()])
    yield ""
    yield "What it took: requests / MiB fetched / CPU seconds and peak MiB of the daemon."
    yield ""
    head = ["workload", "ms", *contenders, CLIENT]
    rows = [
        [
            WORKLOADS[name].title,
            f"{round_trip:g}",
            *(_cost(results.middle(round_trip, name, who)) for who in head[2:]),
        ]
        for round_trip, name in results.timed()
    ]
    yield from _table(head, rows)
    problems = results.problems()
    if problems:
        yield ""
        yield from (f"problem: {problem}" for problem in problems)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    align: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (len(head) - 1)]
    for row in (head, ["-" * width for width in widths], *rows):
        cells = (one(cell, width) for one, cell, width in zip(align, row, widths, strict=True))
        yield f"| {' | '.join(cells)} |"


def _times(line: Line, head: Sequence[str], results: Results, bench: Bench) -> list[str]:
    own = line.title == WORKLOADS[line.workload].title
    moved = WORKLOADS[line.workload].moved(bench) if own else 0
    row = [line.title, f"{line.round_trip:g}"]
    for name in head[2:]:
        if name == "ratio":
            row.append(f"{line.ratio:.2f}" if line.ratio else "")
        elif name == "target":
            row.append(_target(line))
        elif name in line.took:
            rate = f" ({moved / MIB / line.took[name]:.0f})" if moved else ""
            row.append(f"{line.took[name]:.3g}{rate}")
        else:
            failed = own and results.runs(line.round_trip, line.workload, name)
            row.append("failed" if failed else "")
    return row


def _target(line: Line) -> str:
    """Each target, and whether it is met."""
    told = []
    if line.target and line.ratio:
        told.append(f"≥ {line.target:g} {_met(line.ratio >= line.target)}")
    if CLIENT in line.took and OURS in line.took:
        share = line.took[CLIENT] / line.took[OURS]
        told.append(f"{share:.0%} of {CLIENT} {_met(share >= CLIENT_SHARE)}")
    return ", ".join(told)


def _met(met: bool) -> str:  # noqa: FBT001  # one obvious argument
    return "met" if met else "MISSED"


def _cost(sample: Sample | None) -> str:
    if sample is None or sample.error:
        return ""
    requests = "?" if sample.requests is None else str(sum(sample.requests.values()))
    fetched = "?" if sample.fetched is None else f"{sample.fetched / MIB:.3g}"
    return f"{requests} / {fetched} / {sample.cpu_seconds:.3g} / {sample.peak_memory / MIB:.0f}"
