"""The report and the terminal's lines, from a cohort that is drawn here."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
from base64 import b64decode
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import synthetic_table
from PIL import Image

from covidpipe.config import Config, parse
from covidpipe.errors import BadTable, CovidpipeError
from covidpipe.harmonize import Transform
from covidpipe.io.files import read_frame, read_table, write_table
from covidpipe.io.store import write_store
from covidpipe.quantify.conformal import Calibration
from covidpipe.quantify.patients import Patients
from covidpipe.quantify.reference import MODEL_COLUMNS, deciding_settings
from covidpipe.report import figures, overlays, page, terminal
from covidpipe.schemas import (
    IMAGES,
    INFECTION,
    MASK_INDEX,
    METRICS_SUMMARY,
    PATIENTS,
    RELIABILITY,
    SCHEMA_VERSION,
    SUMMARY,
)
from covidpipe.stages import report

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"'"
SIZE = 64


@dataclass(frozen=True)
class Made:
    config: Config
    images: Path
    table: Path
    masks: list[Path]
    metrics: list[Path]
    patients: Path
    folder: Path


TABLES = (("out/infection.parquet", INFECTION), ("ingest/images.parquet", IMAGES))


def ellipse(shape, row, column, height, width):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1


def chest(generator, shape, share):
    """A drawn chest: 8-bit image, lung mask, infection mask of about `share` of the lungs; "NAME" in a corner."""
    h, w = shape
    body = ellipse(shape, h * 0.5, w * 0.5, h * 0.42, w * 0.46)
    lung = ellipse(shape, h * 0.5, w * 0.31, h * 0.28, w * 0.14) | ellipse(shape, h * 0.5, w * 0.69, h * 0.28, w * 0.14)
    infection = np.zeros(shape, bool)
    lung_rows, lung_columns = np.nonzero(lung)
    while infection.sum() < share * lung.sum():
        at = generator.integers(len(lung_rows))
        radius = h * generator.uniform(0.02, 0.07)
        infection |= ellipse(shape, lung_rows[at], lung_columns[at], radius, radius * 1.3) & lung
    image = np.where(lung, 40, np.where(body, 150, 4)) + np.where(infection, 65, 0) + generator.normal(0, 9, shape)
    image = np.clip(image, 0, 254).astype(np.uint8)
    image[2:8, 2:30] = 255  # burned-in writing
    return image, lung, infection


def make_cohort(folder: Path, images: int = 12, shape=(96, 120), cohort: str = "ward_3") -> Made:
    """A cohort on disk: two thirds CT, one third X-ray, every fifth file rejected, two shards."""
    generator = np.random.default_rng(7)
    seen, rows, entries, planes = [], [], [], []
    (folder / "in").mkdir(parents=True)
    for i in range(images):
        image_id = hashlib.sha256(str(i).encode()).hexdigest()[:16]
        modality = "xr" if i % 3 == 2 else "ct"
        rejected = i % 5 == 4
        identity = {
            "image_id": image_id,
            "patient_id": None if i % 7 == 6 else f"{i // 4:016x}",
            "study_id": f"{i // 4 + 512:016x}",
            "series_id": f"{i // 4 + 1024:016x}",
            "slice_index": i % 4 if modality == "ct" else None,
            "modality": modality,
        }
        share = (0.0, 0.03, 0.12, 0.4)[i % 4] * generator.uniform(0.6, 1.4)
        image, lung, infection = chest(generator, shape, share)
        path = f"Doe_John/{i}.png"
        (folder / "in" / path).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / "in" / path)
        source = hashlib.sha256((folder / "in" / path).read_bytes()).hexdigest()
        seen.append(
            identity
            | {
                "path": path,
                "frame": 0,
                "modality_source": "guessed",
                "modality_confidence": 0.97,
                "intensity": "windowed_8bit" if modality == "ct" else "radiograph",
                "format": "png",
                "rows": shape[0],
                "columns": shape[1],
                "source_sha256": source,
                "accepted": not rejected,
                "reason": ("color_image", "too_small", "unreadable")[i % 3] if rejected else None,
                "sentence": f"Found {HOSTILE}." if rejected else None,
                "warnings": [],
            }
        )
        for method in ("khan2020", "alom2020"):
            row = identity | {
                "cohort": cohort,
                "method": method,
                "qc_status": "ok",
                "qc_reasons": [],
                "source_sha256": source,
                "pipeline_version": "0.1.0",
                "schema_version": SCHEMA_VERSION,
            }
            rows.append(row)
            if rejected or (method, modality) == ("khan2020", "xr"):
                reason = seen[-1]["reason"] or "method_not_for_modality"
                row.update(qc_status="rejected", qc_reasons=[reason])
                continue
            models = {"lung_model_id": "nabla3@0123456789ab"}
            if method == "khan2020":
                positive = share > 0.02
                models |= {"classifier_id": "cov_ctnet@ba9876543210", "infection_model_id": HOSTILE}
                models |= {"covid_probability": 0.9 if positive else 0.1, "covid_positive": positive}
                if not positive:
                    infection = np.zeros_like(infection)
                    row.update(qc_reasons=["screened_negative"])
            else:
                infection = infection | (lung & (image > 62))
            if i % 6 == 1:
                row.update(qc_status="warning", qc_reasons=sorted([*row["qc_reasons"], "lung_area_unusual"]))
            lung_px, infected_px = int(lung.sum()), int((infection & lung).sum())
            row.update(models, lung_px=lung_px, infected_px=infected_px, infection_percent=100 * infected_px / lung_px)
            transform = Transform.fit(*shape, SIZE)
            entry = {"image_id": image_id, "method": method, "reasons": [], **models, **transform.as_dict()}
            entries.append(entry)
            planes.append((transform.forward_mask(lung), transform.forward_mask(infection)))
    write_table(folder / "ingest" / "images.parquet", seen, IMAGES)
    write_table(folder / "out" / "infection.parquet", rows, INFECTION)
    pooled = Patients()
    pooled.add(*(read_table(folder / place, spec) for place, spec in TABLES))
    write_table(folder / "out" / "patients.parquet", pooled.rows(), PATIENTS)
    masks, half = [], len(entries) // 2
    for k, part in enumerate((slice(0, half), slice(half, None))):
        numbered = [entry | {"n": n} for n, entry in enumerate(entries[part])]
        lung, infection = (np.array(p, np.uint8) for p in zip(*planes[part], strict=True))
        arrays = {"lung_mask": (SIZE, SIZE), "infection_mask": (SIZE, SIZE)}
        masks.append(folder / "shards" / str(k))
        write_store(
            masks[-1],
            "masks.zarr",
            numbered,
            MASK_INDEX,
            [{"lung_mask": lung, "infection_mask": infection}],
            arrays,
            len(numbered),
            max(len(numbered), 1),
        )
    metrics = folder / "Doe_John" / "metrics" / "cohorts" / cohort
    summary = {
        "subject": HOSTILE,
        "measure": "mean_absolute_error",
        "value": 3.21,
        "low": 2.0,
        "high": 4.5,
        "n": images,
    }
    write_table(metrics / "summary.parquet", [summary], METRICS_SUMMARY)
    config = parse(
        {
            "cohorts": {cohort: {"path": str(folder / "in")}, "secret": {"path": "elsewhere"}},
            "results": str(folder),
            "data": str(folder),
            "datasets": {"medseg829": str(folder / "Doe_John")},
            "report_cases": 6,
        },
        "test",
    )
    return Made(
        config,
        folder / "ingest" / "images.parquet",
        folder / "out" / "infection.parquet",
        masks,
        [metrics],
        folder / "out" / "patients.parquet",
        folder,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return make_cohort(tmp_path_factory.mktemp("cohort"))


def written(made: Made, out: Path, **changes) -> str:
    report.run(
        changes.get("config", made.config),
        "ward_3",
        made.images,
        changes.get("table", made.table),
        made.masks,
        out,
        made.metrics,
        made.patients,
    )
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def document(made, tmp_path_factory) -> str:
    return written(made, tmp_path_factory.mktemp("report") / "report.html")


class Page(HTMLParser):
    """Tags, attributes and text of a document."""

    def __init__(self, document: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_nothing_in_a_table_becomes_markup(document):
    assert HOSTILE in "".join(Page(document).text)  # told as words
    assert "<script>alert" not in document
    assert not [a for a in Page(document).all("img") if "onerror" in a]
    assert len(Page(document).all("script")) == 2


def test_the_page_asks_the_network_for_nothing(document):
    found = Page(document)
    for _, attrs in found.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), attrs
        assert not any(name.startswith("on") for name in attrs)
    assert "http" not in document.replace("http-equiv", "")
    assert "@import" not in document and "url(" not in document
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    for kind, code in re.findall(r"<(style|script)>(.*?)</\1>", document, re.DOTALL):
        assert f"{kind}-src 'sha256-{page.sha256(code)}'" in policy


def test_the_page_names_no_path_and_no_other_cohort(made, document):
    for secret in ("Doe_John", str(made.folder), made.folder.name, "secret", "elsewhere"):
        assert secret not in document
    assert "path: …" in document and "results: …" in document and "medseg829: …" in document


def test_the_same_cohort_gives_the_same_bytes(made, document, tmp_path):
    assert written(made, tmp_path / "again.html") == document


def test_the_page_can_be_read_by_a_screen_reader(document):
    found = Page(document)
    assert found.all("html") == [{"lang": "en"}]
    assert len(found.all("main")) == len(found.all("h1")) == 1 and found.all("nav") and found.all("footer")
    assert all(a["alt"] for a in found.all("img"))
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in found.all("svg"))
    assert all(a.get("scope") for a in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table"))
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in found.all("a")} | {a["for"] for a in found.all("label")} <= set(ids)


def test_numbers_of_the_cohort(made):
    seen = read_frame(made.images, IMAGES)
    numbers = page.cohort_numbers(seen)
    assert (numbers["seen"], numbers["accepted"], numbers["rejected"], numbers["patients"]) == (12, 10, 2, 3)
    assert numbers["modalities"] == [("CT", 6), ("X-ray", 4)]
    assert [row["reason"] for row in page.rejections(seen)] == ["color_image", "too_small"]
    assert all(row["count"] == 1 and row["found"] == [(f"Found {HOSTILE}.", 1)] for row in page.rejections(seen))


def test_results_stand_for_the_methods_that_fit_the_modality(made):
    results = page.method_results(read_frame(made.table, INFECTION), made.config)
    assert [(r["method"], r["modality"]) for r in results] == [
        ("alom2020", "CT"),
        ("khan2020", "CT"),
        ("alom2020", "X-ray"),
    ]
    assert all("these networks and settings was not measured" in r["wrong"] for r in results)
    assert ["the threshold" in r["wrong"] for r in results] == [True, False, True]
    khan = results[1]
    assert khan["images"] == 8 and khan["measured"] == khan["screened"] == 6
    assert {words: n for _, words, n in khan["segments"]} == {
        "infected lung found": 6 - khan["negative"],
        "segmented, nothing found": 0,
        "screened negative": khan["negative"],
        "no percentage": 2,
    }


def patients(rows: list[dict]) -> pa.Table:
    told = ("patient_id", "study_id", "modality", "method", "infection_percent", "days_since_first_study")
    return pa.Table.from_pylist(rows, pa.schema([PATIENTS.schema.field(name) for name in told]))


def test_patients_are_those_of_their_table(made, document):
    section = document[document.index('<section id="patients"') : document.index('<h3 id="courses"')]
    told = [row for row in read_table(made.patients, PATIENTS).to_pylist() if row["modality"] == "ct"]
    assert len(told) >= 4
    for row in told:
        assert (
            f'<code>{row["patient_id"]}</code></th><td class="number">{page.percent(row["infection_percent"])}'
            in section
        )


def test_patients_come_by_falling_percentage_and_only_where_the_method_fits():
    def row(patient, percent, modality="ct", method="khan2020"):
        keys = {"patient_id": patient, "study_id": None, "modality": modality, "method": method}
        return keys | {"infection_percent": percent}

    rows = [row("a", None), row("b", 0.0), row("d", 7.5, method="alom2020"), row("c", 7.5), row("e", None, "xr")]
    assert page.patient_rows(patients(rows))["patient_id"].to_pylist() == ["c", "d", "b", "a"]


def test_a_long_table_is_cut_at_the_lowest_percentages_and_says_so(made, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "TABLE_ROWS", 5)
    document = written(made, tmp_path / "report.html")
    assert "The table has 24 rows. These are the 5 with the highest percentages" in document
    rows = json.loads(re.search(r'<script id="image-rows"[^>]*>(.*?)</script>', document, re.DOTALL)[1])
    percents = [float(row[0]) for row in rows]
    assert len(rows) == 5 and percents == sorted(percents, reverse=True)


def summary_row(measure, value, low, high, unit="image", **more):
    return {
        "cohort": "ward_3", "modality": "ct", "method": "khan2020", "unit": unit, "covariate": "all", "level": "all",
        "measure": measure, "value": value, "low": low, "high": high, "n": 8, "patients": 6,
        "suppressed": value is None, **more,
    }  # fmt: skip


def test_quantiles_and_classes_are_drawn_with_their_intervals(made, tmp_path):
    rows = [
        summary_row("infection_percent_mean", 12.0, 8.5, 16.0),
        summary_row("infection_percent_p50", 9.0, None, None),
        summary_row("infection_percent_p10", None, None, None),
        summary_row("severity_percent", 25.0, 7.0, 59.0, "patient", k=2, severity_score=2, severity_class="5-25"),
        summary_row("severity_percent", 75.0, 41.0, 93.0, "patient", k=6, severity_score=1, severity_class="<5"),
    ]
    write_table(tmp_path / "summary.parquet", rows, SUMMARY)
    report.run(
        made.config, "ward_3", made.images, made.table, [], tmp_path / "r.html", summary=tmp_path / "summary.parquet"
    )
    document = (tmp_path / "r.html").read_text()
    said = [a["aria-label"] for a in Page(document).all("svg") if "aria-label" in a]
    assert "Infected share of the lung by khan2020, CT, over images: mean 12.0 % (8.5 to 16.0 %); median 9.0 %." in said
    assert (
        "Patients in each severity class by khan2020, CT: class <5 75.0 % (41.0 to 93.0 %), 6 patients; "
        "class 5-25 25.0 % (7.0 to 59.0 %), 2 patients." in said
    )
    assert document.count('class="whisker"') == 3 and "fewer than 5 patients" in document


def test_the_course_of_a_patient_needs_two_days():
    def row(patient, day, percent, method="khan2020"):
        return {
            "patient_id": patient, "modality": "ct", "method": method, "days_since_first_study": day,
            "infection_percent": percent,
        }  # fmt: skip

    rows = [row("a", 0, 3.0), row("a", 0, 4.0), row("b", None, 3.0), row("b", 4, 4.0), row("c", 0, 5.0)]
    assert page.courses(patients(rows))["drawn"] == [] and page.courses(patients([]))["total"] == 0
    rows += [row("c", 9, 2.0), row("c", 3, None), row("c", 0, 8.0, "alom2020"), row("d", 7, 31.0), row("d", 1, 1.0)]
    found = page.courses(patients(rows))
    assert [(one["patient"], one["days"], one["change"]) for one in found["drawn"]] == [("d", 7, 30.0), ("c", 9, -3.0)]
    assert found["methods"] == ["khan2020"]
    assert "khan2020: day 0 5.0 %, day 9 2.0 %." in found["drawn"][1]["chart"]


def test_ten_thousand_images_make_a_page_of_less_than_15_mb(tmp_path):
    infection = synthetic_table.patients(0, 100, 100)
    keys = infection.select(["image_id", "patient_id", "modality"]).to_pandas().drop_duplicates("image_id")
    seen = keys.assign(path="a.png", frame=0, modality_source="header", accepted=True).to_dict("records")
    images = pa.Table.from_pylist([row | {"warnings": []} for row in seen], schema=IMAGES.schema)
    config = parse({"cohorts": {"big": {"path": "x"}}}, "test")
    document = page.render(config, "big", images, infection, PATIENTS.schema.empty_table(), [])
    rows = json.loads(re.search(r'<script id="image-rows"[^>]*>(.*?)</script>', document, re.DOTALL)[1])
    assert len(rows) == 20_000 and len(document) < 15e6


def test_flags_are_counted_for_accepted_images_only(made):
    infection = read_frame(made.table, INFECTION)
    flags = page.quality_flags(
        infection, set(infection["image_id"][infection["qc_reasons"].map(lambda r: "too_small" in r)])
    )
    counts = {flag["reason"]: flag["counts"] for flag in flags["flags"]}
    assert flags["methods"] == ["alom2020", "khan2020"]
    assert "too_small" not in counts and counts["method_not_for_modality"] == [0, 4]


def test_cases_are_spread_over_methods_and_modalities(made):
    infection = read_frame(made.table, INFECTION)
    chosen = overlays.choose_cases(infection, 9, seed=1)
    assert len(chosen) == 9 and not chosen.duplicated(["image_id", "method"]).any()
    assert set(zip(chosen["modality"], chosen["method"], strict=True)) == {
        ("ct", "alom2020"),
        ("ct", "khan2020"),
        ("xr", "alom2020"),
    }
    assert (chosen.groupby(["modality", "method"]).size() == 3).all()
    for _, group in chosen.groupby(["modality", "method"]):
        own = infection[
            (infection["method"] == group["method"].iloc[0]) & (infection["modality"] == group["modality"].iloc[0])
        ]
        why = group.set_index("chosen")["infection_percent"]
        assert why["among the highest"] == own["infection_percent"].max()
        assert why["among the lowest"] == own["infection_percent"][own["infection_percent"] > 0].min()
    assert chosen.equals(overlays.choose_cases(infection, 9, seed=1))
    assert overlays.choose_cases(infection, 0, seed=1).empty
    assert len(overlays.choose_cases(infection, 1000, seed=1)) == (infection["lung_px"] > 0).sum()


def doubtful(**columns):
    """Rows of one method on CT, and those of another that found 10 % everywhere."""
    number = len(columns["infection_percent"])
    empty = {"infection_percent_low": [None] * number, "infection_percent_high": [None] * number}
    empty |= {"covid_probability": [None] * number, "covid_positive": [None] * number}
    own = pd.DataFrame(empty | columns | {"image_id": list("abcdef"[:number]), "method": "khan2020"})
    other = pd.DataFrame({"image_id": list("abcdef"[:number]), "method": "alom2020", "infection_percent": 10.0})
    return own, pd.concat([own, other], ignore_index=True)


def test_least_certain_is_what_the_widest_interval_has_else_the_nearest_screening_else_what_methods_disagree_on():
    percents = {"infection_percent": [10.0, 30.0, 12.0]}
    screened = {"covid_probability": [0.9, 0.42, 0.2], "covid_positive": [True, False, False]}
    limits = {"infection_percent_low": [9.0, None, 2.0], "infection_percent_high": [11.0, None, 30.0]}
    assert overlays.least_certain(*doubtful(**percents, **screened, **limits)) == (
        [2, 0],
        "least certain: the widest interval",
    )
    # the threshold lies between 0.42 and 0.9: 0.66
    rows, why = overlays.least_certain(*doubtful(**percents, **screened))
    assert (rows, why) == ([0, 1, 2], "least certain: screened closest to the threshold")
    rows, why = overlays.least_certain(*doubtful(**percents))
    assert (rows, why) == ([1, 2], "least certain: the methods are far apart")
    assert overlays.least_certain(*doubtful(infection_percent=[10.0]))[0] == []


def test_each_flag_has_examples_that_show_lungs(made, document):
    infection = read_frame(made.table, INFECTION)
    chosen = overlays.choose_examples(infection, 2, seed=1)
    assert set(chosen["flag"]) == {"lung_area_unusual", "screened_negative"}
    assert (chosen.groupby("flag").size() <= 2).all() and (chosen["lung_px"] > 0).all()
    assert all(
        flag in reasons for flag, reasons in zip(chosen["flag"], infection.loc[chosen.index, "qc_reasons"], strict=True)
    )
    assert document.count('alt="Example: CT image') == 3


def pictures(document: str) -> list[np.ndarray]:
    codes = [a["src"].partition("base64,")[2] for a in Page(document).all("img")]
    return [np.asarray(Image.open(io.BytesIO(b64decode(code)))).astype(int) for code in codes]


def test_pictures_are_small_and_show_no_burned_in_writing(document):
    shown = pictures(document)
    assert [max(picture.shape) for picture in shown] == [overlays.SIDE_PX] * 6 + [overlays.THUMBNAIL_PX] * 3
    for picture in shown:
        assert picture.min(axis=2).max() < 230  # the white writing in the corner stays out
        near = {name: np.abs(picture - color).max(axis=2) < 40 for name, color in COLORS.items()}
        assert near["lung"].any()


class Brighter:
    """A network that finds lung everywhere in the middle, or infection where a picture is bright; or says yes."""

    def __init__(self, task):
        grid = {"source_size": 96, "image_size": 96, "window_hu": [-1350, 150], "threshold": 0.5}
        self.task, self.model_id, self.parts = task, f"{task}@0", {}
        self.recipe = grid | {"input": "harmonized", "reading": "none", "dataset": "phantom-ct"}

    def predict(self, images):
        if self.task == "classify":
            return np.ones(len(images), np.float32)
        said = np.zeros(images.shape, np.float32)
        said[:, 30:66, 25:70] = 1 if self.task == "segment_lungs" else images[:, 30:66, 25:70] / 255
        return said


def test_cases_have_heat_maps_where_it_is_asked_for(made, tmp_path, monkeypatch):
    networks = {task: Brighter(task) for task in ("classify", "segment_lungs", "segment_infection")}
    monkeypatch.setattr(report, "load_networks", lambda config, modalities, wanted: dict.fromkeys(modalities, networks))
    report.run(made.config, "ward_3", made.images, made.table, made.masks, tmp_path / "r.html", heat=True)
    document = (tmp_path / "r.html").read_text()
    assert document.count('alt="Heat map of the same') == 6 and 'class="cases heated"' in document
    heated = [a for a in Page(document).all("img") if a["alt"].startswith("Heat map")]
    for image in heated:
        shown = np.asarray(Image.open(io.BytesIO(b64decode(image["src"].partition("base64,")[2])))).astype(int)
        assert (shown.max(axis=2) - shown.min(axis=2) > 20).any()  # colored


def test_without_its_networks_a_report_has_no_heat_map(made, tmp_path, monkeypatch, caplog):
    def gone(*_):
        raise CovidpipeError("wanted a trained network here")

    monkeypatch.setattr(report, "load_networks", gone)
    report.run(made.config, "ward_3", made.images, made.table, made.masks, tmp_path / "r.html", heat=True)
    document = (tmp_path / "r.html").read_text()
    assert "Heat map" not in document and "heated" not in document.partition("</style>")[2]
    assert "no heat maps: wanted a trained network" in caplog.text


COLORS = {"lung": overlays.LUNG_COLOR, "infection": overlays.INFECTION_COLOR}


def test_an_overlay_colors_the_infection_and_nothing_else():
    lung = np.zeros((100, 100), bool)
    lung[30:70, 30:70] = True
    infection = np.zeros_like(lung)
    infection[40:60, 40:60] = True
    infection[0:20, 0:20] = True  # outside of the lung: not shown
    picture = overlays.overlay(np.full((100, 100), 100, np.uint8), lung, infection).astype(int)
    assert picture.shape == (320, 320, 3)  # 40 px and two margins of 6: 52 px
    assert (picture[160, 160] == np.round(100 + 0.45 * (np.array(overlays.INFECTION_COLOR) - 100))).all()
    assert (picture[5, 5] == 100).all() and (picture[80, 160] == 100).all()
    row = picture[160]
    assert (row[38] == overlays.LUNG_COLOR).all() and (row[98:100] == overlays.INFECTION_COLOR).all(axis=1).any()


def test_hounsfield_units_are_windowed_and_other_values_stretched():
    array = np.array([[-2000.0, -600.0, 3000.0]])
    assert overlays.to_grey(array, "hounsfield", (-1350, 150)).tolist() == [[0, 128, 255]]
    assert overlays.to_grey(np.array([[10, 20, 30]]), "radiograph", (-1350, 150)).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("fault", ["file", "shape", "masks", "lung"])
def test_a_picture_that_cannot_be_drawn_says_why(made, fault):
    lung = np.ones((96, 120), bool)
    source = {"path": "Doe_John/0.png", "frame": 0, "modality": "ct", "intensity": "windowed_8bit"}
    masks: tuple | None = (lung, lung)
    if fault == "file":
        source["path"] = "gone.png"
    elif fault == "shape":
        masks = (lung[1:], lung[1:])
    elif fault == "lung":
        masks = (~lung, lung)
    else:
        masks = None
    shown = report._picture(made.config, made.folder / "in", source, masks)
    assert shown["picture"] is None and shown["missing"].startswith("No picture: ") and "gone" not in shown["missing"]


def test_a_cohort_without_any_accepted_image_has_a_report(made, tmp_path):
    images, table = read_frame(made.images, IMAGES), read_frame(made.table, INFECTION)
    rejected = set(images["image_id"][~images["accepted"]])
    write_table(tmp_path / "images.parquet", images[images["image_id"].isin(rejected)], IMAGES)
    write_table(tmp_path / "infection.parquet", table[table["image_id"].isin(rejected)], INFECTION)
    report.run(
        made.config, "ward_3", tmp_path / "images.parquet", tmp_path / "infection.parquet", [], tmp_path / "r.html"
    )
    document = (tmp_path / "r.html").read_text()
    assert "No image has both a lung and a percentage" in document and "No model took part" in document
    assert not Page(document).all("img")


def test_an_empty_cohort_has_a_report(made, tmp_path):
    write_table(tmp_path / "images.parquet", [], IMAGES)
    write_table(tmp_path / "infection.parquet", [], INFECTION)
    report.run(
        made.config, "ward_3", tmp_path / "images.parquet", tmp_path / "infection.parquet", [], tmp_path / "r.html"
    )
    assert "Nothing was rejected" in (tmp_path / "r.html").read_text()


def test_a_broken_table_writes_nothing(made, tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(BadTable, match="not a whole Parquet file"):
        written(made, tmp_path / "r.html", table=tmp_path / "bad.parquet")
    assert not (tmp_path / "r.html").exists()


def test_histogram_bins_are_closed_at_their_upper_end():
    drawn = figures.distribution(np.array([1.0, 1.5, 20.0]), 20, "words <b>")
    titles = [html.unescape(t) for t in re.findall(r"<title>(.*?)</title>", drawn)]
    assert titles == ["0 to 1 %: 1 images", "1 to 2 %: 1 images", "19 to 20 %: 1 images"]
    assert "<b>" not in drawn
    assert "median" not in figures.distribution(np.array([]), 5, "nothing")


def test_the_terminal_shows_the_head_aligned(made):
    lines = terminal.table_head(made.table, rows=4).splitlines()
    assert len(lines) == 6
    assert lines[0].split()[:6] == ["image", "patient", "slice", "modality", "method", "infection_percent"]
    ends = {line.index(method) for line, method in zip(lines[1:5], ("alom2020", "khan2020") * 2, strict=True)}
    assert ends == {lines[0].index("method")}
    assert lines[-1] == f"4 of 24 rows, 10 of {len(INFECTION.names)} columns; 16 rows have a percentage."


def test_a_networks_test_shows_controls_in_words_and_its_reliability(made, tmp_path):
    folder = tmp_path / "metrics" / "ct" / "classify"
    row = {"measure": "roc_auc", "value": 0.7, "low": 0.6, "high": 0.8, "n": 40, "patients": 9, "role": "control"}
    summary = [
        row | {"subject": "net@1", "role": "model", "remark": "Not clearly better than corners_only."},
        row | {"subject": "corners_only", "remark": "Near the model: told in words."},
        row | {"subject": "corners_only", "measure": "mcc", "value": 0.123},
    ]
    write_table(folder / "summary.parquet", summary, METRICS_SUMMARY)
    bins = [
        {"subject": "net@1", "temperature": t, "bin": k, "lowest": p, "highest": p, "mean_probability": p,
         "share": k / 4, "low": 0.0, "high": 1.0, "n": 20, "k": 5 * k, "patients": 9, "interval": "Wilson, 9 patients"}
        for t, said in ((1.0, (0.11, 0.91)), (2.0, (0.22, 0.82))) for k, p in enumerate(said)
    ]  # fmt: skip
    write_table(folder / "reliability.parquet", bins, RELIABILITY)
    report.run(made.config, "ward_3", made.images, made.table, made.masks, tmp_path / "page.html", [folder])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Not clearly better than corners_only." in text and "Near the model: told in words." in text
    assert "0.123" not in text  # by this measure nothing is compared
    assert "Reliability diagram: 0.22 said, 0.00 so; 0.82 said, 0.25 so." in text and "0.91 said" not in text
    assert "said 0.82, was so 5 of 20" in text and "Can the probabilities be believed?" in text


def test_how_wrong_a_method_is_stands_beside_it_for_its_very_networks_and_settings(made):
    rows = read_frame(made.table, INFECTION)
    mine = rows[(rows["method"] == "khan2020") & (rows["modality"] == "ct") & rows["lung_model_id"].notna()].iloc[0]
    models = {task: mine[column] for task, column in MODEL_COLUMNS.items()}
    told = (deciding_settings(made.config, "khan2020"), (10.0, 0.0, 7.0), (12.0, 0.0, 4.0), (0, 0, 1), ("a", "a", "b"))

    def wrong(*calibrations):
        results = page.method_results(rows, made.config, calibrations={("ct", "khan2020"): calibrations})
        return next(r["wrong"] for r in results if (r["method"], r["modality"]) == ("khan2020", "CT"))

    others = Calibration({**models, "segment_lungs": "unet@0123456789ab"}, *told), Calibration(models, {}, *told[1:])
    assert "was not measured" in wrong(*others)
    assert wrong(*others, Calibration(models, *told)).endswith(
        "a (2 images, 1 patient): 1.0 points off on an image, 1.0 too low on average; "
        "b (1 image, 1 patient): 3.0 points off on an image, 3.0 too high on average."
    )
