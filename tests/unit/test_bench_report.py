"""Ratios on a page, and the alarm when one falls."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.benchmarks import report
from tests.benchmarks.report import GOALS, main


@pytest.fixture
def places(tmp_path):
    """Two benchmarks, their baseline and a page to be."""
    row = {"n": 5, "low": 1.0, "high": 40.0}
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
    assert "| wavelet paper_haar / PyWavelets | 24.9 (1 to 40) | 5 | 25: not reached |" in page
    assert "| write | 0.5 (1 to 40) | 5 |  |" in page
    write(25.0, 0.5)
    main("page", *where)
    assert "25: reached" in where[2].read_text()


def test_nothing_measured_and_unknown_words_are_told(places, tmp_path, capsys):
    assert main("check", tmp_path / "none") == 2
    assert "Run it first" in capsys.readouterr().out
    assert main("draw", *places[1]) == 2


def test_every_goal_is_of_a_ratio_in_the_baseline():
    assert set(GOALS) <= set(pd.read_csv(report.BASELINE)["what"])
