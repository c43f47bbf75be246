"""docs/figure.md: what the page shows was printed by its code, from the tables that lie beside it; its figure too."""

from __future__ import annotations

import re
import shutil

import pytest
from pages import DOCS, blocks, printed

from covidpipe.io.validate import validate
from covidpipe.schemas import INFECTION, PATIENTS

pytest.importorskip("matplotlib", reason="matplotlib is not installed (`make env` does)")

FOLDER = DOCS / "figure"


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The page's code run on its tables: the folder, and what was printed."""
    folder = tmp_path_factory.mktemp("figure")
    for file in FOLDER.iterdir():
        if file.suffix != ".svg":
            shutil.copy(file, folder)
    return folder, [text for text in printed([code for _, code in blocks("figure.md", "python")], folder) if text]


def words(picture):
    """All that is written in an SVG; where it stands may differ between versions of matplotlib."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", picture.read_text(encoding="utf-8"))


def test_the_page_prints_what_it_shows(again):
    _, told = again
    assert told == [code for _, code in blocks("figure.md", "text")]
    assert "slices have an interval: 80 %" in told[2]


def test_the_figure_is_that_of_the_page(again):
    folder, _ = again
    assert words(folder / "figure.svg") == words(FOLDER / "figure.svg")
    assert "A: 19.7 % of the lungs" in words(FOLDER / "figure.svg")


def test_the_tables_of_the_page_hold_as_any_others():
    assert validate(FOLDER / "infection.parquet", INFECTION).rows == 128
    assert validate(FOLDER / "patients.parquet", PATIENTS).rows == 8
