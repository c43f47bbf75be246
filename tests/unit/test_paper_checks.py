"""The papers' numbers against themselves: answers worked out by hand, a consistent paper that passes, the tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from covidpipe.cli import main
from covidpipe.errors import BadTable
from covidpipe.paper.checks import (
    dice_of_iou,
    enhanced_side,
    findings,
    infected_share,
    is_share,
    nearest_shares,
)
from covidpipe.paper.published import COLUMNS, PAPERS, Cell, Published, read_published

PUBLISHED = Path(__file__).parents[2] / "config" / "published"


@pytest.fixture(scope="module")
def found():
    return {paper: findings(read_published(PUBLISHED / f"{paper}.csv")) for paper in PAPERS}


def failing(found, check):
    return [f for f in found if f.check == check and f.verdict == "fails"]


# --- By hand ------------------------------------------------------------------------------------------------------


def test_shares_of_a_whole_number_of_images():
    assert nearest_shares(98.78, 45) == pytest.approx((97.7778, 100), abs=1e-4)
    assert nearest_shares(87.26, 624) == pytest.approx((87.1795, 87.3397), abs=1e-4)
    assert nearest_shares(100, 8) == (100, 100)
    assert is_share(66.67, 0.005, 3)  # rounded
    assert is_share(66.66, 0.005, 3)  # cut off
    assert not is_share(66.65, 0.005, 3)
    assert not is_share(84.67, 0.005, 67)


def test_overlaps_and_pixel_shares():
    assert dice_of_iou(0.5) == pytest.approx(2 / 3)
    assert infected_share(90, 80, 84) == pytest.approx(0.4)
    assert infected_share(90, 90, 90) is None


def test_only_db4_at_three_levels_makes_82_of_304():
    sides = {
        (wavelet, levels): enhanced_side(304, wavelet, levels) for wavelet in ("haar", "db4") for levels in (1, 2, 3, 4)
    }
    assert [key for key, side in sides.items() if side == 82] == [("db4", 3)]


def paper(*cells: Cell) -> Published:
    return Published("khan2020", cells)


def segmenter(measure: str, printed: str, subject: str, **changes) -> Cell:
    facts = {"source": "Table 5", "row": "Net", "network": "segnet", "regime": "scratch", "unit": "%"} | changes
    return Cell("khan2020", measure=measure, printed=printed, value=float(printed), subject=subject, **facts)


def consistent() -> Published:
    """A segmenter whose confusion matrix is 20, 5, 5 and 170 of 200 pixels, and a classifier of 166 images."""
    iou, iou_background = 20 / 30, 170 / 180
    cells = [
        segmenter("dice", "0.800", "infected", unit=""),
        segmenter("dice_error", "0.110", "infected", unit=""),
        segmenter("iou", f"{100 * iou:.2f}", "infected"),
        segmenter("accuracy", "80.00", "infected"),
        segmenter("dice", "0.971", "background", unit=""),
        segmenter("iou", f"{100 * iou_background:.2f}", "background"),
        segmenter("accuracy", f"{100 * 170 / 175:.2f}", "background"),
        segmenter("mean_iou", f"{50 * (iou + iou_background):.2f}", "all"),
        segmenter("mean_accuracy", f"{50 * (0.8 + 170 / 175):.2f}", "all"),
        segmenter("weighted_iou", f"{100 * (0.125 * iou + 0.875 * iou_background):.2f}", "all"),
        segmenter("predicted_infected", "80.00", "infected", source="Table 4"),
        segmenter("predicted_background", "20.00", "infected", source="Table 4"),
    ]
    rates = {
        "accuracy": ("95.78", "%"),
        "sensitivity": ("0.95", ""),
        "specificity": ("0.97", ""),
        "precision": ("0.96", ""),
    }
    # 70 of 74 and 89 of 92 are right: F = 140 / 147, precision 70 / 73
    rates |= {"f_score": ("0.95", ""), "auc": ("0.98", "")}
    cells += [
        Cell(
            "khan2020", "Table 2", "Net", name, printed, float(printed), "resnet18", "scratch_original", "", unit, n=166
        )
        for name, (printed, unit) in rates.items()
    ]
    counts = {"images": 829, "images_infected": 370, "images_healthy": 459}
    cells += [Cell("khan2020", "section 4", "classification set", name, str(n), n) for name, n in counts.items()]
    return paper(*cells)


def test_a_consistent_paper_passes_every_check_but_the_caps_of_its_formulas():
    found = findings(consistent())
    assert len({f.check for f in found}) >= 12
    # what is right by the true formulas must break the printed ones, which stop at 2/3 and 1/2
    assert {f.check for f in found if f.verdict == "fails"} == {"formula_as_printed"}


@pytest.mark.parametrize(
    ("measure", "subject", "printed", "check"),
    [
        ("dice", "infected", "0.600", "dice_not_below_iou"),
        ("dice", "infected", "0.790", "dice_of_iou"),
        ("dice_error", "infected", "0.200", "error_is_no_complement"),
        ("mean_iou", "all", "81.00", "mean_of_classes"),
        ("weighted_iou", "all", "80.00", "infected_pixel_share"),
        ("predicted_background", "infected", "19.00", "confusion_row"),
        ("accuracy", "infected", "81.00", "confusion_diagonal"),
        ("accuracy", "", "95.70", "possible_share"),
        ("f_score", "", "0.99", "f_of_precision_and_recall"),
        ("auc", "", "0.80", "auc_of_operating_point"),
        ("precision", "", "95.95", "probability"),
        ("images", "", "830", "parts_make_the_whole"),
    ],
)
def test_one_wrong_cell_is_found(measure, subject, printed, check):
    cells = [
        Cell(**{**vars(cell), "printed": printed, "value": float(printed)})
        if (cell.measure, cell.subject) == (measure, subject)
        else cell
        for cell in consistent().cells
    ]
    assert failing(findings(paper(*cells)), check)


def test_exchanged_means_are_named():
    rows = [("one", "90.00", "80.00", "75.00"), ("other", "70.00", "80.00", "85.00")]
    cells = [
        segmenter(measure, value, subject, row=row, regime=row)
        for row, infected, background, mean in rows
        for measure, value, subject in (
            ("boundary_f", infected, "infected"),
            ("boundary_f", background, "background"),
            ("mean_boundary_f", mean, "all"),
        )
    ]
    found = failing(findings(paper(*cells)), "exchanged_cells")
    assert [(f.row, f.computed) for f in found] == [("one", 85), ("other", 75)]


# --- The papers -----------------------------------------------------------------------------------------------------


def test_khan_segmentation_scores(found):
    khan = found["khan2020"]
    assert len(failing(khan, "error_is_no_complement")) == 44
    together = failing(khan, "dice_together")[0]
    assert together.sentence.startswith("19 of 44 rows, of 15 of 22 networks")
    assert failing(khan, "infected_pixel_share_median")[0].computed == pytest.approx(0.3865, abs=5e-4)
    released = failing(khan, "infected_pixel_share_released")[0]
    assert released.computed == pytest.approx(0.3788, abs=1e-4)
    assert "together 1.0000" in released.sentence
    best = next(f for f in khan if f.check == "infected_pixel_share" and f.row == "SA-CoV-RASeg")
    assert best.computed == pytest.approx(0.383, abs=5e-4)
    exchanged = {(f.row, f.printed) for f in failing(khan, "exchanged_cells")}
    assert exchanged == {("SA U-SegNet", 97.15), ("U-SegNet", 96.07), ("deeplabv3_1", 98.89), ("deeplabv3_2", 99.03)}
    misprints = {f.row: f.computed for f in failing(khan, "weighted_iou_misprint")}
    assert set(misprints) == {"FCN-8", "SA Deeplabv3_1", "SA Deeplabv3_2"}
    assert misprints["FCN-8"] == pytest.approx(90.98, abs=0.01)
    assert failing(khan, "images_trained_on")[0].computed == 296
    assert not failing(khan, "confusion_row")


def test_khan_classifiers(found):
    khan = found["khan2020"]
    tables = [f for f in khan if f.check == "possible_share" and f.source.startswith("Table")]
    assert Counter(f.verdict for f in tables) == {"fails": 30, "holds": 1}
    assert next(f.printed for f in tables if f.verdict == "holds") == 98.80
    assert len(failing(khan, "precision_is_no_specificity")) == 25
    assert [f.printed for f in failing(khan, "probability")] == [95.95]
    assert {(f.row, f.printed) for f in failing(khan, "auc_of_operating_point")} == {("VGG16", 0.67), ("VGG19", 0.73)}
    wrong = {(f.row, f.regime) for f in failing(khan, "f_of_precision_and_recall") if f.source == "Table 3"}
    named = {
        ("VGG16", "scratch_original"),
        ("VGG19", "scratch_original"),
        ("VGG19", "fine_tuned"),
        ("ResNet18", "scratch_original"),
    }
    assert named <= wrong
    sums = {f.sentence for f in failing(khan, "parts_make_the_whole")}
    assert sums == {"598 + 135 + 166 = 899, and 829 images are told."}
    gains = {f.row: round(f.computed, 2) for f in khan if f.check == "attention_gain"}
    assert (gains["SA-CoV-RASeg"], gains["SA VGG-16"], gains["SA FCN-8"]) == (0.08, -0.08, -0.20)


def test_alom(found):
    alom = found["alom2020"]
    assert {f.printed for f in failing(alom, "possible_share")} == {98.78, 84.67, 87.26}
    assert failing(alom, "gain")[0].computed == pytest.approx(2.59)
    assert "87.26 - 83.5 = 3.76" in failing(alom, "gain")[0].sentence
    assert failing(alom, "dice_of_iou")[0].computed == pytest.approx(0.9276, abs=5e-5)
    assert len(failing(alom, "rounded_percent")) == 2  # 1599 / 5184 = 30.845 rounds both ways
    assert failing(alom, "parts_make_the_whole")[0].computed == 425
    assert failing(alom, "held_out_share")[0].computed == pytest.approx(140.8)


# --- Files ----------------------------------------------------------------------------------------------------------


def test_the_tables_are_printed_and_written_three_times(tmp_path, capsys):
    assert main(["checks", "--published", str(PUBLISHED), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "khan2020  error_is_no_complement: 44 of 44 fail" in said
    assert "247 + 178 = 425, and 420 images are told." in said
    parquet, csv = pd.read_parquet(tmp_path / "checks.parquet"), pd.read_csv(tmp_path / "checks.csv")
    assert len(parquet) == len(csv) > 500
    assert parquet.columns.tolist() == csv.columns.tolist()
    page = (tmp_path / "checks.md").read_text()
    assert page.count("\n| ") == len(parquet) + 1


def test_a_damaged_file_is_named_by_line(tmp_path):
    (tmp_path / "khan2020.csv").write_text(",".join(COLUMNS) + "\nTable 2,a,,,,iou,,x,x,,,\n")
    with pytest.raises(BadTable, match=r"khan2020.csv, line 2: wanted numbers"):
        read_published(tmp_path / "khan2020.csv")
    (tmp_path / "alom2020.csv").write_text("a,b\n")
    with pytest.raises(BadTable, match="wanted the columns source, row"):
        read_published(tmp_path / "alom2020.csv")
    with pytest.raises(BadTable, match="No such file"):
        read_published(tmp_path / "none.csv")


@pytest.mark.parametrize("name", PAPERS)
def test_every_published_cell_is_a_number_with_a_place(name):
    published = read_published(PUBLISHED / f"{name}.csv")
    assert all(cell.source and cell.row and cell.measure and cell.printed for cell in published.cells)
    keys = Counter((c.source, c.row, c.regime, c.subject, c.measure) for c in published.cells)
    assert max(keys.values()) == 1
    for cell in published.cells:
        if cell.printed.replace(".", "").isdigit():
            assert float(cell.printed) == cell.value
