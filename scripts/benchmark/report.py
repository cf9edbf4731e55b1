"""What was measured, in numbers, as a table and as JSON."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.benchmark.workloads import MIB, WORKLOADS

RAW = "boto3"
"""The plain client among the contenders: no mount, so no ratio and no memory of its own."""
OURS = "objfs"


@dataclass(frozen=True)
class Sample:
    """One run of one workload. An error means that the numbers are meaningless."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the daemon, while the workload ran."""
    peak_memory: int = 0
    """Bytes that the daemon had resident at most since it was started."""
    error: str = ""


@dataclass
class Results:
    """All samples, by workload and contender."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, workload: str, contender: str, sample: Sample) -> None:
        """Keep one more."""
        self.samples.setdefault(workload, {}).setdefault(contender, []).append(sample)

    def middle(self, workload: str, contender: str) -> Sample | None:
        """Median times and the highest memory of the runs; an error when any of them failed.

        None when there was no run.
        """
        runs = self.samples.get(workload, {}).get(contender, [])
        failed = [run for run in runs if run.error]
        if failed or not runs:
            return failed[0] if failed else None
        return Sample(
            statistics.median(run.seconds for run in runs),
            statistics.median(run.cpu_seconds for run in runs),
            max(run.peak_memory for run in runs),
        )

    def ratio(self, workload: str, contender: str) -> float | None:
        """How many times as long as ours it took; None where one of both did not do it."""
        ours, other = self.middle(workload, OURS), self.middle(workload, contender)
        if ours is None or other is None or ours.error or other.error:
            return None
        return other.seconds / ours.seconds

    def problems(self) -> list[str]:
        """Every failure, ours and others', and every limit of ours that was passed."""
        found = []
        for workload, contenders in self.samples.items():
            limit = WORKLOADS[workload].memory_limit
            for contender, runs in contenders.items():
                found += [f"{workload}, {contender}: {run.error}" for run in runs if run.error]
                peak = max(run.peak_memory for run in runs)
                if limit and peak >= limit:
                    told = f"{peak / MIB:.0f} MiB resident, and the limit is {limit / MIB:.0f}"
                    found.append(f"{workload}, {contender}: {told}")
        return found

    def as_json(self) -> dict[str, object]:
        """Medians, ratios and all samples, with the machine that they are from."""
        return {
            "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
            "workloads": {
                workload: {
                    contender: {
                        "median": asdict(self.middle(workload, contender) or Sample()),
                        "ratio": self.ratio(workload, contender),
                        "samples": [asdict(run) for run in runs],
                    }
                    for contender, runs in contenders.items()
                }
                for workload, contenders in self.samples.items()
            },
            "problems": self.problems(),
        }


def show(results: Results, contenders: Sequence[str], rounds: int, console: Console) -> None:
    """Print the table: a time for each contender, what it is to ours, and what the daemon took."""
    title = f"Seconds until done, median of {rounds} (MiB/s); daemon: peak MiB resident / CPU s"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("workload")
    for name in (*contenders, RAW):
        table.add_column(name, justify="right")
    others = [name for name in contenders if name != OURS]
    for name in others:
        table.add_column(f"{name} / {OURS}", justify="right")
    for name in contenders:
        table.add_column(f"{name} daemon", justify="right")
    for workload in results.samples:
        times = [_time(workload, results.middle(workload, name)) for name in (*contenders, RAW)]
        ratios = [results.ratio(workload, name) for name in others]
        shown = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        used = [_used(results.middle(workload, name)) for name in contenders]
        table.add_row(WORKLOADS[workload].title, *times, *shown, *used)
    console.print(table)
    if others:
        console.print(f"Above 1 {OURS} is faster.")
    for problem in results.problems():
        console.print(f"[red]problem:[/red] {escape(problem)}")


def _time(workload: str, sample: Sample | None) -> str:
    if sample is None:
        return ""
    if sample.error:
        return "[red]failed[/red]"
    moved = WORKLOADS[workload].moved
    rate = f" ({moved / MIB / sample.seconds:.0f})" if moved else ""
    return f"{sample.seconds:.2f}{rate}"


def _used(sample: Sample | None) -> str:
    if sample is None or sample.error:
        return ""
    return f"{sample.peak_memory / MIB:.0f} / {sample.cpu_seconds:.2f}"
