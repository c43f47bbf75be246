"""What `make bench` measured: docs/performance.md from it, and whether any ratio has fallen.

``python -m tests.benchmarks.report page`` writes the page, ``keep`` takes the ratios for the baseline of later runs
(tests/benchmarks/baseline.csv, committed), ``check`` fails if one is more than 20 % below it. All read
results/bench/*.parquet. Only ratios measured in one run are compared, never seconds: those are a machine's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks import whole
from tests.benchmarks.chart import Row
from tests.benchmarks.chart import ratios as drawn
from tests.benchmarks.reading import FILES as INGESTED
from tests.benchmarks.reading import INGEST

FOLDER = Path("results/bench")
BASELINE = Path(__file__).with_name("baseline.csv")
PAGE = Path("docs/performance.md")
LOST = 0.20

# What is wanted of a ratio; the rest has none.
PLAIN, WHOLE, ROUNDED = "model.predict an image", "CoV-RASeg by openvino", "CoV-RASeg by openvino_bf16"
GOALS = {
    "khan2020 with CoV-RASeg, DICOM to table / a plain script": 8.0,
    "khan2020 with CoV-RASeg by openvino_bf16, DICOM to table / a plain script": 8.0,
    "time in the networks / all of its time": 0.8,
    f"{WHOLE} / {PLAIN}": 4.0,
    f"{WHOLE} in the lungs' box / {PLAIN}": 8.0,
    f"{ROUNDED} / {PLAIN}": 4.0,
    f"{ROUNDED} in the lungs' box / {PLAIN}": 8.0,
    f"shipped CT lungs / lungmask_r231 at 256 by {PLAIN}": 8.0,
    "wavelet paper_haar / PyWavelets": 25.0,
    "wavelet paper_haar / memory copy": 0.4,
    "quantify an image / scikit-image": 9.0,
    **{f"decode JPEG or JPEG-LS, 1.2.840.10008.1.2.4.{process} / pydicom": 2.0 for process in (50, 57, 70, 80, 81)},
}
# Why a goal is not reached: what a profile says.
BECAUSE = {
    "khan2020 with CoV-RASeg, DICOM to table / a plain script": (
        "Four fifths of the time are the networks', nearly all of it CoV-RASeg's in float32, 44 GFLOP a whole image."
    ),
    "khan2020 with CoV-RASeg by openvino_bf16, DICOM to table / a plain script": (
        "The networks take three fifths of the time; the rest is what it was in float32."
    ),
    "time in the networks / all of its time": (
        "Infection is looked for in the lungs' box alone: the networks take less than they did, all else as long."
    ),
    f"{WHOLE} / {PLAIN}": (
        "Convolutions take nine tenths of its time and run about as fast as a product of matrices as large (see that "
        "row): in float32 there is not more to be had."
    ),
    f"{WHOLE} in the lungs' box / {PLAIN}": "As of the whole frame; the box leaves about three fifths of its pixels.",
    f"{ROUNDED} in the lungs' box / {PLAIN}": (
        "The box leaves about three fifths of the pixels. Convolutions take six tenths of the time and run at what the "
        "processor's AMX gives, which other work on the same core shares: see how far the pairs are apart."
    ),
    **{
        f"decode JPEG or JPEG-LS, 1.2.840.10008.1.2.4.{process} / pydicom": (
            "98 hundredths of the time are CharLS' own (8.2 of 8.4 ms); pydicom asks GDCM, whose copy of it takes 16 "
            "to 18."
        )
        for process in (80, 81)
    },
    "quantify an image / scikit-image": (
        "2.3 ms an image, two thirds of them the components of the lungs: labels, holes, which are kept."
    ),
    "wavelet paper_haar / PyWavelets": (
        "A fifth of the time is the image's way to float32, a third OpenCV's sums and products, the rest calls and "
        "copies of rows."
    ),
    "wavelet paper_haar / memory copy": "As above: a copy has neither.",
}
# What must be known of a benchmark's figures on the page.
REMARKS = {
    "inference": "On two cores of an Intel Xeon with AMX. The method is computed in float32, the default, if not told.",
}
# In absolute figures: what is counted in a run (of the store by processor time), its unit, and what is wanted.
RATES = {
    INGEST: (
        INGESTED,
        "images/s ingested",
        600,
        "workers take a second to start; 2,000 images more take 3.2 s, which are 620 images/s.",
    ),
    "store: write / a plain file": (
        256 * 304 * 304 / 1e6,
        "MB/s written",
        400,
        "Zstd at level 1 alone compresses CT slices at 300 MB/s a core.",
    ),
    "store: one image at random / a memory map": (
        64,
        "images/s read one by one at random",
        1500,
        "decompression takes a tenth of a read or less; the rest is Zarr's way to it through another thread.",
    ),
    "store: 64 images at random, together / a memory map": (64, "images/s read in random batches of 64", 1500, ""),
}
RUNS = {"first": "all", "grown": "a thousandth more"}
ONCE = """## Engines that were tried

Seconds of processor time for an image of CoV-RASeg at 304 x 304, random weights, one run each on two busy cores of an
AMD EPYC (Zen 3); not part of `make bench`:

| engine | seconds |
|---|---|
%s

On an Intel Xeon with AMX, OpenVINO in float16 took as much processor time as in float32, and in bfloat16 two fifths
of it or less. bfloat16 is an engine by name (`openvino_bf16`, [architecture.md](architecture.md)), which a cohort's
own images must agree to. On 24 slices each of two public CT data sets the network of infection that comes along is
refused: Dice .993 and .996, percentages up to 0.9 and 0.7 points apart. Lungs in bfloat16 too would have moved those
of films by up to 16. The CoV-RASeg that its authors released has Dice .9991 on eight of their figures.
"""
TRIED = (
    ("OpenVINO 2026.4, float32", "0.56 to 0.60"),
    ("ONNX Runtime 1.32, float32", "0.58 to 0.60"),
    ("Keras 3.15 on TensorFlow 2.21, `predict_on_batch` and `predict`", "0.85"),
    ("Keras 3.15 on PyTorch 2.13, eager", "2.2"),
)
COHORTS = """## Cohorts of 1,000 to a million images

`python -m tests.benchmarks.whole FOLDER 1000 10000 100000 1000000`: slices of 64 x 64 pixels, a tenth of them DICOM
files, the others in NIfTI volumes of 50; copies of one drawn patient, of whom a shard of %d images computes each slice
once; by `khan2020` with the networks that come along. Processor time of all processes, each cohort once, not part of
`make bench`. Then a thousandth of the patients comes, one file changes and one goes.

| images | run | processor, s | ms an image | an image more, ms | of all, %% | by the clock, s | files | jobs |
|---|---|---|---|---|---|---|---|---|
%s

- Goal: the jobs of a million are planned in at most 60 s and 1 GiB, and leave at most 20,000 files. %s.
- Goal: what an image costs is constant within 10 %%. Without the start of the jobs, from row to row: %s. From 100,000
  images on it is the rest (below) that grows. Snakemake's own work for a finished job is .13 s of 52 jobs and .32 s of
  490 (measured of jobs that only wait), and it looks at the memory of those that run twice a second: about half of that
  rest. The other half was not found.
- Goal: a thousandth more costs at most 1 %% of all. %s. Of every image something is left to do: to see that its file is
  the one that was read, its rows in the tables of images and of percentages, its part in those of patients and of the
  cohort.

Processor seconds of the stages, as far as Snakemake's samples of them saw:

| images | run | ingest | predict | quantify | collect | report | the rest, with Snakemake |
|---|---|---|---|---|---|---|---|
%s

The most memory that a process of each had at once, in MB, workers of an ingest together:

| images | run | Snakemake | ingest | predict | quantify | collect | report |
|---|---|---|---|---|---|---|---|
%s
"""
HEAD = """# How fast

Written by `python -m tests.benchmarks.report page` from what `make bench` measured: do not edit.

Every figure is a ratio of two ways of doing the same thing, timed in turn in one run: how many times as fast this
package is as the plain way behind the slash (the least and the most of n pairs in brackets). A ceiling, such as a copy
of the memory, gives ratios below one: the share of it that is reached. What the plain ways are is code:
`tests/benchmarks/oracles`, and the head of each file in `tests/benchmarks`. Where results must be equal, the same code
is the oracle of unit tests. `make bench-check` fails if a ratio is more than 20 % below the committed baseline.

The second ratio compares processor time, all cores together, which other work on the machine disturbs less; of ingest
it says nothing, whose work is done by other processes.

![Every ratio on a logarithmic axis, with its spread and its goal](performance.svg)
"""


def measured(folder: Path) -> pd.DataFrame:
    """All ratios, with the benchmark that each belongs to."""
    found = [pd.read_parquet(path).assign(benchmark=path.stem) for path in sorted(folder.glob("*.parquet"))]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["benchmark", "what", "speedup"])


def page(ratios: pd.DataFrame) -> str:
    """The page in Markdown."""
    lines = [HEAD]
    for benchmark, rows in ratios.groupby("benchmark"):
        lines += [
            f"## `tests/benchmarks/{benchmark}.py`\n",
            "| what | ratio | by processor time | n | goal |",
            "|---|---|---|---|---|",
        ]
        notes = []
        for row in rows.itertuples():
            goal = GOALS.get(row.what)
            reached = goal is not None and row.speedup >= goal
            told = "" if goal is None else f"{goal:g}: {_judged(reached)}"
            ratio = f"{row.speedup:.3g} ({row.low:.3g} to {row.high:.3g})"
            lines.append(f"| {row.what} | {ratio} | {row.cpu_speedup:.3g} | {row.n} | {told} |")
            if goal is not None and not reached and row.what in BECAUSE:
                notes.append(f"- {row.what}: {BECAUSE[row.what]}")
            if row.what in RATES:
                notes.append(rate(row.what, row.ours_s))
        if benchmark in REMARKS:
            notes.append(f"- {REMARKS[benchmark]}")
        lines += ["", *notes, *[""] * bool(notes)]
    table = "\n".join(f"| {engine} | {seconds} |" for engine, seconds in TRIED)
    return "\n".join([*lines, ONCE % table, *cohorts(pd.read_csv(whole.RECORD))])


def cohorts(record: pd.DataFrame) -> Iterator[str]:
    """What whole cohorts took, their memory, and what was wanted."""
    of_all = record[record["run"] == "first"].set_index("images")["cpu_seconds"]
    more = 1000 * of_all.diff() / of_all.index.to_series().diff()
    times, stages, memory, shares = [], [], [], {}
    for row in record.sort_values(["run", "images"]).itertuples():
        what = f"| {row.images:,} | {RUNS[row.run]} |"
        if row.run == "first":
            told = f"{1000 * row.cpu_seconds / row.images:.2f} | {more[row.images]:.2f} | ".replace("nan", "")
        else:
            shares[row.images] = row.cpu_seconds / of_all[row.images]
            told = f" | | {100 * shares[row.images]:.1f}"
        clock = f"{row.seconds:.0f}" if row.once else "broken off once"
        times.append(f"{what} {row.cpu_seconds:.0f} | {told} | {clock} | {row.files:,} | {row.jobs} |")
        each = [getattr(row, f"{stage}_cpu") for stage in whole.STAGES]
        stages.append(_row(what, [*each, row.cpu_seconds - np.nansum(each)]))
        memory.append(_row(what, [getattr(row, f"{stage}_mb") for stage in ("planner", *whole.STAGES)]))
    least, largest = more.min(), more.max()
    constant = f"{least:.2f} to {largest:.2f} ms: {_judged(largest <= 1.1 * least)}"
    grown = ", ".join(f"{100 * share:.1f} % of {images:,}" for images, share in shares.items())
    grown += f": {_judged(shares.get(max(of_all.index), 1) <= 0.01)}"
    last = record.sort_values("images").iloc[-1]
    small = last["plan_seconds"] <= 60 and last["plan_mb"] <= 1024 and last["files"] <= 20_000
    planned = f"{last['plan_seconds']:.0f} s, {last['plan_mb']:.0f} MB, {last['files']:,} files: {_judged(small)}"
    yield COHORTS % (whole.SHARD, "\n".join(times), planned, constant, grown, "\n".join(stages), "\n".join(memory))


def _row(what: str, numbers: Sequence[float]) -> str:
    return f"{what} {' | '.join('' if np.isnan(number) else f'{number:.0f}' for number in numbers)} |"


def _judged(reached: bool) -> str:
    return "reached" if reached else "not reached"


def rate(what: str, seconds: float) -> str:
    """A sentence on what is done in a second, beside its goal."""
    number, unit, goal, because = RATES[what]
    found = number / seconds
    if found >= goal:
        return f"- {found:.0f} {unit}; goal {goal}: reached."
    return f"- {found:.0f} {unit}; goal {goal}: not reached.{' ' * bool(because)}{because[:1].upper()}{because[1:]}"


def picture(ratios: pd.DataFrame) -> str:
    """All ratios as an SVG."""
    groups = [
        (
            f"{benchmark}.py",
            [Row(row.what, row.speedup, row.low, row.high, GOALS.get(row.what)) for row in rows.itertuples()],
        )
        for benchmark, rows in ratios.groupby("benchmark")
    ]
    return drawn(groups, "Ratios of the benchmarks on a logarithmic axis")


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
        target.with_suffix(".svg").write_text(picture(ratios))
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
