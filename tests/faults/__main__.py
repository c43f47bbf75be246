"""Kill a study at random moments, run it again, and compare every result with that of a run that was left alone.

``python -m tests.faults --kills 100 --seed 1 --config config/demo.yaml``. Snakemake and all its jobs get SIGKILL in the
same moment, as when a machine loses its power; then comes what a user would do: unlock, and the same command again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
# What tells when and how long, not what: everything else must be the same to the byte.
NO_RESULT = ("logs", "benchmarks", "configs", ".snakemake", "preflight")
NO_RESULT_FILES = ("run.json", "ro-crate-metadata.json", "card.md", ".snakemake_timestamp")


def main() -> int:
    given = _arguments()
    folder = given.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["COVIDPIPE_ID_KEY"] = str(folder / "id.key")
    began = time.monotonic()
    alone = Study(folder / "alone", given.config, given.targets)
    alone.run()
    longest, wanted = time.monotonic() - began, alone.results()
    print(f"left alone: {longest:.0f} s, {len(wanted)} files", flush=True)
    chance, kills, studies, wrong = random.Random(given.seed), 0, 0, 0
    while kills < given.kills and time.monotonic() - began < given.seconds:
        studies += 1
        study = Study(folder / f"killed-{studies}", given.config, given.targets)
        # short times too: then a study is killed again and again, and each time goes on from what it has
        while kills < given.kills and study.run(kill_after=chance.uniform(0, longest * chance.choice((0.2, 0.5, 1)))):
            kills += 1
            print(f"kill {kills} of {given.kills}: study {studies}", flush=True)
        study.run()
        found = study.results()
        differ = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        wrong += bool(differ)
        print(f"study {studies}: {f'DIFFERS in {differ[:10]}' if differ else 'the same bytes'}", flush=True)
    print(f"{kills} kills in {studies} studies, seed {given.seed}: {wrong} studies differ")
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "demo.yaml")
    parser.add_argument("--targets", nargs="+", default=["demo"])
    parser.add_argument("--out", type=Path, default=Path("results/faults"), help="folder of all the runs")
    parser.add_argument("--seconds", type=float, default=86_400, help="no new study is begun after that")
    return parser.parse_args()


class Study:
    """A config with results in a folder of its own, and the command that makes them."""

    def __init__(self, folder: Path, config: Path, targets: list[str]):
        raw = yaml.safe_load(config.read_text())
        text = yaml.safe_dump(raw, sort_keys=False)
        # paths of the config that lie in its results move along
        moved = text.replace(f"{raw['results']}/", f"{folder}/").replace(
            f"results: {raw['results']}\n", f"results: {folder}\n"
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder.with_suffix(".yaml")
        self.file.write_text(moved)
        self.command = [
            *(sys.executable, "-m", "snakemake", *targets, "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(folder), "--configfile", str(self.file), "--cores", "2", "--rerun-incomplete"),
        ]

    def run(self, kill_after: float | None = None) -> bool:
        """Run to the end, or kill everything after so many seconds; True if it was killed."""
        if (self.folder / ".snakemake" / "locks").is_dir():
            subprocess.run([*self.command, "--unlock"], check=True, capture_output=True, cwd=ROOT)
        with self.file.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            try:
                code = process.wait(timeout=kill_after)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return True
        if code:
            raise SystemExit(f"{self.file.stem}: the run failed: {self.file.with_suffix('.log')}")
        return False

    def results(self) -> dict[str, str]:
        """SHA-256 of every file that is a result, by its place."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            place = path.relative_to(self.folder)
            # a partial file is what a killed writer left: hidden, and taken for nothing
            hidden = any(part.startswith(".") for part in place.parts)
            if (
                path.is_file()
                and not hidden
                and not set(place.parts) & set(NO_RESULT)
                and path.name not in NO_RESULT_FILES
            ):
                found[str(place)] = hashlib.sha256(_result(path)).hexdigest()
        return found


def _result(path: Path) -> bytes:
    """A file's bytes; of JSON without what its run's record says of when, where and how long."""
    if path.suffix != ".json":
        return path.read_bytes()

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: kept(item) for key, item in value.items() if key not in ("command", "wall_seconds")}
        return [kept(item) for item in value] if isinstance(value, list) else value

    return json.dumps(kept(json.loads(path.read_bytes()))).encode()


if __name__ == "__main__":
    sys.exit(main())
