"""What a mount would like to rely on, and whether it can on a store: the list, tried out.

None is taken from what a driver says. An error of the store says neither yes nor no, so it makes
"not known"; `Unsupported` says that the driver knows that its store lacks it. What a driver is sure
of and the store does not keep is worse than what is missing: the mount relies on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from objfs.errors import ObjfsError, Unsupported
from objfs.store import probes
from objfs.store.base import Capabilities
from objfs.store.insight import Insight
from objfs.store.probes import Seen
from objfs.store.scratch import Scratch


class Verdict(Enum):
    """Whether a guarantee holds."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Guarantee:
    """One thing that a mount would like to rely on."""

    name: str
    """In --json."""
    title: str
    """For people, and in the README."""
    missing: str
    """What it means for the mount where it does not hold."""
    probe: Callable[[Scratch, Insight], Seen]
    capability: str = ""
    """The field of `Capabilities` by which the mount believes in it; "" where it always does."""
    of_store: bool = True
    """A property of the product, rather than of this bucket and this machine."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one guarantee here."""

    guarantee: Guarantee
    verdict: Verdict
    detail: str = ""

    @property
    def means(self) -> str:
        """What a missing one means for the mount; "" for all others."""
        return self.guarantee.missing if self.verdict is Verdict.NO else ""


def examine(
    scratch: Scratch, insight: Insight, told: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Try all guarantees; `told` is given the title of each before. Raises no store's error."""
    findings: list[Finding] = []
    for guarantee in GUARANTEES:
        told(guarantee.title)
        finding = _try(guarantee, scratch, insight)
        findings.append(finding)
        if guarantee is WRITES and finding.verdict is not Verdict.YES:
            rest = [other for other in GUARANTEES if other is not WRITES]
            return findings + [
                Finding(other, Verdict.UNKNOWN, "nothing can be written") for other in rest
            ]
    return findings


def believe(caps: Capabilities) -> list[Finding]:
    """Without a write: what the driver knows that its store lacks; all else is not known."""
    return [
        Finding(guarantee, Verdict.NO, "known of this product")
        if guarantee.capability and not getattr(caps, guarantee.capability)
        else Finding(guarantee, Verdict.UNKNOWN, "not tried (--read-only)")
        for guarantee in GUARANTEES
    ]


def _try(guarantee: Guarantee, scratch: Scratch, insight: Insight) -> Finding:
    try:
        seen = guarantee.probe(scratch, insight)
    except Unsupported:
        return Finding(guarantee, Verdict.NO, "the driver does not rely on this store for it")
    except ObjfsError as error:
        return Finding(guarantee, Verdict.UNKNOWN, str(error))
    if seen.holds is None:
        return Finding(guarantee, Verdict.UNKNOWN, seen.detail)
    if seen.holds:
        return Finding(guarantee, Verdict.YES, seen.detail)
    detail = seen.detail
    if guarantee.capability and getattr(scratch.driver.capabilities, guarantee.capability):
        detail += "; objfs relies on it here: please report this store"
    return Finding(guarantee, Verdict.NO, detail)


# --- the list ------------------------------------------------------------------------------------

WRITES: Final = Guarantee(
    "write",
    "writing is allowed",
    "Every write fails with EACCES: mount it with --read-only.",
    probes.writes,
    of_store=False,
)
_WINDOW: Final = "objfs asks by HEAD just before, which leaves a short window"
GUARANTEES: Final[Sequence[Guarantee]] = (
    WRITES,
    Guarantee(
        "create_exclusive",
        "new file: only if absent",
        f"{_WINDOW} in which a file that was made elsewhere is overwritten unseen.",
        probes.create,
        "put_if_absent",
    ),
    Guarantee(
        "create_race",
        "new file: also in a race",
        "Two machines that create one name in the same instant may both succeed; the later stays.",
        probes.race,
    ),
    Guarantee(
        "replace_conditional",
        "changed file: only if unchanged",
        f"{_WINDOW} in which a change made elsewhere is overwritten unseen.",
        probes.replace,
        "put_if_match",
    ),
    Guarantee(
        "parts_exclusive",
        "new file in parts: only if absent",
        f"Above 16 MiB {_WINDOW} in which a file that was made elsewhere is overwritten unseen.",
        probes.finish_create,
        "finish_if_absent",
    ),
    Guarantee(
        "parts_conditional",
        "changed file in parts: only if unchanged",
        f"Above 16 MiB {_WINDOW} in which a change made elsewhere is overwritten unseen.",
        probes.finish_replace,
        "finish_if_match",
    ),
    Guarantee(
        "copy_source",
        "copy: only if unchanged",
        f"In a rename {_WINDOW} in which a newer version of the file is taken along.",
        probes.copy_source,
        "copy_if_match",
    ),
    Guarantee(
        "checksum",
        "checksum verified",
        "Bytes that were damaged on their way are stored; nobody notices before they are read.",
        probes.checksum,
    ),
    Guarantee(
        "md5",
        "MD5 told",
        "A whole download cannot be checked, and an upload whose answer was lost is compared by"
        " reading it back.",
        probes.told_md5,
    ),
    Guarantee(
        "atomic",
        "overwritten in one step",
        "A reader elsewhere may see half of an old file and half of a new one.",
        probes.atomic,
    ),
    Guarantee(
        "listing",
        "listed at once",
        "A file may be missing from its directory, or still show in it, for a while after a change"
        " made elsewhere.",
        probes.listed_at_once,
    ),
    Guarantee(
        "order",
        "listed in order",
        "In a directory of more than 1,000 names a file `a` beside a directory `a/` may be shown"
        " without its escape.",
        probes.ordered,
        "ordered",
    ),
    Guarantee(
        "keys",
        "every key as it is",
        "Objects with such names cannot be made, or come back under another name.",
        probes.keys,
    ),
    Guarantee(
        "clock",
        "the clocks agree",
        "Times of files are off by that much, which misleads make, rsync and backups; from 15"
        " minutes on signed requests are refused.",
        probes.clock,
        of_store=False,
    ),
)


def columns() -> list[Guarantee]:
    """Those of the README's table: what is a property of the product."""
    return [guarantee for guarantee in GUARANTEES if guarantee.of_store]


def markdown_row(store: str, findings: Sequence[Finding]) -> str:
    """The store's row of the README's table; what is not known is a `?`."""
    words = {Verdict.YES: "yes", Verdict.NO: "**no**", Verdict.UNKNOWN: "?"}
    told = {finding.guarantee.name: words[finding.verdict] for finding in findings}
    return f"| {store} | " + " | ".join(told[one.name] for one in columns()) + " |"


def markdown_head() -> str:
    """The first two lines of that table."""
    titles = " | ".join(guarantee.title for guarantee in columns())
    return f"| store | {titles} |\n|---|{'---|' * len(columns())}"


def markdown_meanings() -> str:
    """The README's table of what each missing one means."""
    rows = [f"| {one.title} | {one.missing} |" for one in columns()]
    return "\n".join(["| where there is no … | this is what it means |", "|---|---|", *rows])
