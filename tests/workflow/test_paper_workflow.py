"""`snakemake paper` from nothing, on synthetic patients: every job, two tiny networks, tables, figures and the page.

Minutes long, and so run by `make check-paper`; what its jobs compute is tested in tests/unit/test_paper*.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

pytestmark = [pytest.mark.workflow, pytest.mark.full_size]

ROOT = Path(__file__).parents[2]
KEPT = ("cov_ctnet_scratch_wavelet_grouped", "cov_raseg_scratch_attention_grouped")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Folder of the papers' tables; without the real images."""
    folder = tmp_path_factory.mktemp("paper")
    study = yaml.safe_load((ROOT / "config" / "paper-phantoms.yaml").read_text())
    study["training"] = {name: study["training"][name] for name in KEPT}
    study["phantoms"]["train"] |= {"slices": 4}
    study["schedules"]["tiny"] |= {"epochs": 1}
    study["paper"]["published"] = str(ROOT / "config" / "published")
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    threads = ("train_model=1", "evaluate_model=1", "harmonize=1", "ingest=1")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "paper", "--snakefile", ROOT / "Snakefile"),
            *("--configfile", "study.yaml", "--cores", "2", "--set-threads", *threads),
        ],
        cwd=folder,
        env={**os.environ, "COVIDPIPE_DATA": str(folder / "none"), "COVIDPIPE_ID_KEY": str(folder / "id.key")},
        capture_output=True,
        text=True,
    )
    logs = "\n".join(path.read_text()[-800:] for path in folder.rglob("*.log") if path.stat().st_size)
    assert run.returncode == 0, run.stderr[-3000:] + logs
    return folder / study["results"] / "paper" / "both"


def test_what_was_trained_stands_beside_what_is_printed(made):
    table = pd.read_parquet(made / "khan2020" / "table5.parquet")
    row = table[(table["row"] == "SA-CoV-RASeg") & (table.measure == "iou") & (table.subject == "infected")]
    assert row.published.item() == 98.73
    assert 0 <= row.grouped_protocol.item() <= 100
    assert row.grouped_protocol_dataset.item() == "phantom-ct"
    assert row.published_protocol.isna().item()
    controls = table[table.role == "control"]
    assert {"border_painter", "all_background", "mean_mask"} <= set(controls["row"])
    table2 = pd.read_csv(made / "khan2020" / "table2.csv")
    own = table2[(table2["row"] == "CoV-CTNet") & (table2.measure == "accuracy")].set_index("regime")
    assert own.grouped_protocol.notna().to_dict() == {"scratch_wavelet": True, "scratch_original": False}
    assert "majority_class" in set(table2["row"])
    assert set(table2.label) == {"phantoms"}


def test_the_figures_and_the_page_are_labelled(made):
    figures = {path.stem for path in (made / "khan2020").glob("*.svg")}
    # one epoch may leave CoV-CTNet saying the same of every image, and then there is no feature space to show
    always = {"metric_ranges", "iou_and_bfs", "precision_recall", "convergence", "qualitative"}
    assert figures - {"feature_space"} == always
    assert all((made / "khan2020" / f"{name}.png").stat().st_size > 5_000 for name in figures)
    assert all("phantoms" in (made / "khan2020" / f"{name}.svg").read_text() for name in figures)
    page = (made / "reproduction.md").read_text()
    assert "2 networks were trained here" in page
    assert "says nothing of the papers" in page
    assert "Not run: the authors' files were not there." in page
    assert (made.parent / "checks" / "checks.csv").exists()
