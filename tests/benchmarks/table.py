"""The infection table at ten million rows: written, validated and queried, each in a process of its own.

``python -m tests.benchmarks.table [ROWS [FOLDER]]``. First the ratios to plain pyarrow, on a twentieth of the rows: the
same row groups written without a check, and read without one. Then all rows once: seconds, the peak of memory (at most
2 GiB) and, for one patient's rows, the share of the table's bytes that is read (less than 1 %).
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from covidpipe.io import files
from covidpipe.io.files import parquet_options, with_codebook, write_pieces
from covidpipe.io.hive import write_dataset
from covidpipe.io.validate import validate
from covidpipe.schemas import INFECTION
from tests.benchmarks.timing import Ratio, paired
from tests.unit import synthetic_table

ROWS = 10_000_000
FILE_ROWS = 5_000_000
GIB = 2**30
MOST_MEMORY, MOST_READ = 2 * GIB, 0.01


def write_plainly(path: Path, pieces: list[pa.Table]) -> None:
    with pq.ParquetWriter(path, with_codebook(INFECTION), **parquet_options(INFECTION)) as writer:
        for piece in pieces:
            writer.write_table(piece.cast(writer.schema), row_group_size=files.ROW_GROUP)


def read_plainly(path: Path) -> int:
    with pq.ParquetFile(path) as file:
        return sum(len(file.read_row_group(group)) for group in range(file.num_row_groups))


def ratios(folder: Path, rows: int) -> list[Ratio]:
    pieces = list(synthetic_table.pieces(rows))
    ours, plain = folder / "ours.parquet", folder / "plain.parquet"
    return [
        paired("write", lambda: write_pieces(ours, pieces, INFECTION), lambda: write_plainly(plain, pieces), n=3),
        paired("validate", lambda: validate(ours, INFECTION), lambda: read_plainly(ours), n=3),
    ]


class Stopwatch:
    """Passes pieces on and keeps the time that making them took."""

    def __init__(self, pieces: Iterator[pa.Table]) -> None:
        self.pieces, self.seconds = pieces, 0.0

    def __iter__(self) -> Iterator[pa.Table]:
        while True:
            started = time.perf_counter()
            piece = next(self.pieces, None)
            self.seconds += time.perf_counter() - started
            if piece is None:
                return
            yield piece


def write_file(path: Path, rows: int) -> float:
    pieces = Stopwatch(synthetic_table.pieces(rows))
    started = time.perf_counter()
    write_pieces(path, pieces, INFECTION)
    return time.perf_counter() - started - pieces.seconds


def write_folder(path: Path, rows: int) -> float:
    pieces = Stopwatch(synthetic_table.pieces(rows))
    started = time.perf_counter()
    write_dataset(path, pieces, INFECTION, FILE_ROWS)
    return time.perf_counter() - started - pieces.seconds


def check(path: Path) -> float:
    started = time.perf_counter()
    validate(path, INFECTION)
    return time.perf_counter() - started


def bytes_read(ask: Callable[[], int]) -> tuple[int, int]:
    """What `ask` answers, and the bytes that this process read meanwhile, from disk or from the cache."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])

    before = so_far()
    answer = ask()
    return answer, so_far() - before


def query(path: Path, patient: str) -> dict[str, tuple[int, int, float]]:
    """Rows of one patient, all columns: how many, bytes read, seconds; by program."""
    where = f"{path}/**/*.parquet" if path.is_dir() else str(path)
    programs: dict[str, Callable[[], int]] = {
        "duckdb": lambda: len(duckdb.sql(f"select * from '{where}' where patient_id = '{patient}'").fetchall()),
        "pyarrow": lambda: (
            ds.dataset(path, partitioning="hive").to_table(filter=ds.field("patient_id") == patient).num_rows
        ),
    }
    found = {}
    for name, ask in programs.items():
        started = time.perf_counter()
        rows, read = bytes_read(ask)
        found[name] = rows, read, time.perf_counter() - started
    return found


def alone(work: Callable[..., Any], *given: Any) -> tuple[Any, int]:
    """What `work` gives in a process of its own, and the peak of its memory in bytes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, given))


def _measured(work: Callable[..., Any], given: tuple) -> tuple[Any, int]:
    return work(*given), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*.parquet")))


def main(rows: str | int = ROWS, folder: str | None = None) -> list[Ratio]:
    rows = int(rows)
    found = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for row in ratios(Path(scratch), rows // 20):
            found.append(row)
            print(
                f"{row.what:<9} {rows // 20:,} rows: ours {row.ours_s:.2f} s, plain pyarrow {row.plain_s:.2f} s, "
                f"{1 / row.speedup:.2f} times as long ({1 / row.high:.2f} to {1 / row.low:.2f}, n = {row.n})",
                flush=True,
            )
        patient = f"{rows // 400:016x}"  # one from the middle: 200 rows each
        for path, write in (
            (Path(scratch, "infection.parquet"), write_file),
            (Path(scratch, "infection"), write_folder),
        ):
            written, peak = alone(write, path, rows)
            checked, check_peak = alone(check, path)
            answers, query_peak = alone(query, path, patient)
            whole = size(path)
            print(
                f"{path.name}: {rows:,} rows, {whole / 1e6:,.0f} MB: written in {written:.0f} s "
                f"({peak / GIB:.2f} GiB), validated in {checked:.0f} s ({check_peak / GIB:.2f} GiB)",
                flush=True,
            )
            assert max(peak, check_peak, query_peak) < MOST_MEMORY, "more than 2 GiB of memory"
            for program, (number, read, seconds) in answers.items():
                print(
                    f"  one patient by {program}: {number} rows in {seconds:.2f} s, {100 * read / whole:.2f} % of the "
                    f"bytes ({query_peak / GIB:.2f} GiB)",
                    flush=True,
                )
                most = MOST_READ * max(1, ROWS / rows)  # of fewer rows, a patient's are a larger share
                assert number == 200 and read < most * whole, "a patient's query reads too much"
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
