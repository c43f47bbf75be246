"""Ratios on a page, and the alarm when one falls."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pandas as pd
import pytest

from tests.benchmarks import report
from tests.benchmarks.report import BECAUSE, GOALS, RATES, main, rate


@pytest.fixture
def places(tmp_path):
    """Two benchmarks, their baseline and a page to be."""
    row = {"n": 5, "low": 1.0, "high": 40.0, "cpu_speedup": 2.0, "ours_s": 0.25}
    folder = tmp_path / "bench"
    folder.mkdir()

    def write(wavelet: float, table: float) -> None:
        rows = [{"what": "wavelet paper_haar / PyWavelets", "speedup": wavelet, **row}]
        pd.DataFrame(rows).to_parquet(folder / "pixels.parquet")
        pd.DataFrame([{"what": "write", "speedup": table, **row}]).to_parquet(folder / "table.parquet")

    write(30.0, 0.5)
    assert main("keep", folder, tmp_path / "baseline.csv") == 0
    return write, (folder, tmp_path / "baseline.csv", tmp_path / "page.md")


def test_a_ratio_that_falls_by_more_than_a_fifth_is_told(places, capsys):
    write, where = places
    write(24.1, 0.41)
    assert main("check", *where) == 0
    write(23.9, 0.39)
    assert main("check", *where) == 1
    told = capsys.readouterr().out
    assert "pixels, wavelet paper_haar / PyWavelets: 23.90 (1.00 to 40.00), but 30.00 in the baseline" in told
    assert "table, write: 0.39" in told


def test_the_page_holds_every_ratio_and_its_goal(places):
    write, where = places
    write(24.9, 0.5)
    assert main("page", *where) == 0
    page = where[2].read_text()
    assert "| wavelet paper_haar / PyWavelets | 24.9 (1 to 40) | 2 | 5 | 25: not reached |" in page
    assert f"- wavelet paper_haar / PyWavelets: {BECAUSE['wavelet paper_haar / PyWavelets']}" in page
    assert "| write | 0.5 (1 to 40) | 2 | 5 |  |" in page
    write(25.0, 0.5)
    main("page", *where)
    assert "25: reached" in where[2].read_text() and "\n- wavelet" not in where[2].read_text()


def test_the_picture_shows_every_ratio_its_spread_and_its_goal(places):
    _, where = places
    assert main("page", *where) == 0
    picture = ElementTree.fromstring(where[2].with_suffix(".svg").read_text())
    of_class = {
        kind: [mark for mark in picture.iter() if mark.get("class") == kind] for kind in ("ratio", "spread", "goal")
    }
    assert {kind: len(marks) for kind, marks in of_class.items()} == {"ratio": 2, "spread": 2, "goal": 1}
    at = [float(mark.get("cx")) for mark in of_class["ratio"]]  # 30 and 0.5 on a logarithmic axis
    low, high = (float(of_class["spread"][0].get(end)) for end in ("x1", "x2"))  # 1 and 40
    assert (at[0] - at[1]) / (high - low) == pytest.approx(math.log(60) / math.log(40), abs=0.01)
    assert low < float(of_class["goal"][0].get("x1")) < at[0] < high
    words = [mark.text for mark in picture.iter() if mark.tag.endswith("text")]
    assert {"pixels.py", "table.py", "wavelet paper_haar / PyWavelets", "write", "1", "10"} <= set(words)


def test_what_a_store_does_in_a_second_is_told_beside_its_goal():
    what = "store: write / a plain file"
    assert rate(what, 0.05).endswith("MB/s written; goal 400: reached.")
    assert "goal 400: not reached. Zstd at level 1" in rate(what, 0.25)


def test_nothing_measured_and_unknown_words_are_told(places, tmp_path, capsys):
    assert main("check", tmp_path / "none") == 2
    assert "Run it first" in capsys.readouterr().out
    assert main("draw", *places[1]) == 2


def test_every_goal_is_of_a_ratio_in_the_baseline():
    known = set(pd.read_csv(report.BASELINE)["what"])
    assert set(GOALS) | set(RATES) <= known and set(BECAUSE) <= set(GOALS)
