"""Damage files of every kind, read them, and count rows, errors, crashes and hangs, and the peak of memory.

``python -m tests.fuzz --count 100000 --seed 1 --seconds 3000 --resume``: the files of a seed are numbered; whoever has
not the time for all at once runs the same command again, and it goes on from its record, a JSON file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from covidpipe.io.files import write_json
from covidpipe.provenance import code_fingerprint
from tests.fuzz import makers, reading

BATCH = 1000  # files that are made, read and removed together


def main() -> int:
    """Run, print and write the account, and return 1 if anything happened that must not."""
    given = _arguments()
    kinds = given.kinds or [*makers.IMAGES, *makers.OTHERS]
    files = {"seed": given.seed, "start": given.start, "kinds": kinds}
    record = given.record or Path(given.keep) / f"record-{given.seed}-{given.start}.json"
    codes, count, code = Counter[str](), reading.Count(), _code()
    if given.resume and record.exists():
        told = json.loads(record.read_text(encoding="utf-8"))
        if {name: told[name] for name in files} != files:
            sys.exit(f"{record}: of other files; wanted {files}. Give another --record, or the same arguments.")
        codes, count = Counter(told["files_by_code"]), reading.Count.of(told["count"])
    before, began = count.seconds, time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-", dir=reading.memory_folder()) as place,
        reading.PeakMemory() as memory,
    ):
        os.environ["COVIDPIPE_ID_KEY"] = str(Path(place) / "id.key")
        while (done := count.files.total()) < given.count and time.monotonic() - began < given.seconds:
            size = min(BATCH, given.count - done)
            _batch(Path(place) / "batch", kinds, given.seed, given.start + done, size, count, Path(given.keep))
            codes[code] += size
            count.seconds = before + time.monotonic() - began
            count.peak_bytes = max(count.peak_bytes, memory.bytes)
            write_json(record, {**files, "files_by_code": codes, "clean": count.clean, "count": vars(count)})
            print(f"{count.files.total():,} files, {count.seconds:.0f} s", file=sys.stderr, flush=True)
    print(account(count, given.seed))
    print(f"record   {record}")
    if count.files.total() < given.count:
        left = (given.count - count.files.total()) * count.seconds / max(count.files.total(), 1)
        print(f"Not all of {given.count:,} yet: the same command with --resume goes on, for about {left:.0f} s.")
    return 0 if count.clean else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2_000, help="files in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="number of the first file: for parts, or one file again")
    parser.add_argument("--seconds", type=float, default=600, help="no new batch is begun after that")
    parser.add_argument("--kinds", nargs="+", choices=[*makers.IMAGES, *makers.OTHERS])
    parser.add_argument("--keep", default="results/fuzz", help="folder for the files that something went wrong with")
    parser.add_argument("--record", type=Path, help="the account as JSON; results/fuzz/record-SEED-START.json")
    parser.add_argument("--resume", action="store_true", help="go on from the record, if there is one")
    return parser.parse_args()


def _code() -> str:
    """A word for the code that reads, and for the makers: which of them a record's files met."""
    digest = hashlib.sha256(code_fingerprint("ingest", "covidpipe.io.store").encode())
    for module in (makers, reading):
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:16]


def _batch(folder: Path, kinds: list[str], seed: int, first: int, size: int, count: reading.Count, kept: Path) -> None:
    images, others = folder / "images", folder / "others"
    made: list[tuple[str, Path]] = []
    for place in (images, others):
        place.mkdir(parents=True)
    for number in range(first, first + size):
        kind = kinds[number % len(kinds)]
        ending, content = reading.make(kind, seed, number)
        made.append((kind, (images if kind in makers.IMAGES else others) / f"{kind}-{seed}-{number}{ending}"))
        made[-1][1].write_bytes(content)
        count.files[kind] += 1
    kinds_of_wrong = (count.crashes, count.hangs, count.faults, count.unforeseen)
    before = [len(lines) for lines in kinds_of_wrong]
    if any(images.iterdir()):
        reading.read_images(images, count)
    reading.read_others([(kind, path) for kind, path in made if kind in makers.OTHERS], count)
    wrong = {line.split(":")[0] for lines, old in zip(kinds_of_wrong, before, strict=True) for line in lines[old:]}
    for _, path in made:
        if path.name in wrong:
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kept)
    shutil.rmtree(folder)


def account(count: reading.Count, seed: int) -> str:
    """What was counted, as lines."""

    def listed(counted: dict[str, Any]) -> str:
        return ", ".join(f"{name} {n:,}" for name, n in sorted(counted.items())) or "none"

    files = count.files.total()
    lines = [
        f"files    {files:,} in {count.seconds:.0f} s ({files / max(count.seconds, 1e-9):.0f}/s), seed {seed}: "
        f"{listed(count.files)}",
        f"rows     {count.answered:,} of {files:,} files answered, in {count.rows:,} rows: {listed(count.codes)}",
        f"unseen   {len(count.unforeseen)} rows that no reader foresaw",
        *(f"         {line}" for line in count.unforeseen[:20]),
        f"crashes  {len(count.crashes)} {' '.join(count.crashes[:20])}".rstrip(),
        f"hangs    {len(count.hangs)} {' '.join(count.hangs[:20])}".rstrip(),
        f"faults   {len(count.faults)}",
        *(f"         {fault[:300]}" for fault in count.faults[:40]),
        f"peak     {count.peak_bytes / 2**20:,.0f} MiB of one process (limit for a file: "
        f"{reading.LIMITS.max_memory_gib:g} GiB more than it began with)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # a line for every damaged file
    sys.exit(main())
