"""Shards become one table: whole, in order, the same bytes; companions that explain it."""

from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest
import tiny_cohort as tiny

from covidpipe.errors import BadTable
from covidpipe.io import files
from covidpipe.io.files import file_sha256, read_table, write_table
from covidpipe.schemas import IMAGES, INFECTION, PATIENTS, REASONS, REJECTED, SUMMARY
from covidpipe.stages import collect

METHODS = ("alom2020", "khan2020")


def told(image, method):
    """A row of the infection table, as quantify would write it."""
    kept = ("image_id", "patient_id", "study_id", "slice_index", "modality", "source_sha256")
    row = {name: image[name] for name in kept} | {
        "cohort": "c",
        "method": method,
        "qc_status": "ok",
        "qc_reasons": [],
        "pipeline_version": "0",
        "schema_version": "0",
    }
    if image["accepted"]:
        # a screened-negative slice counts with its lung
        infected = {tiny.HEALTHY: 0, tiny.ILL: 360, tiny.XRAY: 180}[image["image_id"]]
        return row | {"lung_px": 1800, "infected_px": infected, "infection_percent": infected / 18}
    return row | {"qc_status": "rejected", "qc_reasons": [image["reason"]]}


@pytest.fixture
def images(tmp_path):
    return tiny.write_images(tmp_path)


def write_shards(folder, images, size, change=None):
    rows = read_table(images, IMAGES).to_pylist()
    paths = []
    for k in range(0, len(rows), size):
        shard = [told(row, method) for row in rows[k : k + size] for method in METHODS]
        paths.append(folder / f"{k:05d}" / "infection.parquet")
        write_table(paths[-1], [change(row) for row in shard] if change else shard, INFECTION)
    return paths


def test_tables_of_a_cohort(images, tmp_path):
    out = tmp_path / "out"
    collect.run(tiny.config(tmp_path), "c", images, write_shards(tmp_path, images, 3), out)
    rows = read_table(out / "infection.parquet", INFECTION).to_pylist()
    assert [(row["image_id"], row["method"]) for row in rows] == [
        (image, method) for image in (tiny.HEALTHY, tiny.ILL, tiny.XRAY, tiny.BROKEN) for method in METHODS
    ]
    assert {path.name for path in out.iterdir()} == {
        "infection.parquet", "patients.parquet", "rejected.parquet", "codebook.csv", "datapackage.json", "run.json",
        "ro-crate-metadata.json", "summary.parquet",
    }  # fmt: skip
    patients = read_table(out / "patients.parquet", PATIENTS).to_pylist()
    assert [(p["patient_id"], p["modality"], p["method"]) for p in patients] == [
        ("patient-0", "ct", "alom2020"),
        ("patient-0", "ct", "khan2020"),
        ("patient-1", "xr", "alom2020"),
        ("patient-1", "xr", "khan2020"),
    ]
    first = patients[0]
    assert (first["images"], first["images_refused"]) == (2, 0)
    assert (first["lung_px"], first["infected_px"], first["infection_percent"]) == (3600, 360, 10.0)
    (rejected,) = read_table(out / "rejected.parquet", REJECTED).to_pylist()
    assert (rejected["image_id"], rejected["reason"], rejected["sentence"]) == (
        tiny.BROKEN,
        "unreadable",
        "An empty file.",
    )


def test_bytes_depend_neither_on_the_run_nor_on_the_cut(images, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROW_GROUP", 3)
    config = tiny.config(tmp_path)
    written = []
    for size in (1, 3, 4):
        shards = write_shards(tmp_path / f"cut{size}", images, size)
        collect.run(config, "c", images, shards, tmp_path / f"out{size}")
        written.append((tmp_path / f"out{size}" / "infection.parquet").read_bytes())
    assert written[0] == written[1] == written[2]
    assert pq.ParquetFile(tmp_path / "out1" / "infection.parquet").num_row_groups == 3


def test_rows_in_are_rows_out_or_an_error(images, tmp_path):
    config = tiny.config(tmp_path)
    shards = write_shards(tmp_path, images, 2)
    with pytest.raises(BadTable, match=r"found other rows.*Run quantify again"):
        collect.run(config, "c", images, shards[::-1], tmp_path / "out")
    with pytest.raises(BadTable, match=r"found 6 images in 3 shards"):
        collect.run(config, "c", images, [shards[0], *shards], tmp_path / "out")
    with pytest.raises(BadTable, match=r"wanted 4 images x 2 methods, found 2 images in 1 shards"):
        collect.run(config, "c", images, shards[:1], tmp_path / "out")
    other = write_shards(tmp_path / "other", images, 2, change=lambda row: row | {"cohort": "d"})
    with pytest.raises(BadTable, match="of cohort `c`"):
        collect.run(config, "c", images, other, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*")), "nothing half-written"


def test_what_can_no_longer_be_read_is_among_the_rejected(images, tmp_path):
    def change(row):
        if row["image_id"] != tiny.ILL:
            return row
        nothing = dict.fromkeys(("lung_px", "infected_px", "infection_percent"))
        return row | nothing | {"qc_status": "rejected", "qc_reasons": ["unreadable"]}

    out = tmp_path / "out"
    collect.run(tiny.config(tmp_path), "c", images, write_shards(tmp_path, images, 4, change), out)
    rejected = read_table(out / "rejected.parquet", REJECTED).to_pylist()
    assert [row["image_id"] for row in rejected] == [tiny.ILL, tiny.BROKEN]
    assert "changed or was gone" in rejected[0]["sentence"]
    first = read_table(out / "patients.parquet", PATIENTS).to_pylist()[0]
    assert (first["images"], first["images_refused"], first["infection_percent"]) == (1, 1, 0.0)


def test_nothing_in_nothing_out(tmp_path):
    write_table(tmp_path / "images.parquet", [], IMAGES)
    write_table(tmp_path / "shard.parquet", [], INFECTION)
    collect.run(tiny.config(tmp_path), "c", tmp_path / "images.parquet", [tmp_path / "shard.parquet"], tmp_path / "out")
    for spec in (INFECTION, PATIENTS, SUMMARY, REJECTED):
        assert len(read_table(tmp_path / "out" / f"{spec.name}.parquet", spec)) == 0


def test_codebook_and_data_package_explain_every_column(images, tmp_path):
    out = tmp_path / "out"
    collect.run(tiny.config(tmp_path), "c", images, write_shards(tmp_path, images, 4), out)
    with (out / "codebook.csv").open(newline="") as file:
        explained = {(row["table"], row["column"]): row["text"] for row in csv.DictReader(file)}
    package = json.loads((out / "datapackage.json").read_text())
    for spec, resource in zip((INFECTION, PATIENTS, SUMMARY, REJECTED), package["resources"], strict=True):
        assert [field["name"] for field in resource["schema"]["fields"]] == spec.names
        assert f"sha256:{file_sha256(out / resource['path'])}" == resource["hash"]
        assert all(explained[spec.name, name].endswith(".") for name in spec.names)
    assert all(explained["reasons", code] == text for code, text in REASONS.items())
    percent = next(f for f in package["resources"][0]["schema"]["fields"] if f["name"] == "infection_percent")
    assert percent["type"] == "number" and percent["unit"] == "%"
    assert percent["constraints"] == {"required": False, "minimum": 0, "maximum": 100}


@pytest.fixture
def large(images, tmp_path, monkeypatch):
    """The folder of a cohort whose table is too large for one file."""
    monkeypatch.setattr(files, "ROW_GROUP", 3)
    write_table(tmp_path / "out" / "infection.parquet", [], INFECTION)  # of an earlier run, with fewer images
    collect.run(tiny.config(tmp_path, file_rows=3), "c", images, write_shards(tmp_path, images, 3), tmp_path / "out")
    return tmp_path / "out"


def test_a_large_table_is_a_folder_with_the_same_rows(large, images, tmp_path):
    assert not (large / "infection.parquet").exists(), "there are not two tables"
    parts = sorted(str(path.relative_to(large / "infection")) for path in (large / "infection").rglob("*.parquet"))
    assert parts == [
        "cohort=c/modality=__HIVE_DEFAULT_PARTITION__/infection-00000.parquet",
        "cohort=c/modality=ct/infection-00000.parquet",
        "cohort=c/modality=ct/infection-00001.parquet",
        "cohort=c/modality=xr/infection-00000.parquet",
    ]
    rows = read_table(large / "infection", INFECTION)
    collect.run(tiny.config(tmp_path), "c", images, write_shards(tmp_path, images, 3), large)
    assert not (large / "infection").exists()
    assert rows.sort_by([(name, "ascending") for name in INFECTION.sort_by]) == read_table(
        large / "infection.parquet", INFECTION
    )


def test_frictionless_finds_no_fault_in_the_package_nor_in_its_tables(images, large, tmp_path):
    frictionless = pytest.importorskip("frictionless", reason="frictionless is not installed (`make env` does)")
    collect.run(tiny.config(tmp_path), "c", images, write_shards(tmp_path, images, 3), tmp_path / "small")
    for folder, tables in ((tmp_path / "small", 4), (large, 7)):
        report = frictionless.validate(folder / "datapackage.json")
        assert report.valid, report.flatten(["name", "rowNumber", "fieldName", "note"])
        assert len(report.tasks) == tables


def test_the_three_codebooks_say_the_same(images, tmp_path):
    out = tmp_path / "out"
    collect.run(tiny.config(tmp_path), "c", images, write_shards(tmp_path, images, 4), out)
    with (out / "codebook.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    package = json.loads((out / "datapackage.json").read_text())
    for spec, resource in zip(collect.TABLES, package["resources"], strict=True):
        told = [row for row in rows if row["table"] == spec.name]
        assert all(cell for row in told for cell in row.values()), "every column has all of it"
        assert not any(cell[0] in "=+-@" for row in told for cell in row.values()), "no formula for a spreadsheet"
        schema = pq.read_schema(out / f"{spec.name}.parquet")
        assert json.loads(schema.metadata[b"codebook"]) == told
        for row, field, described in zip(told, schema, resource["schema"]["fields"], strict=True):
            facts = {key: row[key] for key in ("unit", "range", "null_means")}
            assert facts == {key: field.metadata[key.encode()].decode() for key in facts}
            assert facts == {key: described[key] for key in facts}
            assert field.name == described["name"] == row["column"]
            assert field.metadata[b"description"].decode() == described["description"] == row["text"]
