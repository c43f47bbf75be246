"""Kill a study at random moments, run it again, and compare every result with that of a run that was left alone.

``python -m tests.faults --kills 100 --seed 1 --seconds 3000``, again and again until all kills are done: what was done
lies in ``state.json``. Snakemake and all its jobs get SIGKILL in the same moment, as when a machine loses its power;
then comes what a user would do: unlock, and the same command again. All runs use a copy of the package as it was at the
first command, so that it may be worked on meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from covidpipe.io.files import read_json, write_json
from tests.tree import ROOT, copy_tree

COPIED = ("covidpipe", "workflow", "config", "Snakefile", "slurm", "pyproject.toml", "envs")
# What tells when and how long, not what: everything else must be the same to the byte.
NO_RESULT = ("logs", "benchmarks", "configs", ".snakemake", "preflight")
NO_RESULT_FILES = ("run.json", "ro-crate-metadata.json", "card.md", ".snakemake_timestamp", "known.sealed")
# What the page of a study says of the same: commands, which name folders, and how long a training took.
OF_A_RUN = re.compile(
    rb"<code>covidpipe .*?</code>|<dt>Training time</dt>\s*<dd>.*?</dd>"
    rb"|(?:[0-9]+ h )?[0-9]+ (?:min|s)(?= on |;|, in bfloat16)",
    re.DOTALL,
)


def main() -> int:
    given = _arguments()
    folder = given.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    asked = {"seed": given.seed, "config": given.config, "targets": given.targets, "mean": given.mean}
    state = _state(folder, asked)
    while len(state["moments"]) < given.kills and (left := given.seconds - (time.monotonic() - began)) > 0:
        # as short as the mean, most of them: then a study is killed again and again, and goes on from what it has
        chance = random.Random(f"{given.seed}:{len(state['moments'])}:{state['studies']}")
        moment = chance.expovariate(1 / (given.mean * state["alone_seconds"]))
        study = Study(folder, f"killed-{state['studies'] + 1}", given.config, given.targets)
        ended = study.run(kill_after=min(moment, left))
        if ended == "killed" and moment <= left:
            state["moments"].append({"study": state["studies"] + 1, "seconds": round(moment, 1), "at": study.doing()})
            print(f"kill {len(state['moments'])} of {given.kills}: {state['moments'][-1]}", flush=True)
        elif ended == "done":
            _compare(study, state)
        write_json(folder / "state.json", state)
    if len(state["moments"]) >= given.kills and state["moments"][-1]["study"] == state["studies"] + 1:
        last = Study(folder, f"killed-{state['studies'] + 1}", given.config, given.targets)
        if last.run(kill_after=max(given.seconds - (time.monotonic() - began), given.seconds / 4)) == "done":
            _compare(last, state)
            write_json(folder / "state.json", state)
    kills, studies = len(state["moments"]), state["studies"]
    whole = kills >= given.kills and state["moments"][-1]["study"] <= studies
    print(f"{kills} kills, {studies} studies compared, seed {given.seed}: {len(state['differ'])} studies differ")
    if not whole:
        print("Not all yet: the same command goes on.")
    return 1 if state["differ"] else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", default="config/demo.yaml", help="in the repository")
    parser.add_argument("--targets", nargs="+", default=["demo"])
    parser.add_argument("--mean", type=float, default=0.1, help="between two kills, as a share of the undisturbed run")
    parser.add_argument("--out", type=Path, default=Path("results/faults"), help="folder of all the runs")
    parser.add_argument(
        "--seconds", type=float, default=86_400, help="what runs then is ended, and begun again next time"
    )
    return parser.parse_args()


def _state(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What is done; the first time, the undisturbed run, of a copy of the package."""
    file = folder / "state.json"
    if file.exists():
        state = read_json(file)
        if state["asked"] != asked:
            raise SystemExit(f"{file}: of other arguments ({state['asked']}). Give the same ones, or another --out.")
        return state
    for left in ("tree", "alone"):
        shutil.rmtree(folder / left, ignore_errors=True)
    copy_tree(COPIED, folder / "tree")
    began = time.monotonic()
    alone = Study(folder, "alone", asked["config"], asked["targets"])
    alone.run()
    state = {
        "asked": asked, "alone_seconds": time.monotonic() - began, "wanted": alone.results(), "moments": [],
        "studies": 0, "differ": [],
    }  # fmt: skip
    write_json(file, state)
    print(f"left alone: {state['alone_seconds']:.0f} s, {len(state['wanted'])} files", flush=True)
    return state


def _compare(study: Study, state: dict[str, Any]) -> None:
    """Count a study that has come to its end; of one that is as it should be nothing is kept."""
    wanted, found = state["wanted"], study.results()
    differ = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    state["studies"] += 1
    if differ:
        state["differ"].append({"study": study.folder.name, "files": differ})
    else:
        shutil.rmtree(study.folder)
    print(f"{study.folder.name}: {f'DIFFERS in {differ[:10]}' if differ else 'the same bytes'}", flush=True)


def _one_core() -> list[str]:
    """What `make demo` says of threads: two jobs side by side beat one on both cores."""
    rules = re.search(r"foreach rule,([a-z_ ]+),", (ROOT / "Makefile").read_text(encoding="utf-8"))
    return ["--set-threads", *(f"{rule}=1" for rule in rules[1].split())] if rules else []


class Study:
    """A config with results in a folder of its own, and the command that makes them."""

    def __init__(self, place: Path, name: str, config: str, targets: list[str]):
        tree, folder = place / "tree", place / name
        raw = yaml.safe_load((tree / config).read_text())
        text = yaml.safe_dump(raw, sort_keys=False)
        # paths of the config that lie in its results move along
        moved = text.replace(f"{raw['results']}/", f"{folder}/").replace(
            f"results: {raw['results']}\n", f"results: {folder}\n"
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.tree, self.folder, self.file = tree, folder, folder.with_suffix(".yaml")
        self.log, self.group = folder.with_suffix(".log"), folder.with_suffix(".pid")
        self.file.write_text(moved)
        self.command = [
            *(sys.executable, "-m", "snakemake", *targets, "--snakefile", str(tree / "Snakefile")),
            *("--directory", str(folder), "--configfile", str(self.file), "--cores", "2", "--rerun-incomplete"),
            *_one_core(),
        ]
        self.environment = os.environ | {
            "PYTHONPATH": str(tree),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COVIDPIPE_ID_KEY": str(place / "id.key"),
            "XDG_CACHE_HOME": str(place / "cache"),
        }

    def run(self, kill_after: float | None = None) -> str:
        """Run to the end, or kill everything after so many seconds: ``done`` or ``killed``."""
        self._end_of_last_time()
        for lock in (self.folder / ".snakemake" / "locks").glob("*"):  # what --unlock does, without another Snakemake
            lock.unlink()
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=self.tree,
                env=self.environment,
            )  # fmt: skip
            self.group.write_text(str(process.pid))
            try:
                code = process.wait(timeout=kill_after)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return "killed"
            finally:
                self.group.unlink()
        if code:
            raise SystemExit(f"{self.folder.name}: the run failed: {self.log}")
        return "done"

    def _end_of_last_time(self) -> None:
        """End what a session left running that was itself ended."""
        if self.group.exists():
            group = int(self.group.read_text())
            with contextlib.suppress(OSError):
                if str(self.folder) in Path(f"/proc/{group}/cmdline").read_text():
                    os.killpg(group, signal.SIGKILL)
            self.group.unlink()

    def doing(self) -> str:
        """The last job that Snakemake's log tells of: what the kill met, or what came just before."""
        jobs = re.findall(r"^Job \d+: (.+)$", self.log.read_text(errors="replace"), re.MULTILINE)
        return jobs[-1] if jobs else "nothing yet"

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
    """A file's bytes; of JSON and of a study's page without what they say of when, where and how long."""
    if path.suffix == ".html" and path.parent.parent.name == "studies":
        return OF_A_RUN.sub(b"", path.read_bytes())
    if path.suffix != ".json":
        return path.read_bytes()

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: kept(item) for key, item in value.items() if key not in ("command", "wall_seconds")}
        return [kept(item) for item in value] if isinstance(value, list) else value

    return json.dumps(kept(json.loads(path.read_bytes()))).encode()


if __name__ == "__main__":
    sys.exit(main())
