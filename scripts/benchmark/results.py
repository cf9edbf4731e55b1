"""What was measured, and what it comes to."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from scripts.benchmark.contenders import OURS
from scripts.benchmark.data import MIB
from scripts.benchmark.workloads import FIGURES, MEMORY, WORKLOADS, Figures

CLIENT = "boto3"
"""The plain client beside the contenders: no mount, and so none of the peers."""
CLIENT_SHARE = 0.8
"""What a mount is to reach of the client's own throughput."""
COUNTING = -1.0
"""Stands for a round trip: a pass that is not timed, but goes through a link that counts."""


@dataclass(frozen=True)
class Sample:
    """One run of one workload. An error means that the numbers are meaningless."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the daemon, while the workload ran."""
    peak_memory: int = 0
    """Bytes that the daemon had resident at most since it was started."""
    figures: Figures = field(default_factory=dict)
    requests: dict[str, int] | None = None
    """By operation; None where nobody counted."""
    fetched: int | None = None
    """Bytes from the store."""
    sent: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Line:
    """What the contenders took for one thing, in seconds; objfs and the peers that did it."""

    workload: str
    title: str
    round_trip: float
    took: dict[str, float]
    target: float

    @property
    def best(self) -> str:
        """The fastest peer, "" without one."""
        peers = [name for name in self.took if name not in {OURS, CLIENT}]
        return min(peers, key=self.took.__getitem__, default="")

    @property
    def ratio(self) -> float:
        """How many times as long as objfs the best peer took; 0 where there are not both."""
        if OURS not in self.took or not self.best:
            return 0.0
        return self.took[self.best] / self.took[OURS]


@dataclass
class Results:
    """All samples, by milliseconds of round trip, workload and contender."""

    samples: dict[tuple[float, str], dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, round_trip: float, workload: str, contender: str, sample: Sample) -> None:
        """Keep one more."""
        of = self.samples.setdefault((round_trip, workload), {})
        of.setdefault(contender, []).append(sample)

    def runs(self, round_trip: float, workload: str, contender: str) -> list[Sample]:
        """What there is."""
        return self.samples.get((round_trip, workload), {}).get(contender, [])

    def middle(self, round_trip: float, workload: str, contender: str) -> Sample | None:
        """Median times and the highest memory of the runs; an error when any of them failed.

        None when there was no run. Counts are the last run's, and where none of these was counted,
        those of any other pass: a contender asks for the same however long an answer takes.
        """
        runs = self.runs(round_trip, workload, contender)
        failed = [run for run in runs if run.error]
        if failed or not runs:
            return failed[0] if failed else None
        counted = self._counted(round_trip, workload, contender)
        return Sample(
            statistics.median(run.seconds for run in runs),
            statistics.median(run.cpu_seconds for run in runs),
            max(run.peak_memory for run in runs),
            {
                name: statistics.median(run.figures[name] for run in runs)
                for name in runs[0].figures
            },
            counted.requests,
            counted.fetched,
            counted.sent,
        )

    def _counted(self, round_trip: float, workload: str, contender: str) -> Sample:
        passes = [round_trip, *(other for other, name in self.samples if name == workload)]
        found = [
            run
            for one in passes
            for run in reversed(self.runs(one, workload, contender))
            if run.fetched is not None and not run.error
        ]
        own = [run for run in self.runs(round_trip, workload, contender) if run.requests]
        return (found or own or [Sample()])[0]

    def timed(self) -> Iterator[tuple[float, str]]:
        """Every (round trip, workload) that was timed, by workload."""
        order = list(WORKLOADS)
        known = [spot for spot in self.samples if spot[0] != COUNTING]
        yield from sorted(known, key=lambda spot: (order.index(spot[1]), spot[0]))

    def lines(self) -> Iterator[Line]:
        """The workloads, each with its figures behind it."""
        for round_trip, name in self.timed():
            work, late = WORKLOADS[name], round_trip > 0
            middles = {
                who: middle
                for who in self.samples[round_trip, name]
                if (middle := self.middle(round_trip, name, who)) and not middle.error
            }
            took = {who: middle.seconds for who, middle in middles.items()}
            yield Line(name, work.title, round_trip, took, work.target[late])
            for figure, title in FIGURES.items():
                of = {
                    who: middle.figures[figure]
                    for who, middle in middles.items()
                    if figure in middle.figures
                }
                target = work.figure_targets.get(figure, (0.0, 0.0))[late]
                if of:
                    yield Line(name, f"… {title}", round_trip, of, target)

    def problems(self) -> list[str]:
        """Every failure, ours and others', and every limit of ours that was passed."""
        found = []
        for (round_trip, workload), contenders in self.samples.items():
            for contender, runs in contenders.items():
                spot = f"{workload}, {round_trip:g} ms, {contender}"
                found += [f"{spot}: {run.error}" for run in runs if run.error]
                peak = max(run.peak_memory for run in runs)
                if contender == OURS and peak > MEMORY:
                    told = f"{peak / MIB:.0f} MiB resident, the limit is {MEMORY / MIB:.0f}"
                    found.append(f"{spot}: {told}")
        return found

    def ours_failed(self) -> bool:
        """Whether objfs did not do a workload, or took more memory than it may."""
        return any(f", {OURS}: " in line for line in self.problems())

    def as_json(self) -> dict[str, object]:
        """Everything."""
        return {
            "lines": [
                {**asdict(line), "best": line.best, "ratio": line.ratio} for line in self.lines()
            ],
            "samples": [
                {"round_trip": round_trip, "workload": workload, "contender": who, **asdict(run)}
                for (round_trip, workload), contenders in self.samples.items()
                for who, runs in contenders.items()
                for run in runs
            ],
            "problems": self.problems(),
        }
