"""docs/agreement.md holds the figures that were measured; the script's measures, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import scripts

from covidpipe.config import Config, Threshold
from covidpipe.stages.conformal import Judged

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    with scripts.script("measure_methods") as module:
        yield module


def test_the_page_holds_the_figures_that_were_measured(script):
    page = (ROOT / "docs" / "agreement.md").read_text(encoding="utf-8")
    assert script.written(page, script.tables(script.read_figures(ROOT / "docs" / "agreement.csv"))) == page


def test_every_method_and_threshold_is_measured_once(script):
    names = [name for _, of_run in script.RUNS for name in of_run.values()]
    assert len(set(names)) == len(names)
    tried = [Config.model_validate(change).threshold.local for change, of_run in script.RUNS if "alom2020" in of_run]
    assert sorted(tried) == sorted(get_args(Threshold.model_fields["local"].annotation))


def test_measures_by_hand(script, tmp_path):
    def one(patient, found, true, part="test", **more):
        return Judged("m", "d", "i", patient, part, found, true, **more)

    some = [
        one("p", (100, 10), (100, 20)),  # 10 % for 20 %
        one("p", (300, 60), (100, 0)),  # 20 % on a slice without a lesion
        one("q", (0, 0), (50, 5)),  # no lung found: no percentage
        one("q", (0, 0), (50, 5), screened_negative=True),  # 0 % for 10 %
        one("r", (10, 0), (0, 0)),  # no lung in truth
        one("s", (10, 1), (10, 1), part=None),
    ]
    rows = {(row.data, row.unit, row.measure): row for row in script.measures("v", some)}
    assert rows["d, test", "image", "mean_absolute_error"].value == pytest.approx((10 + 20 + 10) / 3)
    assert rows["d, test", "image", "bias"].value == pytest.approx((-10 + 20 - 10) / 3)
    assert rows["d, test", "image", "bias"].patients == 2
    # p: 70 of 400 for 20 of 200; q: none found for 5 of 50
    assert rows["d, test", "patient", "mean_absolute_error"].value == pytest.approx((7.5 + 10) / 2)
    assert rows["d, test", "image", "percent_on_lesion_free"].value == 20
    assert rows["d, test", "image", "share_of_lesion_free_marked"].value == 100
    missing = rows["d, test", "image", "share_without_percent"]
    assert (missing.value, missing.n) == (25.0, 4)
    assert rows["d", "image", "mean_absolute_error"].value == 0
    assert rows["all", "without the patient", "coverage_90"].patients == 3
    assert rows["all", "without the patient", "unbounded_80"].value == 100
    network = script.Row("unet@1", "", script.NETWORK, "model_id", None)
    script.write_figures([network, *rows.values()], tmp_path / "f.csv")
    assert len(script.read_figures(tmp_path / "f.csv")) == len(rows) + 1
    told = script.tables(script.read_figures(tmp_path / "f.csv"))
    assert "| v | d, test | 3 | 13.33" in told["images"] and told["data"].endswith("Networks: unet@1.")
    assert "| v | the other patients | all | 3 | too few patients | 100 | too few patients | 100 |" in told["intervals"]
