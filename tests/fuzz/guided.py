"""Fuzz the readers by coverage: bytes that reach a new branch are kept and changed further (atheris, libFuzzer).

``python -m tests.fuzz.guided --seconds 180 [--kinds dicom png]`` starts one process a kind, one after the other. What
they found lies in results/fuzz/guided/KIND: `corpus`, from which the next run goes on, and `found`, a file for each
input that ended in a traceback, a crash, a hang or too much memory; ``--again FILE --kinds KIND`` reads one once more,
and `log` tells where it ended.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

from covidpipe.io.files import write_json
from tests.fuzz import makers, reading

FOLDER = Path("results/fuzz/guided")
FIRST = 60  # files of each kind's maker that a corpus begins with
LONGEST = dict.fromkeys((*makers.IMAGES, *makers.OTHERS), 20_000) | {"config": 3_000}  # bytes: small ones are fast
MORE_MIB = 1024  # beside what a file may take: the interpreter, libraries, libFuzzer's tables
ENOUGH = 5  # findings of one kind, after which it is better to mend them


def main() -> int:
    given = _arguments()
    if importlib.util.find_spec("atheris") is None:
        print("Coverage-guided fuzzing needs atheris (Linux, Python 3.11 to 3.13): python -m pip install atheris")
        return 2
    told = {}
    for kind in given.kinds:
        told[kind] = _again(kind, given.again) if given.again else _one_kind(kind, given.seconds)
        print(f"{kind:8} " + ", ".join(f"{name} {value:,}" for name, value in told[kind].items()), flush=True)
    if given.again is None:
        write_json(FOLDER / "record.json", told)
    return 1 if any(one["found"] for one in told.values()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz-guided", description=__doc__)
    kinds = [*makers.IMAGES, *makers.OTHERS]
    parser.add_argument("--seconds", type=int, default=60, help="for each kind")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--again", type=Path, help="read this file only, as one of --kinds")
    return parser.parse_args()


def _again(kind: str, file: Path) -> dict[str, int]:
    return {"found": int(_libfuzzer(kind, [str(file)], FOLDER / kind / "log") != 0)}


def _one_kind(kind: str, seconds: float) -> dict[str, int]:
    """Run libFuzzer on one kind until the time is over, again after each finding, and tell what it did."""
    corpus, found = FOLDER / kind / "corpus", FOLDER / kind / "found"
    for place in (corpus, found):
        place.mkdir(parents=True, exist_ok=True)
    made = makers.store_inputs() if kind == "store" else (reading.make(kind, 0, number)[1] for number in range(FIRST))
    for number, content in enumerate(made):
        if len(content) <= LONGEST[kind]:
            (corpus / f"made-{number}").write_bytes(content)
    told = {"runs": 0, "branches": 0, "corpus": 0, "peak_mib": 0, "found": 0}
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 1 and told["found"] < ENOUGH:
        before, log = set(found.iterdir()), FOLDER / kind / f"log-{told['found']}"
        options = [
            f"-max_total_time={left:.0f}", f"-max_len={LONGEST[kind]}", f"-timeout={reading.LIMITS.max_seconds:.0f}",
            f"-rss_limit_mb={reading.LIMITS.max_memory_gib * 1024 + MORE_MIB:.0f}", f"-artifact_prefix={found}/",
            "-print_final_stats=1",
        ]  # fmt: skip
        status = _libfuzzer(kind, [str(corpus), *options], log)
        text = log.read_text(encoding="utf-8", errors="replace")
        told["runs"] += _number(r"stat::number_of_executed_units:\s+(\d+)", text)
        told["peak_mib"] = max(told["peak_mib"], _number(r"stat::peak_rss_mb:\s+(\d+)", text))
        told["branches"] = max(told["branches"], _number(r" cov: (\d+)", text))
        if status == 0:
            break
        told["found"] += 1
        new = {path.read_bytes() for path in set(found.iterdir()) - before}
        for path in corpus.iterdir():
            if path.read_bytes() in new:
                path.unlink()  # or the next run would end with it
    told["corpus"] = len(list(corpus.iterdir()))
    return told


def _libfuzzer(kind: str, options: list[str], log: Path) -> int:
    """Its exit status; what it says goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as heard:
        command = [sys.executable, "-m", "tests.fuzz.inside", kind, *options]
        return subprocess.run(command, stdout=heard, stderr=subprocess.STDOUT).returncode


def _number(pattern: str, text: str) -> int:
    """The last number that a pattern finds; 0 where it finds none."""
    return int((re.findall(pattern, text) or [0])[-1])


if __name__ == "__main__":
    sys.exit(main())
