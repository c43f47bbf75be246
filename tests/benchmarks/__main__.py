"""``python -m tests.benchmarks [NAME...]``: run benchmarks; ratios go to results/bench/{name}.parquet and {name}.md."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from pathlib import Path

import pandas as pd

from tests.benchmarks.timing import Ratio

BENCHMARKS = ("models", "table", "pixels", "reading", "store", "scale", "training", "inference")


def page(rows: list[Ratio], busy: float) -> str:
    """The ratios as a table in Markdown; `busy`: processes that wanted a core when it began, beside this one."""
    lines = [
        f"{row.what} | {row.speedup:.2f} ({row.low:.2f} to {row.high:.2f}) | "
        f"{row.cpu_speedup:.2f} ({row.cpu_low:.2f} to {row.cpu_high:.2f}) | {row.n}"
        for row in rows
    ]
    head = [
        "times as fast as plain code: median (least to most) | by the clock | by processor time | n",
        "---|---|---|---",
    ]
    told = f"{os.cpu_count()} cores, with {busy:.1f} other processes busy at the beginning."
    return "\n".join([told, "", *(f"| {line} |" for line in [*head, *lines])]) + "\n"


def main(*names: str) -> None:
    folder = Path("results/bench")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or BENCHMARKS:
        busy = os.getloadavg()[0]
        rows = importlib.import_module(f"tests.benchmarks.{name}").main()
        pd.DataFrame([dataclasses.asdict(row) for row in rows]).to_parquet(folder / f"{name}.parquet", index=False)
        (folder / f"{name}.md").write_text(page(rows, busy))
        print(f"{len(rows)} ratios: {folder / name}.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
