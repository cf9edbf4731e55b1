"""Draws the ratios of a run: `python plot.py RESULTS.json PLOT.png`, in the bench's environment."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # behind the choice of a backend


def main(results: Path, picture: Path) -> None:
    """One panel for each round-trip time: how many times as long as objfs each peer took."""
    told: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    lines = [line for line in told["lines"] if line["ratio"]]
    delays = sorted({line["round_trip"] for line in lines})
    names = sorted({name for line in lines for name in line["took"]} - {"objfs", "boto3"})
    rows = max((sum(line["round_trip"] == delay for line in lines) for delay in delays), default=1)
    figure, panels = plt.subplots(
        1, max(1, len(delays)), figsize=(9 * max(1, len(delays)), 2 + 0.5 * rows), squeeze=False
    )
    for delay, axes in zip(delays, panels[0], strict=False):
        shown = [line for line in lines if line["round_trip"] == delay][::-1]
        for number, name in enumerate(names):
            spots = [
                (row + (number - len(names) / 2) * 0.25, line["took"][name] / line["took"]["objfs"])
                for row, line in enumerate(shown)
                if name in line["took"]
            ]
            axes.barh([y for y, _ in spots], [x for _, x in spots], height=0.22, label=name)
        axes.set_yticks(range(len(shown)), [line["title"] for line in shown])
        axes.set_xscale("log")
        axes.axvline(1, color="black", linewidth=1)
        axes.set_title(f"{delay:g} ms of round trip")
        axes.set_xlabel("time by objfs's time (right of 1: objfs is faster)")
    if lines:
        panels[0][0].legend()
    figure.suptitle(f"{told['date']}, {told['server']}, {told['machine']}")
    figure.tight_layout()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
