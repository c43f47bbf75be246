"""The papers' tables and pages: rows by hand, the margin's scores, and what is said where nothing was run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import matplotlib.image
import numpy as np
import pandas as pd
import PIL.Image
import pytest

from covidpipe import workflow
from covidpipe.cli import main
from covidpipe.config import Recipe, load, parse
from covidpipe.errors import BadConfig
from covidpipe.io.files import to_table
from covidpipe.paper import figures
from covidpipe.paper.frames import SCORINGS, confusions, ct_box, margin
from covidpipe.paper.percentages import percent_table
from covidpipe.paper.published import read_published
from covidpipe.paper.tables import (
    Result,
    alom_table,
    beaten_by_painter,
    frame_table_rows,
    khan_table,
    shown,
)
from covidpipe.registry import MODELS, PROTOCOLS, REGIMES
from covidpipe.schemas import PAPER_TABLE, TABLES
from covidpipe.stages import paper_percentages
from covidpipe.stages.frames import AUTHORS, PAINTER, frame_rows

ROOT = Path(__file__).parents[2]
KHAN, ALOM = (read_published(ROOT / "config" / "published" / f"{name}.csv") for name in ("khan2020", "alom2020"))


def score(value: float, low: float | None = None, high: float | None = None, k: int | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "n": 50, "k": k, "patients": 5}


def result(
    task="segment_infection", model="cov_raseg", regime="scratch_attention", protocol="grouped", **more
) -> Result:
    scores = {
        "pooled_iou": score(0.5, 0.4, 0.6),
        "pooled_dice": score(2 / 3),
        "accuracy_foreground": score(0.75, 0.7, 0.8, k=750),
        "accuracy_background": score(0.9, 0.85, 0.95, k=900),
        "accuracy": score(0.8, 0.7, 0.9, k=40),
        "roc_auc": score(0.7),
    }
    facts = {"recipe": "r", "dataset": "medseg829", "controls": {"border_painter": {"pooled_iou": score(0.1)}}} | more
    return Result(task=task, model=model, regime=regime, protocol=protocol, scores=scores, **facts)


def rows_of(rows, **wanted):
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


# --- Tables ---------------------------------------------------------------------------------------------------------


def test_a_trained_network_stands_beside_its_published_row_in_the_papers_unit():
    rows = khan_table(KHAN, "Table 5", [result()], "short")
    row = rows_of(rows, row="SA-CoV-RASeg", subject="infected", measure="iou")[0]
    assert (row["published"], row["grouped_protocol"], row["grouped_protocol_low"]) == (98.73, 50, 40)
    assert (row["grouped_protocol_n"], row["grouped_protocol_patients"]) == (50, 5)
    assert row.get("published_protocol") is None
    text = shown([row])[0]
    assert text[5:] == ["98.73", "not run", "50.00 (40.00 to 60.00) [n = 50, 5 patients]"]
    accuracy = rows_of(rows, row="SA-CoV-RASeg", subject="infected", measure="accuracy")[0]
    assert accuracy["grouped_protocol_n"] == 50  # images, not the pixels that the share is of
    control = rows_of(rows, role="control", row="border_painter", measure="iou")[0]
    assert control["grouped_protocol"] == 10
    assert control.get("published") is None


def test_table_4_is_the_complement_where_it_must_be():
    rows = khan_table(KHAN, "Table 4", [result()], "full")
    missed = rows_of(rows, row="SA-CoV-RASeg", subject="infected", measure="predicted_background")[0]
    assert (missed["published"], missed["grouped_protocol"]) == (0.81, 25)
    assert (missed["grouped_protocol_low"], missed["grouped_protocol_high"]) == pytest.approx((20, 30))


def test_the_wavelet_readings_and_the_control_stand_side_by_side():
    trained = [
        result("classify", "cov_ctnet", regime)
        for regime in ("scratch_wavelet", "scratch_authors_code", "scratch_gain2_clip")
    ]
    rows = khan_table(KHAN, "Table 2", trained, "short")
    found = {r["regime"] for r in rows_of(rows, network="cov_ctnet", measure="accuracy", role="network")}
    assert found == {"scratch_wavelet", "scratch_original", "scratch_authors_code", "scratch_gain2_clip"}
    assert [REGIMES["classify"][r].reading for r in sorted(found)] == ["authors_code", "gain2_clip", None, None]


def test_a_reading_that_contradicts_its_regime_is_refused():
    given = {"task": "classify", "dataset": "medseg829", "model": "cov_ctnet", "image_size": 82}
    assert Recipe(**given, regime="scratch_gain2_clip").reading == "gain2_clip"
    with pytest.raises(BadConfig, match="is that of the wavelet reading `authors_code`"):
        parse({"training": {"x": {**given, "regime": "scratch_authors_code", "reading": "none"}}}, "here")


def test_alom_rows_are_found_by_what_they_are_of():
    pneumonia = result("classify", "irrcnn", "scratch_original", dataset="kermany")
    covid = result("classify", "irrcnn", "scratch_original", dataset="covid-cxr")
    rows = alom_table(ALOM, "detection", [pneumonia], "full")
    assert rows_of(rows, row="pneumonia in X-rays", measure="accuracy")[0]["grouped_protocol"] == 80
    assert rows_of(rows, row="COVID-19 in X-rays", measure="accuracy")[0].get("grouped_protocol") is None
    rows = alom_table(ALOM, "detection", [covid], "full")
    assert rows_of(rows, row="COVID-19 in X-rays", measure="accuracy")[0]["published"] == 84.67


class OneDisk:
    """Stands for a network that marks one disk as lung on every image."""

    recipe: ClassVar = {"image_size": 48, "threshold": 0.5}

    def predict(self, images):
        return np.repeat(DISK[None].astype(np.float32), len(images), axis=0)


DISK = np.hypot(*np.meshgrid(np.arange(48) - 24, np.arange(48) - 24)) < 16


class Drawn:
    """Stands for a store: a healthy slice, one with a lesion of a quarter of the lung, and one below the lungs."""

    arrays = ("image", "lung_mask", "infection_mask")

    def __init__(self):
        lesion = DISK & np.logical_and.outer(np.arange(48) < 24, np.arange(48) < 24)
        self.lung_mask = np.stack([DISK, DISK, np.zeros_like(DISK)]).astype(np.uint8)
        self.infection_mask = np.stack([lesion * 0, lesion, lesion * 0]).astype(np.uint8)
        self.image = (200 - 150 * self.lung_mask + 100 * self.infection_mask).astype(np.uint8)

    def read(self, name, positions):
        return getattr(self, name)[positions]


def test_percentages_are_told_by_kind_of_image_beside_the_printed_ones(monkeypatch):
    """The threshold finds the lesion, but for the lung's rim; nobody's percentages are made up."""
    ct = Recipe(
        task="segment_lungs", dataset="medseg829", model="nabla3", regime="scratch", protocol="grouped", image_size=48
    )
    rows = pd.DataFrame({"n": [0, 1, 2], "group": ["a", "b", "b"], "has_infection_mask": True})
    monkeypatch.setattr(paper_percentages, "load_model_folder", lambda folder: OneDisk())
    monkeypatch.setattr(paper_percentages, "test_part", lambda config, recipe: (Drawn(), rows))
    monkeypatch.setattr(
        paper_percentages,
        "evaluated",
        lambda config, task, protocol, modality, *_: [ct] if (protocol, modality) == ("grouped", "ct") else [],
    )
    found = {one.kind: one for one in paper_percentages.percentages(load(ROOT / "config" / "paper-phantoms.yaml"))}
    assert sorted(found) == ["CT with lesions", "CT with lungs and no lesion", "CT without lungs"]
    ill = found["CT with lesions"]
    quarter = 100 * Drawn().infection_mask[1].sum() / DISK.sum()
    assert ill.true.tolist() == pytest.approx([quarter]) and 0.7 * quarter < ill.found[0] <= quarter
    assert found["CT with lungs and no lesion"].found.tolist() == [0.0]
    assert np.isnan(found["CT without lungs"].true).all()

    table = percent_table(ALOM, list(found.values()), "short", seed=1)
    printed = [row for row in table if row.get("published") is not None]
    assert [row["published"] for row in printed] == [33.52, 51.23, 27.66, 47.89, 37.58, 30.84, 80.39, 23.18]
    assert {shown([row])[0][-1] for row in printed} == {"-"}  # nobody has those images
    (ours,) = rows_of(table, row="CT with lesions", measure="infection_percent")
    assert ours["grouped_protocol"] == pytest.approx(ill.found[0]) and ours["grouped_protocol_patients"] == 1
    (zero,) = rows_of(table, row="CT with lesions: always_zero", measure="mean_absolute_error")
    assert zero["grouped_protocol"] == pytest.approx(quarter) and zero["role"] == "control"
    (films,) = rows_of(table, row="COVID-19 in X-rays", measure="infection_percent")
    assert shown([films])[0][-2:] == ["not run", "not run"]
    assert len(to_table(table, PAPER_TABLE)) == len(table)


@pytest.mark.parametrize("source", ["Table 2", "Table 3", "Table 4", "Table 5", "Table 6"])
def test_every_table_keeps_its_schema_with_and_without_results(source):
    task, model = ("classify", "resnet18") if source in ("Table 2", "Table 3") else ("segment_infection", "segnet")
    for results in ([], [result(task, model, "scratch_original" if task == "classify" else "scratch")]):
        assert len(to_table(khan_table(KHAN, source, results, "phantoms"), PAPER_TABLE)) > 5


# --- The margin -----------------------------------------------------------------------------------------------------


@pytest.fixture
def masks() -> np.ndarray:
    """Twelve figures of 40 x 40 with a margin of 8; the lesion is 6 x 6, 30 pixels of it found."""
    made = np.full((12, 40, 40), 255, np.uint8)
    made[:, 8:32, 8:32] = 0
    made[:, 12:18, 12:18] = 255
    return made


def test_the_margins_scores_by_hand(masks):
    found = masks > 127
    found[:, 17, 12:18] = False
    box = ct_box(masks)
    frame, lesion = 40 * 40 - 24 * 24, 36
    assert margin(masks).sum() == frame + lesion  # all twelve lesions lie at one place
    painted = np.ones((40, 40), bool)
    painted[8:32, 8:32] = False
    rows = [*frame_rows(AUTHORS, found, masks, box, 0), *frame_rows(PAINTER, painted, masks, box, 0)]

    def value(answer, scoring, measure="iou", subject="infected"):
        return next(
            r["value"]
            for r in rows
            if (r["answer"], r["scoring"], r["subject"], r["measure"]) == (answer, scoring, subject, measure)
        )

    assert value(AUTHORS, "full_frame") == pytest.approx((frame + 30) / (frame + 36))
    assert value(AUTHORS, "inside_ct") == pytest.approx(30 / 36)
    assert value(AUTHORS, "inside_ct", "dice") == pytest.approx(60 / 66)
    assert value(PAINTER, "full_frame_exact") == pytest.approx(frame / (frame + 36))
    assert value(PAINTER, "inside_ct") == 0
    assert value(PAINTER, "inside_ct", "accuracy", "background") == 1
    counted = confusions(found, masks, "full_frame", box)
    assert counted.shape == (12, 4)
    assert (counted.sum(axis=1) == 1600).all()
    table = frame_table_rows("Table 5", rows, KHAN, "full")
    published = rows_of(table, role="released", scoring="full_frame", subject="infected", measure="iou")[0]
    assert published["published"] == 98.73
    assert published["published_protocol"] == pytest.approx(100 * (frame + 30) / (frame + 36))
    assert {row["scoring"] for row in table} == set(SCORINGS)
    assert len(frame_table_rows("Table 4", rows, KHAN, "full")) == 2 * 3 * 4


def painter_at(value: float) -> list[dict]:
    return [{"answer": PAINTER, "scoring": "full_frame_exact", "subject": "infected", "measure": "iou", "value": value}]


def test_the_painter_is_compared_with_every_published_segmenter():
    painted, beaten, count = beaten_by_painter(painter_at(0.9796), KHAN)
    assert (round(painted, 2), len(beaten), count) == (97.96, 16, 22)
    assert len(beaten_by_painter(painter_at(0.4), KHAN)[1]) == 0
    assert beaten_by_painter([], KHAN) is None


def test_the_frames_stage_on_drawn_figures(tmp_path, monkeypatch, masks):
    """The stage's files, with a network that marks what is white."""
    root = tmp_path / "khan2020"
    for part, count in (("train", 6), ("test", 6)):
        (root / "segmentation" / f"{part}_masks").mkdir(parents=True)
        for i in range(count):
            PIL.Image.fromarray(masks[i]).save(
                root / "segmentation" / f"{part}_masks" / f"CoronaFinal1_D1_{i}.jpg", quality=100
            )
    (root / "ct" / "infected").mkdir(parents=True)
    for i in range(6):
        PIL.Image.fromarray(np.repeat(masks[i][..., None], 3, 2)).save(
            root / "ct" / "infected" / f"Corona_CT_{i}.jpg", quality=100
        )

    def network(images):
        return np.stack([1 - images[..., 0], images[..., 0]], axis=-1)

    monkeypatch.setattr("covidpipe.stages.frames.released_cov_raseg", lambda path: network)
    (tmp_path / "study.yaml").write_text(
        f"paper: {{published: {ROOT / 'config' / 'published'}}}\ndatasets: {{khan2020: {root}}}\n"
    )
    assert main(["frames", "--config", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]) == 0
    table = pd.read_parquet(tmp_path / "out" / "frames.parquet")
    assert table.n.unique().tolist() == [6]
    own = table[
        (table.answer == AUTHORS)
        & (table.scoring == "inside_ct")
        & (table.measure == "iou")
        & (table.subject == "infected")
    ]
    assert own.value.item() > 0.9
    picture = matplotlib.image.imread(tmp_path / "out" / "border_effect.png")
    assert picture[..., :3].std() > 0.1
    assert (tmp_path / "out" / "border_effect.svg").read_text().count("<text") > 10
    assert json.loads((tmp_path / "out" / "run.json").read_text())["images"] == 6


def test_frames_that_are_not_there_are_told(tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(
        f"paper: {{published: {ROOT / 'config' / 'published'}}}\ndatasets: {{khan2020: {tmp_path}}}\n"
    )
    assert main(["frames", "--config", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]) == 3
    assert "wanted the authors' test masks, found none" in capsys.readouterr().err
    assert not workflow.authors_files(load(tmp_path / "study.yaml"))


# --- Nothing was run ------------------------------------------------------------------------------------------------


def test_where_nothing_was_run_the_page_says_so_and_invents_nothing(tmp_path, capsys):
    study = yaml_of(tmp_path)
    assert main(["checks", "--published", str(ROOT / "config" / "published"), "--out", str(tmp_path / "checks")]) == 0
    capsys.readouterr()
    arguments = ["--config", str(study), "--checks", str(tmp_path / "checks" / "checks.parquet"), "--out"]
    assert main(["paper", *arguments, str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "reproduction.md").read_text()
    assert "**phantoms**" in page
    assert "No network was trained in this run" in page
    assert "Not run: the authors' files were not there." in page
    assert "18 of 18 networks" in page
    table = pd.read_parquet(tmp_path / "out" / "khan2020" / "table3.parquet")
    assert table.published.notna().sum() == 189
    assert table[["published_protocol", "grouped_protocol"]].isna().all(axis=None)
    assert pd.read_csv(tmp_path / "out" / "khan2020" / "table3.csv").columns.tolist() == table.columns.tolist()
    assert (tmp_path / "out" / "khan2020" / "metric_ranges.png").exists()
    assert not (tmp_path / "out" / "khan2020" / "qualitative.png").exists()


def yaml_of(folder: Path) -> Path:
    """The study of the phantoms, in `folder`."""
    text = (ROOT / "config" / "paper-phantoms.yaml").read_text()
    text = text.replace("results: results/", f"results: {folder}/results/").replace(
        "paper: {label", f"paper: {{published: {ROOT / 'config' / 'published'}, label"
    )
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


# --- Configs and captions -------------------------------------------------------------------------------------------


def test_the_full_study_has_every_published_network_under_both_protocols():
    config = load(ROOT / "config" / "paper.yaml")
    trained = {(r.task, r.model, r.regime, r.protocol) for r in config.training.values()}
    for cell in KHAN.cells:
        if not cell.source.startswith("Table") or not cell.regime:
            continue
        task = "classify" if cell.source in ("Table 2", "Table 3") else "segment_infection"
        if cell.regime == "fine_tuned" and MODELS[cell.network].backbone is None:
            continue  # no ImageNet weights are published for it
        for protocol in PROTOCOLS:
            assert (task, cell.network, cell.regime, protocol) in trained, cell
    assert {schedule for r in config.training.values() if (schedule := r.schedule).endswith("_short")} == set()
    short, phantoms = (load(ROOT / "config" / f"paper-{name}.yaml") for name in ("short", "phantoms"))
    assert (config.paper.label, short.paper.label, phantoms.paper.label) == ("full", "short", "phantoms")
    assert not any(REGIMES[r.task][r.regime].weights == "imagenet" for r in short.training.values())


def test_the_papers_config_is_read_where_the_papers_are_asked_for(monkeypatch):
    monkeypatch.delenv("COVIDPIPE_DEFAULT_CONFIG", raising=False)
    assert workflow.default_config(["snakemake", "-n", "paper"]) == "config/paper.yaml"
    assert workflow.default_config(["snakemake", "--jobs"]) == "config/paper.yaml"  # a job of that run
    monkeypatch.delenv("COVIDPIPE_DEFAULT_CONFIG")
    assert workflow.default_config(["snakemake", "cohort"]) == "config/config.yaml"


def test_captions_are_sentences_and_the_tables_are_known():
    assert all(
        caption.endswith(".") and caption[0].isupper() and len(caption) > 60 for caption in figures.CAPTIONS.values()
    )
    assert {"paper_checks", "paper_frames", "paper_table"} <= set(TABLES)


def drawn() -> dict:
    """Every figure, of made-up results."""
    rng, x = np.random.default_rng(0), np.linspace(0, 1, 20)
    trained = [
        result("classify", model, regime, protocol)
        for model in ("cov_ctnet", "resnet18", "shufflenet")
        for regime in ("scratch_wavelet", "scratch_original")
        for protocol in PROTOCOLS
    ] + [result(protocol=protocol) for protocol in PROTOCOLS]
    tables = {
        source: khan_table(KHAN, source, trained, "short") for source in ("Table 2", "Table 3", "Table 5", "Table 6")
    }
    curve = {"x": x, "y": 1 - x**3, "area": 0.75, "low": 0.6, "high": 0.9, "chance": 0.45}
    disk = np.hypot(*np.meshgrid(np.arange(-24, 24), np.arange(-24, 24))) < 15
    image = rng.integers(0, 200, (48, 48), np.uint8)
    line = {"image": image, "lung_mask": disk, "infection_mask": disk & (image > 150), "excess": image / 200}
    return {
        "metric_ranges": figures.metric_ranges(tables, "short"),
        "iou_and_bfs": figures.iou_and_bfs([*tables["Table 5"], *tables["Table 6"]], 97.96, "short"),
        "precision_recall": figures.curves(
            [{**curve, "name": f"net {i}", "protocol": protocol} for protocol in PROTOCOLS for i in range(3)],
            "precision_recall",
            "short",
        ),
        "roc": figures.curves([{**curve, "y": x**0.3, "name": "irrcnn", "protocol": "grouped"}], "roc", "short"),
        "convergence": figures.histories(
            [
                {
                    "name": f"net {i}",
                    "lines": {"train, loss": (x * 20, np.exp(-3 * x)), "validation, score": (x * 20, x)},
                }
                for i in range(4)
            ],
            "short",
        ),
        "feature_space": figures.feature_space(
            rng.normal(size=(40, 2)), rng.random(40) > 0.5, np.array([0.6, 0.2]), "full"
        ),
        "qualitative": figures.gallery(["one", "other"], [[(image, disk, ~disk), (image, disk, None)]] * 3, "short"),
        "heat_maps": figures.heat_maps(
            [
                {**line, "name": "CT", "percent": 12.5},
                {**line, "lung_mask": disk & False, "name": "CT", "percent": None},
            ],
            "short",
        ),
    }


def test_every_figure_is_drawn_as_picture_and_as_text_with_its_caption(tmp_path):
    made = drawn()
    elsewhere = {"border_effect", "training_accuracy", "lungs", "cost_against_quality"}
    assert set(made) | elsewhere == set(figures.CAPTIONS)
    for name, figure in made.items():
        figures.save(figure, tmp_path / name, figures.CAPTIONS[name])
        picture = matplotlib.image.imread(tmp_path / f"{name}.png")
        assert picture[..., :3].std() > 0.02, name
        assert "<text" in (tmp_path / f"{name}.svg").read_text(), name
        assert (tmp_path / f"{name}.txt").read_text() == figures.CAPTIONS[name] + "\n"
    words = (tmp_path / "roc.svg").read_text()
    assert "published protocol: not run" in words
    assert "irrcnn: 0.750 (0.60 to 0.90)" in words
    assert "no lung" in (tmp_path / "heat_maps.svg").read_text()
