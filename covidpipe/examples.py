"""An example of every command whose entry in `covidpipe.cli` brings none, for its --help: pure data, read at start."""

from __future__ import annotations

_INGESTED = "results/ingest/winter/images.parquet"
_COHORT = "winter --config results/configs/study.yaml"
_DATASET = "medseg829 --config config/real_ct.yaml"
_STORE = "results/harmonized/medseg829/304"
_SPLIT = "results/splits/medseg829/grouped.parquet"
_MODEL = "results/models/medseg829/segment_lungs/nabla3/scratch/grouped/fold-0"
_OF_DATASET = "results/ingest/medseg829/images.parquet"
_OUT = "results/cohorts/winter"
_SHARD = f"{_OUT}/shards/00000"

EXAMPLES: dict[str, str] = {
    "codebook": "covidpipe codebook --table patients",
    "config": "covidpipe config > config/config.yaml",
    "datasets": "covidpipe datasets --config config/real_ct.yaml",
    "preflight": "covidpipe preflight login --config config/real_ct.yaml --out results/preflight/login.json",
    "ship": "covidpipe ship --config config/real_ct.yaml --out covidpipe/weights",
    "phantoms": "covidpipe phantoms --out phantoms --patients 4 --slices 8",
    "ingest": f"covidpipe ingest {_COHORT} --out {_INGESTED}",
    "duplicates": f"covidpipe duplicates medseg829 --images {_OF_DATASET} "
    "--signatures results/ingest/medseg829/signatures.parquet --out results/duplicates/medseg829/medseg829.parquet",
    "split": f"covidpipe split {_DATASET} --images {_OF_DATASET} "
    f"--duplicates results/duplicates/medseg829/medseg829.parquet --protocol grouped --out {_SPLIT}",
    "apart": "covidpipe apart training ct_lungs --config config/real_ct.yaml --out results/apart/ct_lungs.json",
    "harmonize": f"covidpipe harmonize {_DATASET} --images {_OF_DATASET} --size 304 --out {_STORE}",
    "wavelet": f"covidpipe wavelet --config config/real_ct.yaml --store {_STORE} --reading paper_haar --size 304 "
    "--out results/wavelet/medseg829/304/paper_haar",
    "lung_view": f"covidpipe lung_view --config config/real_ct.yaml --store {_STORE} --size 128 "
    "--out results/lung_view/medseg829/128",
    "train": f"covidpipe train ct_lungs --config config/real_ct.yaml --store {_STORE} --split {_SPLIT} "
    f"--images {_OF_DATASET} --out {_MODEL}",
    "evaluate": f"covidpipe evaluate ct_lungs --config config/real_ct.yaml --model {_MODEL} --store {_STORE} "
    f"--split {_SPLIT} --images {_OF_DATASET} --out results/metrics/medseg829/ct_lungs",
    "leakage": "covidpipe leakage --config config/leakage.yaml --out results/leakage",
    "leaderboard": "covidpipe leaderboard --config config/leaderboard.yaml --out results/leaderboard "
    "--document docs/leaderboard.md",
    "frames": "covidpipe frames --config config/real_ct.yaml --out results/paper/frames",
    "paper": "covidpipe paper --config config/paper.yaml --checks results/paper/checks --out results/paper",
    "checks": "covidpipe checks --published config/published --out results/paper/checks.csv",
    "predict": f"covidpipe predict {_COHORT} --images {_INGESTED} --shard 0 --out {_SHARD}",
    "quantify": f"covidpipe quantify {_COHORT} --images {_INGESTED} --masks {_SHARD} --shard 0 "
    f"--out {_SHARD}/infection.parquet",
    "reference": "covidpipe reference ct medseg829 --config config/real_ct.yaml --out results/references/ct.json",
    "conformal": "covidpipe conformal ct medseg829 --config config/real_ct.yaml --out results/conformal/ct.json",
    "collect": f"covidpipe collect {_COHORT} {_OUT}/shards --images {_INGESTED} --out {_OUT}",
    "score": f"covidpipe score coronacases --config config/real_ct.yaml --images {_INGESTED} "
    f"--table {_OUT}/infection.parquet --masks {_OUT}/shards --out results/metrics/cohorts/coronacases",
    "report": f"covidpipe report {_COHORT} --images {_INGESTED} --table {_OUT}/infection.parquet "
    f"--masks {_OUT}/shards --summary {_OUT}/summary.parquet --out {_OUT}/report.html",
    "study": "covidpipe study --config config/real_ct.yaml",
}
