"""``python -m tests.benchmarks [NAME...]``: run benchmarks and keep their ratios in results/bench/{name}.parquet."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path

import pandas as pd

BENCHMARKS = ("models", "table")


def main(*names: str) -> None:
    folder = Path("results/bench")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or BENCHMARKS:
        rows = importlib.import_module(f"tests.benchmarks.{name}").main()
        pd.DataFrame([dataclasses.asdict(row) for row in rows]).to_parquet(folder / f"{name}.parquet", index=False)
        print(f"{len(rows)} ratios: {folder / name}.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
