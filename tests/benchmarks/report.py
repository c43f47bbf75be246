"""What `make bench` measured: docs/performance.md from it, and whether any ratio has fallen.

``python -m tests.benchmarks.report page`` writes the page, ``keep`` takes the ratios for the baseline of later runs
(tests/benchmarks/baseline.csv, committed), ``check`` fails if one is more than 20 % below it. All read
results/bench/*.parquet. Only ratios measured in one run are compared, never seconds: those are a machine's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

FOLDER = Path("results/bench")
BASELINE = Path(__file__).with_name("baseline.csv")
PAGE = Path("docs/performance.md")
LOST = 0.20

# What is wanted of a ratio; the rest has none.
GOALS = {
    "wavelet paper_haar / PyWavelets": 25.0,
    "wavelet paper_haar / memory copy": 0.4,
    "quantify an image / scikit-image": 9.0,
    **{f"decode JPEG or JPEG-LS, 1.2.840.10008.1.2.4.{process} / pydicom": 2.0 for process in (50, 57, 70, 80, 81)},
}
HEAD = """# How fast

Written by `python -m tests.benchmarks.report page` from what `make bench` measured: do not edit.

Every figure is a ratio of two ways of doing the same thing, timed in turn in one run: how many times as fast this
package is as the plain way behind the slash (the least and the most of n pairs in brackets). A ceiling, such as a copy
of the memory, gives ratios below one: the share of it that is reached. What the plain ways are is code:
`tests/benchmarks/oracles`, and the head of each file in `tests/benchmarks`. Where results must be equal, the same code
is the oracle of unit tests. `make bench-check` fails if a ratio is more than 20 % below the committed baseline.
"""


def measured(folder: Path) -> pd.DataFrame:
    """All ratios, with the benchmark that each belongs to."""
    found = [pd.read_parquet(path).assign(benchmark=path.stem) for path in sorted(folder.glob("*.parquet"))]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["benchmark", "what", "speedup"])


def page(ratios: pd.DataFrame) -> str:
    """The page in Markdown."""
    lines = [HEAD]
    for benchmark, rows in ratios.groupby("benchmark"):
        lines += [f"## `tests/benchmarks/{benchmark}.py`\n", "| what | ratio | n | goal |", "|---|---|---|---|"]
        for row in rows.itertuples():
            goal = GOALS.get(row.what)
            told = "" if goal is None else f"{goal:g}: {'reached' if row.speedup >= goal else 'not reached'}"
            lines.append(f"| {row.what} | {row.speedup:.3g} ({row.low:.3g} to {row.high:.3g}) | {row.n} | {told} |")
        lines.append("")
    return "\n".join(lines)


def fallen(ratios: pd.DataFrame, baseline: pd.DataFrame) -> list[str]:
    """Sentences on ratios that are more than 20 % below the baseline's; what was not measured is not judged."""
    both = baseline.merge(ratios, on=["benchmark", "what"], suffixes=("_before", ""))
    lost = both[both["speedup"] < (1 - LOST) * both["speedup_before"]]
    return [
        f"{row.benchmark}, {row.what}: {row.speedup:.2f} ({row.low:.2f} to {row.high:.2f}), "
        f"but {row.speedup_before:.2f} in the baseline"
        for row in lost.itertuples()
    ]


def main(what: str, folder: Path = FOLDER, baseline: Path = BASELINE, target: Path = PAGE) -> int:
    ratios = measured(folder)
    if ratios.empty:
        print(f"{folder}: wanted what `make bench` measures, found nothing. Run it first.")
        return 2
    if what == "page":
        target.write_text(page(ratios))
        print(f"{target}: {len(ratios)} ratios")
    elif what == "keep":
        ratios[["benchmark", "what", "speedup"]].round(3).to_csv(baseline, index=False)
        print(f"{baseline}: {len(ratios)} ratios")
    elif what == "check":
        found = fallen(ratios, pd.read_csv(baseline))
        print("\n".join(found) or f"{len(ratios)} ratios: none is more than {LOST:.0%} below the baseline.")
        return 1 if found else 0
    else:
        print(f"Wanted page, keep or check, came {what}.")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or [""]))
