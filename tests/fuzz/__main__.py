"""``python -m tests.fuzz --count N --seed S --seconds T``: counts files, rows, errors, crashes, hangs; peak memory."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz import makers, reading

BATCH = 200  # files that are made, read and removed together


def main() -> int:
    """Run, print the account, and return 1 if anything happened that must not."""
    given = _arguments()
    logging.disable(logging.WARNING)  # a line for every damaged file
    os.environ["COVIDPIPE_ID_KEY"] = os.path.join(tempfile.mkdtemp(prefix="fuzz-"), "id.key")  # noqa: PTH118
    kinds = given.kinds or [*makers.IMAGES, *makers.OTHERS]
    count, kept, started = reading.Count(), Path(given.keep), time.monotonic()
    with reading.PeakMemory() as memory:
        number = 0
        while sum(count.files.values()) < given.count and time.monotonic() - started < given.seconds:
            left = given.count - sum(count.files.values())
            _batch(kinds, given.seed, number, min(BATCH, left), count, kept)
            number += BATCH
            done = sum(count.files.values())
            print(f"\r{done:,} files, {time.monotonic() - started:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(account(count, memory.bytes, time.monotonic() - started, given.seed))
    shutil.rmtree(Path(os.environ["COVIDPIPE_ID_KEY"]).parent)
    return 0 if count.clean else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2_000, help="files in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600, help="no new batch is begun after that")
    parser.add_argument("--kinds", nargs="+", choices=[*makers.IMAGES, *makers.OTHERS])
    parser.add_argument("--keep", default="results/fuzz", help="folder for the files that something went wrong with")
    return parser.parse_args()


def _batch(kinds: list[str], seed: int, first: int, size: int, count: reading.Count, kept: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        images, others = Path(folder) / "images", Path(folder) / "others"
        images.mkdir()
        others.mkdir()
        for number in range(first, first + size):
            kind = kinds[number % len(kinds)]
            ending, content = reading.make(kind, seed, number)
            place = images if kind in makers.IMAGES else others
            (place / f"{kind}-{seed}-{number}{ending}").write_bytes(content)
            count.files[kind] += 1
        before = set(count.crashes) | set(count.hangs)
        reading.read_images(images, count)
        for kind in makers.OTHERS:
            reading.read_others(kind, sorted(others.glob(f"{kind}-*[!d]")), count)
        wrong = set(count.crashes) | set(count.hangs) | {fault.split(":")[0] for fault in count.faults}
        for path in (*images.iterdir(), *others.iterdir()):
            if path.name in wrong - before and path.is_file():
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, kept)


def account(count: reading.Count, peak: int, seconds: float, seed: int) -> str:
    """What was counted, as lines."""

    def listed(counted: Counter[str]) -> str:
        return ", ".join(f"{name} {n:,}" for name, n in sorted(counted.items())) or "none"

    files = sum(count.files.values())
    lines = [
        f"files    {files:,} in {seconds:.0f} s, seed {seed}: {listed(count.files)}",
        f"rows     {count.rows:,}: {listed(count.codes)}",
        f"told as  rows that no reader foresaw: {listed(count.unforeseen)}",
        f"crashes  {len(count.crashes)} {' '.join(count.crashes[:20])}",
        f"hangs    {len(count.hangs)} {' '.join(count.hangs[:20])}",
        f"faults   {len(count.faults)}",
        *(f"         {fault[:300]}" for fault in count.faults[:40]),
        f"peak     {peak / 2**20:,.0f} MiB of one process (limit for a file: "
        f"{reading.LIMITS.max_memory_gib:g} GiB more than it began with)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
