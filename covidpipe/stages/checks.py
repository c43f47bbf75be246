"""The papers' printed numbers against themselves: every check, those that hold and those that fail."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from covidpipe.io.readable import write_three
from covidpipe.paper.checks import Finding, findings
from covidpipe.paper.published import PAPERS, read_published
from covidpipe.schemas import PAPER_CHECKS

HEADING = """# The papers' numbers against themselves

Computed from the printed numbers alone (config/published/), without any image. A check fails if no number that rounds
to the printed one can satisfy it; {failing} of {all} do."""


def run(published: Path, out: Path) -> str:
    """Write ``checks.parquet``, ``.csv`` and ``.md`` into `out`, and say what fails.

    Parameters
    ----------
    published : Path
        Folder of ``alom2020.csv`` and ``khan2020.csv``.
    out : Path

    Returns
    -------
    str
        Counts by check, then a line for each check that fails.
    """
    found = [finding for paper in PAPERS for finding in findings(read_published(published / f"{paper}.csv"))]
    failing = [finding for finding in found if finding.verdict == "fails"]
    heading = HEADING.format(failing=len(failing), all=len(found))
    write_three(out / "checks", [asdict(finding) for finding in found], PAPER_CHECKS, heading)
    return "\n".join([*_counts(found), "", *(_line(finding) for finding in failing)])


def _counts(found: list[Finding]) -> list[str]:
    of_all, of_failing = (
        Counter((f.paper, f.check) for f in found if wanted is None or f.verdict == wanted)
        for wanted in (None, "fails")
    )
    return [f"{paper}  {check}: {of_failing[paper, check]} of {n} fail" for (paper, check), n in sorted(of_all.items())]


def _line(finding: Finding) -> str:
    where = ", ".join(word for word in (finding.source, finding.row, finding.regime, finding.subject) if word)
    return f"{finding.paper}, {where} [{finding.check}]: {finding.sentence}"
